"""A number with its 95 % interval: bootstrap over images, for means, for functions of means, and for medians.

Chapter: "StyleGAN2 from the inside".
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.measure.metrics import bootstrap_interval

ROUNDS = 1000
"""Resamplings of an interval. 0 leaves intervals out."""
_EDGES = (0.025, 0.975)


class Measured(NamedTuple):
    """A number, the ends of its 95 % interval (None: not asked for, or a single picture) and how many images it comes from."""

    value: float
    lo: float | None
    hi: float | None
    n: int


def mean(values: Float[Tensor, " n"], *, rounds: int = ROUNDS) -> Measured:
    """Mean over images; nan when there is none."""
    if rounds == 0 or len(values) < 2:
        return Measured(float(values.double().mean()), None, None, len(values))
    return Measured(*bootstrap_interval(values, rounds=rounds), len(values))


def of_means(
    columns: Float[Tensor, " n k"], f: Callable[[Float[Tensor, " *r k"]], Float[Tensor, " *r"]], *, rounds: int = ROUNDS
) -> Measured:
    """f of the k means over images, such as a ratio of two of them; f takes (..., k)."""
    columns = columns.double()
    value = float(f(columns.mean(dim=0)))
    if rounds == 0 or len(columns) < 2:
        return Measured(value, None, None, len(columns))
    # Weights are kept in float32: 1000 rounds of 10,000 images are 40 MB.
    means = torch.cat([part.double() @ columns for part in resampling_weights(len(columns), rounds).split(100)])
    return Measured(value, *_ends(f(means)), len(columns))


def ratio(above: Float[Tensor, " n"], below: Float[Tensor, " n"], *, rounds: int = ROUNDS) -> Measured:
    """Mean of `above` over mean of `below`, of the same images."""
    return of_means(torch.stack([above, below], dim=1), lambda m: m[..., 0] / m[..., 1], rounds=rounds)


def median(values: Float[Tensor, " n"], *, rounds: int = ROUNDS) -> Measured:
    """Median over images (the lower one of an even number)."""
    ordered = values.double().sort().values
    value = float(ordered.median())
    if rounds == 0 or len(values) < 2:
        return Measured(value, None, None, len(values))
    parts = resampling_weights(len(values), rounds).split(100)
    middle = torch.cat([(part.double().cumsum(1) >= 0.5 - 1e-6).int().argmax(1) for part in parts])
    return Measured(value, *_ends(ordered[middle]), len(values))


def left_out(f: Callable[[Bool[Tensor, " n"]], float], n: int, *, groups: int = 20, wanted: bool = True) -> Measured:
    """f of the images that a mask keeps, its interval by leaving out each twentieth of them (delete-a-group jackknife).

    For distances between distributions: drawing with replacement repeats images, which biases them upwards.
    """
    everything = torch.ones(n, dtype=torch.bool)
    value = f(everything)
    if not wanted or n < 2 * groups:
        return Measured(value, None, None, n)
    values = torch.tensor([f(torch.arange(n) % groups != g) for g in range(groups)], dtype=torch.float64)
    error = float(((groups - 1) / groups * (values - values.mean()).square().sum()).sqrt())
    return Measured(value, value - 1.96 * error, value + 1.96 * error, n)


@lru_cache(maxsize=4)
def resampling_weights(n: int, rounds: int, seed: int = 0) -> Float[Tensor, " r n"]:
    """How often each of n images is drawn in each round of n draws with replacement, over n: rows that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(rounds, n)
    for row in weights:
        row += torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n)
    return weights / n


def _ends(draws: Float[Tensor, " r"]) -> tuple[float, float]:
    low, high = torch.nanquantile(draws.double(), torch.tensor(_EDGES, dtype=torch.float64)).tolist()
    return low, high


def finite(value: Any) -> Any:
    """JSON has no nan and no infinity: None instead."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
