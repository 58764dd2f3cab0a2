"""What an encoder reads, as one object for each kind: how a file is read, prepared, paired with a target, and shown.

A `Source` is all that tells the tasks of the paper apart before the encoder; the rest of the library asks it and never for its
kind. This file holds the base, which is a photograph; the other kinds are in `damaged` (low resolution, holes) and `drawn`
(sketches, strokes, label maps). Chapter: "Using pspnb".
"""

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from pspnb import transforms
from pspnb.transforms.eight_bit import Fit

Picture = UInt8[np.ndarray, " h w 3"] | UInt8[np.ndarray, " h w"]
Stored = Literal["image", "sketch", "labels"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A photograph in [-1, 1], three channels; and what every kind of source answers.

    Class attributes: `stored` is what the files beside the targets hold in training (three channels, one, or class numbers up
    to `n_classes`), `needs_given` whether a source cannot be made of the target alone, `fill` the grey level that widens a
    picture to a square (None: its own edge), and `planes` the axes of a picture, 3 for (h, w, 3).
    """

    stored: ClassVar[Stored] = "image"
    needs_given: ClassVar[bool] = False
    what: ClassVar[str] = "source pictures"
    fill: ClassVar[int | None] = None
    planes: ClassVar[int] = 3

    @property
    def channels(self) -> int:
        """Input channels of the encoder."""
        return 3

    @property
    def n_classes(self) -> int:
        """Of the label maps it is made of; 0 where there are none."""
        return 0

    # ---- files of a user ----

    def read(self, path: str | os.PathLike) -> Picture:
        """An untrusted file as an 8-bit picture. Raises ImageError that says what was expected."""
        from pspnb.files.images import read_image

        return np.asarray(read_image(path))

    def prepare(self, picture: Picture, size: int) -> Float[Tensor, " c s s"]:
        """What the encoder reads for one square 8-bit picture, as in the published inference: no flip, no chance."""
        return transforms.image_tensor(picture, size)

    def show(self, x: Float[Tensor, " c s s"]) -> UInt8[np.ndarray, " s s 3"]:
        """What the encoder reads, as a picture for people."""
        return transforms.to_uint8(x)

    def squared(self, picture: Picture, fit: Fit | None) -> UInt8[np.ndarray, " h2 w2 *c"]:
        """The picture cropped or widened to a square; ValueError for another aspect without `fit`."""
        return transforms.squared(picture, fit, fill=self.fill)

    # ---- options that only some kinds have: None means "not mine" ----

    def with_factor(self, factor: int) -> "Source | None":
        """The same source that shrinks each picture by `factor` first."""
        return None

    def with_mask(self, mask: Bool[np.ndarray, " h w"]) -> "Source | None":
        """The same source with this hole. ValueError for one that covers everything, or nothing."""
        return None

    def with_classes(self, n_classes: int) -> "Source | None":
        """The same source for label maps of so many classes."""
        return None

    # ---- training ----

    def of_labels(self, labels: UInt8[Tensor, " n s s"]) -> UInt8[Tensor, " n s s"] | None:
        """What is kept beside the images of a world that knows its label maps (19 classes)."""
        return None

    def unit(self, stored: UInt8[Tensor, " *n s s"]) -> Float[Tensor, " *n s s"] | Integer[Tensor, " *n s s"]:
        """8-bit rows as `make` wants them: pictures in [-1, 1], sketches in [0, 1], class numbers."""
        from pspnb.files.pictures import from_levels

        return from_levels(stored)

    def make(
        self,
        images: Float[Tensor, " b 3 s s"],
        given: Tensor | None,
        *,
        generator: torch.Generator,
        train: bool,
    ) -> Float[Tensor, " b c s s"]:
        """Sources of a batch, from (mirrored) images in [-1, 1] and what lies beside them.

        `generator` draws what is random; without `train` things take turns instead, where that is possible.
        """
        return images


@dataclass(frozen=True, kw_only=True)
class Photograph(Source):
    """The picture itself: inversion, frontalization, toonify."""
