"""Numbers that a user gave, against the range in which they make sense: None is "not given", 0 is a number like any other."""

from __future__ import annotations

import math
from typing import Any

from pspnb.errors import PspnbError

# What every random generator in use takes (NumPy's, torch's and the renderer's hash).
MAX_SEED = 2**32 - 1


def at_least(least: int, **values: int | float | None) -> None:
    """PspnbError for a value below `least`, infinite or NaN, by its name: `at_least(1, steps=steps, batch=batch)`."""
    for name, value in values.items():
        if value is not None and not (value >= least and math.isfinite(value)):
            raise PspnbError(f"expected {name} of at least {least}, got {value}")


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None: what the user said, to be laid over the defaults of a recipe."""
    return {name: value for name, value in values.items() if value is not None}


def above_zero(**values: int | float | None) -> None:
    """PspnbError for a rate that is 0, negative, infinite or NaN."""
    for name, value in values.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise PspnbError(f"expected {name} above 0, got {value}")


def between(low: int, high: int, **values: int | float | None) -> None:
    """PspnbError for a value outside of [low, high], or NaN."""
    for name, value in values.items():
        if value is not None and not low <= value <= high:
            raise PspnbError(f"expected {name} from {low} to {high}, got {value}")


def seed_in_range(seed: int | None) -> None:
    """PspnbError for a seed that is negative or above 32 bits."""
    between(0, MAX_SEED, seed=seed)
