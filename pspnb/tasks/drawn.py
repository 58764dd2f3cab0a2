"""Sources that are drawn: sketches (paper section 4.3.1), strokes after the world's own contours, label maps (section 4.3.2)."""

import logging
import os
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from pspnb import transforms
from pspnb.classes import CLASSES, HELEN_CLASSES, HELEN_FROM_CELEBA
from pspnb.tasks.source import Picture, Source, Stored

log = logging.getLogger(__name__)

_DARK, _COLOURFUL = 110, 24  # mean level below which paper is black; mean spread of the channels of a coloured picture


@dataclass(frozen=True, kw_only=True)
class Sketch(Source):
    """Dark lines on white paper, one channel in [0, 1]. In training the pencil filter draws it, or better ones are given."""

    stored: ClassVar[Stored] = "sketch"
    what: ClassVar[str] = "sketches"
    fill: ClassVar[int | None] = 255
    planes: ClassVar[int] = 2

    @property
    def channels(self) -> int:
        return 1

    def read(self, path: str | os.PathLike) -> Picture:
        """Grey, transparency as white paper. Warns of colours, and of light lines on a dark ground."""
        from pspnb.files.images import read_image

        image = read_image(path)
        if np.ptp(np.asarray(image), axis=2).mean() > _COLOURFUL:
            log.warning("%s: expected dark lines on white paper, this picture has colours; its greys are taken", path)
        levels = np.asarray(image.convert("L"))
        if levels.mean() < _DARK:
            log.warning(
                "%s: expected dark lines on white paper, this looks like light lines on black; invert it?", path
            )
        return levels

    def prepare(self, picture: Picture, size: int) -> Float[Tensor, " 1 s s"]:
        return transforms.sketch_tensor(picture, size)

    def show(self, x: Float[Tensor, " 1 s s"]) -> UInt8[np.ndarray, " s s 3"]:
        return transforms.to_uint8(x.expand(3, -1, -1) * 2 - 1)

    def unit(self, stored: UInt8[Tensor, " *n s s"]) -> Float[Tensor, " *n s s"]:
        return stored.float() / 255

    def make(
        self, images: Float[Tensor, " b 3 s s"], given: Tensor | None, *, generator: torch.Generator, train: bool
    ) -> Float[Tensor, " b 1 s s"]:
        return transforms.pencil_sketch(images) if given is None else given


@dataclass(frozen=True, kw_only=True)
class Strokes(Sketch):
    """A sketch as a hand draws it. In training it is drawn after label maps of 19 classes (`transforms.draw_strokes`)."""

    stored: ClassVar[Stored] = "labels"
    needs_given: ClassVar[bool] = True
    what: ClassVar[str] = "label maps"

    @property
    def n_classes(self) -> int:
        return len(CLASSES)

    def of_labels(self, labels: UInt8[Tensor, " n s s"]) -> UInt8[Tensor, " n s s"]:
        return labels

    def unit(self, stored: UInt8[Tensor, " *n s s"]) -> UInt8[Tensor, " *n s s"]:
        return stored

    def make(
        self, images: Float[Tensor, " b 3 s s"], given: Tensor | None, *, generator: torch.Generator, train: bool
    ) -> Float[Tensor, " b 1 s s"]:
        if given is None:
            raise ValueError("expected label maps to draw strokes after, got None")
        return transforms.draw_strokes(given, images, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Labels(Source):
    """One-hot planes of a label map: CelebAMask-HQ's 19 classes, Helen's 11, or any other number of them."""

    classes: int = len(CLASSES)
    stored: ClassVar[Stored] = "labels"
    needs_given: ClassVar[bool] = True
    what: ClassVar[str] = "label maps"
    fill: ClassVar[int | None] = 0
    planes: ClassVar[int] = 2

    @property
    def channels(self) -> int:
        return self.classes

    @property
    def n_classes(self) -> int:
        return self.classes

    def with_classes(self, n_classes: int) -> "Labels":
        return replace(self, classes=n_classes)

    def read(self, path: str | os.PathLike) -> Picture:
        from pspnb.files.label_maps import read_labels

        return np.asarray(read_labels(path, n_classes=self.classes))

    def prepare(self, picture: Picture, size: int) -> Float[Tensor, " c s s"]:
        return transforms.label_tensor(picture, size, n_classes=self.classes)

    def show(self, x: Float[Tensor, " c s s"]) -> UInt8[np.ndarray, " s s 3"]:
        """In the published colours where there are such, else in greys."""
        labels = x.argmax(dim=0).cpu().numpy()
        if self.classes == len(transforms.CELEBA_COLOURS):
            return transforms.colour_labels(labels)
        greys = (labels * (255 // max(self.classes - 1, 1))).astype(np.uint8)
        return np.repeat(greys[..., None], 3, axis=2)

    def of_labels(self, labels: UInt8[Tensor, " n s s"]) -> UInt8[Tensor, " n s s"]:
        if self.classes != len(HELEN_CLASSES):
            return labels
        return torch.from_numpy(np.array(HELEN_FROM_CELEBA, np.uint8)[labels.numpy()])

    def unit(self, stored: UInt8[Tensor, " *n s s"]) -> UInt8[Tensor, " *n s s"]:
        return stored

    def make(
        self,
        images: Float[Tensor, " b 3 s s"],
        given: Integer[Tensor, " b s s"] | None,
        *,
        generator: torch.Generator,
        train: bool,
    ) -> Float[Tensor, " b c s s"]:
        if given is None:
            raise ValueError(f"expected label maps of {self.classes} classes, got None")
        return transforms.one_hot(given, self.classes)
