"""One application of pSp (paper section 4): what the encoder sees, what it should return, and with which weights."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from pspnb import transforms
from pspnb.losses.terms import LossWeights
from pspnb.tasks.source import Picture, Source
from pspnb.transforms.eight_bit import Fit


@dataclass(frozen=True, kw_only=True)
class Task:
    """One application of pSp.

    Attributes:
        name: key in `TASKS`.
        published_name: `dataset_type` of the published code, `None` where it has no such task.
        section: of the paper.
        source: what the encoder reads, see `Source`.
        flip: mirroring in training, with probability one half: "together" (source and target alike), "apart" (each
            by its own coin, which is what teaches frontalization) or "none".
        weights, paper_weights: the lambdas; `paper_weights` is `None` where the paper gives none.
        sample_layers, sample_alpha: the styles redrawn for several outputs, first and end (0-based, `None`: up to the
            last), and their blending weight (`None`: replaced); `None` for tasks with one answer.
        outputs: what the generator draws, "photo" or another domain of the same people.
        paired: whether the targets are the sources' own pictures in that domain; without pairs, the sources themselves.
        differs: how the published code departs from the paper's text.
    """

    name: str
    published_name: str | None
    section: str
    source: Source
    flip: Literal["together", "apart", "none"]
    weights: LossWeights
    paper_weights: LossWeights | None
    sample_layers: tuple[int, int | None] | None = None
    sample_alpha: float | None = None
    outputs: Literal["photo", "cartoon"] = "photo"
    paired: bool = False
    differs: str = ""

    @property
    def in_channels(self) -> int:
        """Of the encoder."""
        return self.source.channels

    def layers(self, n_styles: int) -> range:
        """Indices of the styles to redraw for a generator of `n_styles`; empty for a task with one answer."""
        if self.sample_layers is None:
            return range(0)
        start, stop = self.sample_layers
        return range(n_styles)[start:stop]

    @property
    def needs_given(self) -> bool:
        """Whether a source cannot be made of the target alone."""
        return self.source.needs_given or self.paired

    def with_classes(self, n_classes: int) -> "Task":
        """The task for label maps of so many classes; itself where it reads none."""
        source = self.source.with_classes(n_classes)
        return self if source is None else replace(self, source=source)

    def with_options(self, *, factor: int | None = None, mask: Bool[np.ndarray, " h w"] | None = None) -> "Task":
        """The task that shrinks each picture by `factor` first, or that has this hole.

        ValueError for a task that takes no such option, or a mask that covers everything or nothing.
        """
        source: Source | None = self.source
        if factor is not None:
            source = self.source.with_factor(factor)
            if source is None:
                raise ValueError(f"expected no factor for {self.name}, got {factor}; only super-resolution takes one")
        if mask is not None:
            source = self.source.with_mask(mask)
            if source is None:
                raise ValueError(f"expected no mask for {self.name}; only inpainting takes one")
        assert source is not None
        return replace(self, source=source)

    def prepare(
        self, picture: Picture, size: int, *, factor: int | None = None, fit: Fit | None = "stretch"
    ) -> Float[Tensor, " c s s"]:
        """What the encoder of this task reads for one 8-bit picture, as in the published inference: no flip, no chance.

        Sketches and label maps are (h, w), everything else (h, w, 3). `factor` shrinks the picture first
        (super-resolution only; without it the picture is taken as the low-resolution one that it is). `fit` says what
        becomes of another aspect than a square's: "stretch" as published, "crop", "pad", or None for a ValueError.
        """
        planes = self.source.planes
        if picture.ndim != planes:
            shape = "(h, w)" if planes == 2 else "(h, w, 3)"
            raise ValueError(f"expected a picture of shape {shape} for {self.name}, got {picture.shape}")
        task = self if factor is None else self.with_options(factor=factor)
        return task.source.prepare(task.source.squared(picture, fit), size)

    def pair(
        self,
        images: Float[Tensor, " b 3 h w"],
        *,
        generator: torch.Generator,
        given: Float[Tensor, " b c h w"] | Integer[Tensor, " b h w"] | None = None,
        train: bool = True,
    ) -> tuple[Float[Tensor, " b c h w"], Float[Tensor, " b 3 h w"]]:
        """Source and target of a step, from images in [-1, 1].

        `given` is what cannot be computed from the image: label maps for segmentation and strokes (required), sketches in
        [0, 1] where better ones than the pencil filter's are at hand, or source images in [-1, 1] of a task between two
        sets of pictures (toonify with pairs). `generator` draws the flips, factors, holes and strokes; without `train`
        there are no flips (the published validation flips frontalization's source, which makes its score depend on
        chance), and factors and kinds of holes take turns.
        """
        if given is None and self.needs_given:
            raise ValueError(f"expected {self.source.what} for {self.name}, got None")
        pictures = given if given is not None and self.source.stored == "image" else images
        source, target = pictures, images
        if train and self.flip != "none":
            coins = transforms.random_flips(len(images), generator=generator)
            target = transforms.hflip_where(images, coins)
            if self.flip == "apart":
                coins = transforms.random_flips(len(images), generator=generator)
            together = pictures is images and self.flip == "together"
            source = target if together else transforms.hflip_where(pictures, coins)
        return self.source.make(source, given, generator=generator, train=train), target
