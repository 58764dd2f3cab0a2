"""The test people as exact truth: pictures, label maps and factors, and the same people rendered with something changed.

Chapters: one for each application; the world's own is "The world of Facets".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pspnb.checks import between
from pspnb.measure.answer_key import SURROUNDINGS
from pspnb.training.arrays import render_arrays, split_arrays, to_unit
from pspnb.world2 import SPLIT_SIZES, Factors, Style, edit

BATCH = 50
"""Images that networks look at together."""
SIZE = 64
"""Side of the pictures that the instruments read."""


@dataclass(frozen=True)
class People:
    """n pictures in [-1, 1] (from 8 bits), class numbers 0 ... 18, and factors; on the CPU."""

    images: Float[Tensor, " n 3 s s"]
    labels: UInt8[Tensor, " n s s"]
    factors: Factors

    def __len__(self) -> int:
        return len(self.images)

    @property
    def head(self) -> Bool[Tensor, " n 1 s s"]:
        """Where neither wall nor cloth is seen."""
        return torch.stack([self.labels != i for i in SURROUNDINGS]).all(dim=0)[:, None]

    def first(self, n: int) -> "People":
        """The first n of them."""
        return People(self.images[:n], self.labels[:n], {name: value[:n] for name, value in self.factors.items()})

    def where(self, rows: Bool[Tensor, " n"]) -> "People":
        """Those of a mask."""
        return People(self.images[rows], self.labels[rows], {name: value[rows] for name, value in self.factors.items()})

    def rendered(self, **changes: float | int | str | Tensor) -> "People":
        """The same scenes with some factors changed, rendered anew: `rendered(yaw=0.0, roll=0.0)`."""
        return rendered(edit(self.factors, **changes), self.images.shape[-1])

    def drawn_as(self, style: Style) -> "People":
        """The same scenes, drawn in another style."""
        return rendered(self.factors, self.images.shape[-1], style=style)


def rendered(factors: Factors, size: int = SIZE, *, style: Style = "photo") -> People:
    """Pictures of any factors."""
    data = render_arrays(factors, torch.arange(len(factors["yaw"])), size, style=style)
    return People(to_unit(data.images), data.labels, factors)


def the_test_people(n: int | None = None) -> People:
    """The first n (default: all) people of the test split, 64 px. PspnbError for another n."""
    between(1, SPLIT_SIZES["test"], n=n)
    data = split_arrays("test", SIZE, n=n)
    return People(to_unit(data.images), data.labels, data.factors)


@torch.no_grad()
def drawn(draw: Callable[[Tensor], Tensor], sources: Tensor, *, batch: int = BATCH) -> Float[Tensor, " n 3 t t"]:
    """What `draw` makes of sources, in batches, in [-1, 1] as a stored picture is, on the CPU."""
    return torch.cat([draw(part).float().clamp(-1, 1).cpu() for part in sources.split(batch)])
