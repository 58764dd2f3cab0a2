"""The networks that judge an application: none of them took part in any encoder's training.

Similarity by `identity_eval`, distance by `perceptual_eval` (another trunk, seed and data than the losses), classes of pixels by
`parsing`, factors by `factors`. Chapter: "The world of Facets" says how wrong each of them is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from pspnb.measure.people import BATCH
from pspnb.models.zoo import load_shipped


@dataclass(frozen=True)
class Judges:
    """Functions of batches of images in [-1, 1].

    Attributes:
        embed: images to unit vectors (b, e) of who is shown.
        distance: (images, images, weight of each pixel or None) to the LPIPS form of each pair, (b,).
        parse: images to class numbers 0 ... 18 (b, s, s).
        read: images to factors by name, (b,) each.
    """

    embed: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    parse: Callable[[Tensor], Tensor]
    read: Callable[[Tensor], dict[str, Tensor]]

    @torch.no_grad()
    def embedded(self, images: Float[Tensor, " n 3 s s"]) -> Float[Tensor, " n e"]:
        """`embed` in batches, on the CPU."""
        return torch.cat([self.embed(part).cpu() for part in images.split(BATCH)])

    @torch.no_grad()
    def distances(
        self,
        a: Float[Tensor, " n 3 s s"],
        b: Float[Tensor, " n 3 s s"],
        weight: Float[Tensor, " n 1 s s"] | None = None,
    ) -> Float[Tensor, " n"]:
        """`distance` in batches, on the CPU."""
        weights = [None] * len(a) if weight is None else weight.split(BATCH)
        parts = zip(a.split(BATCH), b.split(BATCH), weights, strict=False)
        return torch.cat([self.distance(x, y, w).cpu() for x, y, w in parts])

    @torch.no_grad()
    def parsed(self, images: Float[Tensor, " n 3 s s"]) -> Integer[Tensor, " n s s"]:
        """`parse` in batches, on the CPU."""
        return torch.cat([self.parse(part).cpu() for part in images.split(BATCH)])

    @torch.no_grad()
    def factors(self, images: Float[Tensor, " n 3 s s"]) -> dict[str, Tensor]:
        """`read` in batches, on the CPU."""
        parts = [self.read(part) for part in images.split(BATCH)]
        return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


JUDGES: Mapping[str, str] = MappingProxyType(
    {
        "embed": "world2/identity_eval",
        "distance": "world2/perceptual_eval",
        "parse": "world2/parsing",
        "read": "world2/factors",
    }
)
"""The shipped networks behind each of them."""


def shipped_judges(device: str = "cpu") -> Judges:
    """The shipped ones. LoadError where one is missing."""
    embed, distance, parsing, factors = (
        load_shipped(name, device=device).requires_grad_(False) for name in JUDGES.values()
    )
    return Judges(
        lambda x: embed(x.to(device)),
        lambda x, y, weight: distance(x.to(device), y.to(device), None if weight is None else weight.to(device)),
        lambda x: parsing.labels(x.to(device)),  # type: ignore[operator]
        lambda x: factors.predict(x.to(device)),  # type: ignore[operator]
    )
