"""Sources with something missing: pictures of a low resolution (paper section 4.4), pictures with a hole (section 4.5)."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb import transforms
from pspnb.tasks.source import Picture, Source


@dataclass(frozen=True, kw_only=True)
class LowResolution(Source):
    """An image shrunk by one of `factors` (drawn in training, in turns otherwise) and enlarged again.

    `factor`: what a user's picture is shrunk by; None takes it as the low-resolution one that it is.
    """

    factors: tuple[int, ...]
    factor: int | None = None

    def with_factor(self, factor: int) -> "LowResolution":
        return replace(self, factor=factor)

    def prepare(self, picture: Picture, size: int) -> Float[Tensor, " 3 s s"]:
        if self.factor is None:
            return transforms.image_tensor(picture, size)
        return transforms.low_resolution_tensor(picture, size, factor=self.factor)

    def make(
        self, images: Float[Tensor, " b 3 s s"], given: Tensor | None, *, generator: torch.Generator, train: bool
    ) -> Float[Tensor, " b 3 s s"]:
        n = len(images)
        if train:
            drawn = torch.randint(len(self.factors), (n,), generator=generator, device=generator.device).tolist()
        else:
            drawn = [i % len(self.factors) for i in range(n)]
        return transforms.low_resolution(images, [self.factors[i] for i in drawn])


@dataclass(frozen=True, kw_only=True)
class Masked(Source):
    """An image with a hole of one of `kinds` (`transforms.HOLES`; drawn in training, in turns otherwise), grey within.

    `mask`: a user's own hole; without one, the paper's triangle.
    """

    kinds: tuple[str, ...]
    mask: Bool[np.ndarray, " h w"] | None = field(default=None, compare=False)

    def with_mask(self, mask: Bool[np.ndarray, " h w"]) -> "Masked":
        if mask.all() or not mask.any():
            much = "everything" if mask.all() else "nothing"
            raise ValueError(f"the mask covers {much}; expected a hole (white) with some of the picture around it")
        return replace(self, mask=mask)

    def prepare(self, picture: Picture, size: int) -> Float[Tensor, " 3 s s"]:
        return transforms.mask_out(transforms.image_tensor(picture, size)[None], self.hole(size))[0]

    def hole(self, size: int) -> Bool[Tensor, " s s"]:
        """The hole of a user's picture."""
        if self.mask is None:
            return transforms.triangular_mask(size)
        levels = transforms.resize_picture(self.mask.astype(np.uint8) * 255, size)
        return torch.tensor(levels > 127)

    def make(
        self, images: Float[Tensor, " b 3 s s"], given: Tensor | None, *, generator: torch.Generator, train: bool
    ) -> Float[Tensor, " b 3 s s"]:
        return transforms.mask_out(images, self.holes(len(images), images.shape[-1], generator=generator, train=train))

    def holes(self, n: int, size: int, *, generator: torch.Generator, train: bool) -> Bool[Tensor, " n s s"]:
        """Holes of a batch."""
        if train and len(self.kinds) > 1:
            drawn = torch.randint(len(self.kinds), (n,), generator=generator, device=generator.device).tolist()
        else:
            drawn = [i % len(self.kinds) for i in range(n)]
        return transforms.random_holes([self.kinds[i] for i in drawn], size, generator=generator)
