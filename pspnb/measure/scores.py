"""Scores of an application: numbers with intervals over people, each also as a share of what inversion reaches.

"Better than the mean face" is soon said. Inversion sees the full picture, so what it reaches is the most that an encoder on this
generator can hope for. Chapter: one for each application.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.measure.intervals import ROUNDS, Measured, mean, of_means, ratio

Score = dict[str, Any]
"""{"value", "lo", "hi", "n"}, and "share_of_inversion": the same of the share, where inversion was measured."""
YAW_BINS: Mapping[str, tuple[float, float]] = {"0-15": (0, 15), "15-30": (15, 30), "30-40": (30, 40.001)}
"""Degrees that a head is turned away, either way."""


def high(values: Float[Tensor, " n"], inversion: Float[Tensor, " n"] | None = None, *, rounds: int = ROUNDS) -> Score:
    """Mean of values of which more is better; the share is mean over mean, of the same people."""
    share = None if inversion is None else ratio(values, inversion, rounds=rounds)
    return entry(mean(values, rounds=rounds), share)


def low(
    values: Float[Tensor, " n"],
    inversion: Float[Tensor, " n"] | None = None,
    *,
    mean_face: Float[Tensor, " n"] | None = None,
    rounds: int = ROUNDS,
) -> Score:
    """Mean of distances; the share is how much of the way from the mean face's distance to inversion's is gone.

    1 is as near as inversion, 0 no nearer than the mean face, which everybody can draw.
    """
    share = None
    if inversion is not None and mean_face is not None:
        columns = torch.stack([mean_face - values, mean_face - inversion], dim=1)
        share = of_means(columns, lambda m: m[..., 0] / m[..., 1], rounds=rounds)
    return entry(mean(values, rounds=rounds), share)


def entry(value: Measured, share: Measured | None = None) -> Score:
    """A score as it is written."""
    return value._asdict() | ({} if share is None else {"share_of_inversion": share._asdict()})


def difference(a: Float[Tensor, " n"], b: Float[Tensor, " n"], *, rounds: int = ROUNDS) -> Score:
    """Mean of a - b of the same people: an interval that does not hold 0 tells the two apart."""
    return entry(mean(a - b, rounds=rounds))


def slope(read: Float[Tensor, " n"], true: Float[Tensor, " n"], *, rounds: int = ROUNDS) -> Score:
    """Least squares of `read` as a line over `true`: 1 where a factor is kept, 0 where it is lost."""
    x, y = true.double(), read.double()
    moments = torch.stack([x, y, x * y, x * x], dim=1)

    def line(m: Float[Tensor, " *r k"]) -> Float[Tensor, " *r"]:
        return (m[..., 2] - m[..., 0] * m[..., 1]) / (m[..., 3] - m[..., 0].square())

    return entry(of_means(moments, line, rounds=rounds))


def yaw_bins(yaw: Float[Tensor, " n"]) -> dict[str, Bool[Tensor, " n"]]:
    """Who is turned how far, "0-15", "15-30", "30-40" degrees; bins without anybody are left out."""
    found = {name: (yaw.abs() >= a) & (yaw.abs() < b) for name, (a, b) in YAW_BINS.items()}
    return {name: rows for name, rows in found.items() if rows.any()}


def expressions(factors: Mapping[str, Tensor]) -> dict[str, Bool[Tensor, " n"]]:
    """Who looks how: serious, smiling, or with an open mouth."""
    opened, smile = factors["mouth_open"] > 0.25, factors["smile"] > 0.3
    found = {"serious": ~opened & ~smile, "smiling": ~opened & smile, "mouth open": opened}
    return {name: rows for name, rows in found.items() if rows.any()}
