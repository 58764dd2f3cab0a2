"""The direction that the answer key gives: what a change of one factor does to w, on average over people.

Possible only where the mapping network knows factors (`Generator.map_factors`); no photograph has such a key. A sample's own
difference, w(changed factors) - w(factors), is the best that any edit in W can do for it. Chapter: "Directions".
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.editing.directions.attributes import Attribute
from pspnb.editing.directions.direction import Direction
from pspnb.errors import PspnbError
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import Factors
from pspnb.world2.prior import draw_z, factors_of

N = 2000
"""Samples behind a mean: its error falls with their square root."""


@torch.no_grad()
def true_shifts(
    generator: Generator, factors: Factors, attribute: Attribute, amount: int | float | Float[Tensor, " b"]
) -> Float[Tensor, " b d"]:
    """w(changed factors) - w(factors) of each row. ValueError where a row's change leaves the world."""
    return generator.map_factors(attribute.changed(factors, amount)) - generator.map_factors(factors)


def true_direction(generator: Generator, attribute: Attribute, *, n: int = N, seed: int = 0) -> Direction:
    """Mean over `n` people of [w(f + delta) - w(f)] / delta; strength 1 is one unit of the factor, or the choice.

    delta is a quarter of the factor's range, downwards where the range ends above. Of a choice: people who have another one.
    PspnbError for a generator without an answer key.
    """
    if not hasattr(generator.style, "map_factors"):
        raise PspnbError("expected a generator that was taught factors: only there is a true direction known")
    factors = factors_of(draw_z(n, seed=seed))
    step = attribute.step
    up, down = attribute.possible(factors, step), attribute.possible(factors, -step)
    delta = torch.where(up, step, -step)[up | down]
    moved = {name: value[up | down] for name, value in factors.items()}
    shifts = true_shifts(generator, moved, attribute, delta)
    mean = (shifts.double() / delta[:, None].to(shifts.device)).mean(dim=0)
    return Direction(attribute.name, "truth", attribute.unit, mean.to(shifts))
