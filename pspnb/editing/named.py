"""Edits by name: "smile=0.5,glasses:round=1" as one step in the space of codes. Chapter: "Directions"."""

import math
import os
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.editing.directions import Direction, attribute, read_directions, true_direction
from pspnb.errors import PspnbError
from pspnb.nn.stylegan2 import Generator


def parse_edits(text: str) -> dict[str, float]:
    """ "smile=0.5,yaw=-10" as a mapping. PspnbError when it isn't of this form, or names one twice."""
    edits: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            amount = float(value)
        except ValueError:
            amount = math.nan
        if not name or not math.isfinite(amount):
            raise PspnbError(f"expected edits such as smile=0.5,yaw=-10, got {text!r}")
        if name in edits:
            raise PspnbError(f"expected each edit once, got {name} twice")
        edits[name] = amount
    return edits


def named_shift(
    generator: Generator, edits: Mapping[str, float], *, directions: str | os.PathLike | None = None
) -> Float[Tensor, " n d"]:
    """What to add to every code: the sum of amount times direction.

    The directions are those of a file (`save_directions`); without one, the true directions of a generator that was taught
    factors. Amounts are in the directions' own units. PspnbError for a name or a shape that doesn't fit.
    """
    n, d = generator.n_styles, generator.style_dim
    total = torch.zeros(n, d, device=generator.latent_avg.device)
    for name, direction in _found(generator, edits, directions).items():
        if tuple(direction.vector.shape) not in {(n, d), (1, d), (d,)}:
            raise PspnbError(
                f"{name}: expected a direction of shape ({n}, {d}) or ({d},), found {tuple(direction.vector.shape)}"
            )
        total += edits[name] * direction.vector.to(total)
    return total


def _found(
    generator: Generator, edits: Mapping[str, float], directions: str | os.PathLike | None
) -> dict[str, Direction]:
    if directions is not None:
        known = read_directions(directions)
        if missing := [name for name in edits if name not in known]:
            raise PspnbError(f"{directions}: no direction {missing[0]!r}; there are {', '.join(known)}")
        return {name: known[name] for name in edits}
    if not hasattr(generator.style, "map_factors"):
        raise PspnbError("edits by name need a file of directions for this model; expected --directions FILE")
    return {name: true_direction(generator, attribute(name)) for name in edits}
