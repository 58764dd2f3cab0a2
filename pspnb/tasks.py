"""The tasks of the paper (section 4): what the encoder sees, what it should return, and with which weights.

The published options differ in places from the paper's text. `weights` holds the published ones, which made the official
checkpoints, `paper_weights` the text's, and `differs` says in words what a reader should know. Book: one chapter a task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from pspnb import transforms
from pspnb.losses.terms import LossWeights

SourceKind = Literal["image", "sketch", "labels", "low_resolution", "masked"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One application of pSp.

    Attributes:
        name: key in `TASKS`.
        published_name: `dataset_type` of the published code, `None` where it has no such task.
        section: of the paper.
        source: what the encoder reads: an image in [-1, 1], a sketch (one channel in [0, 1]), one-hot labels, an
            image shrunk and enlarged again, or an image with a hole.
        in_channels: of the encoder.
        flip: mirroring in training, with probability one half: "together" (source and target alike), "apart" (each
            by its own coin, which is what teaches frontalization) or "none".
        weights, paper_weights: the lambdas; `paper_weights` is `None` where the paper gives none.
        factors: down-sampling factors drawn in training (super-resolution).
        sample_layers, sample_alpha: the styles redrawn for several outputs, first and end (0-based, `None`: up to the
            last), and their blending weight (`None`: replaced); `None` for tasks with one answer.
        differs: how the published code departs from the paper's text.
    """

    name: str
    published_name: str | None
    section: str
    source: SourceKind
    in_channels: int
    flip: Literal["together", "apart", "none"]
    weights: LossWeights
    paper_weights: LossWeights | None
    factors: tuple[int, ...] = ()
    sample_layers: tuple[int, int | None] | None = None
    sample_alpha: float | None = None
    differs: str = ""

    def layers(self, n_styles: int) -> range:
        """Indices of the styles to redraw for a generator of `n_styles`; empty for a task with one answer."""
        if self.sample_layers is None:
            return range(0)
        start, stop = self.sample_layers
        return range(n_styles)[start:stop]

    def prepare(
        self,
        picture: UInt8[np.ndarray, " h w 3"] | UInt8[np.ndarray, " h w"],
        size: int,
        *,
        factor: int | None = None,
    ) -> Float[Tensor, " c s s"]:
        """What the encoder of this task reads for one 8-bit picture, as in the published inference: no flip, no chance.

        Sketches and label maps are (h, w), everything else (h, w, 3). `factor` shrinks the picture first
        (super-resolution only; without it the picture is taken as the low-resolution one that it is).
        """
        expected = 2 if self.source in ("sketch", "labels") else 3
        if picture.ndim != expected:
            shape = "(h, w)" if expected == 2 else "(h, w, 3)"
            raise ValueError(f"expected a picture of shape {shape} for {self.name}, got {picture.shape}")
        if factor is not None and self.source != "low_resolution":
            raise ValueError(f"expected no factor for {self.name}, got {factor}; only super-resolution takes one")
        if self.source == "sketch":
            return transforms.sketch_tensor(picture, size)
        if self.source == "labels":
            return transforms.label_tensor(picture, size, n_classes=self.in_channels)
        if factor is not None:
            return transforms.low_resolution_tensor(picture, size, factor=factor)
        image = transforms.image_tensor(picture, size)
        return self._with_hole(image[None])[0] if self.source == "masked" else image

    def pair(
        self,
        images: Float[Tensor, " b 3 h w"],
        *,
        generator: torch.Generator,
        given: Float[Tensor, " b c h w"] | Integer[Tensor, " b h w"] | None = None,
        train: bool = True,
    ) -> tuple[Float[Tensor, " b c h w"], Float[Tensor, " b 3 h w"]]:
        """Source and target of a step, from images in [-1, 1].

        `given` is what cannot be computed from the image: label maps for segmentation (required), sketches in [0, 1]
        where better ones than the pencil filter's are at hand, or source images in [-1, 1] of a task between two sets
        of pictures (toonify with pairs). `generator` draws the flips and factors; without `train` there are no flips
        (the published validation flips frontalization's source, which makes its score depend on chance), and the
        factors take turns.
        """
        pictures = given if given is not None and self.source not in ("labels", "sketch") else images
        source, target = pictures, images
        if train and self.flip != "none":
            coins = transforms.random_flips(len(images), generator=generator)
            target = transforms.hflip_where(images, coins)
            if self.flip == "apart":
                coins = transforms.random_flips(len(images), generator=generator)
            together = pictures is images and self.flip == "together"
            source = target if together else transforms.hflip_where(pictures, coins)
        if self.source == "labels":
            if given is None:
                raise ValueError(f"expected label maps for {self.name}, got None")
            source = transforms.one_hot(given, self.in_channels)
        elif self.source == "sketch":
            source = transforms.pencil_sketch(source) if given is None else given
        elif self.source == "low_resolution":
            source = transforms.low_resolution(source, self._draw_factors(len(images), generator, train))
        elif self.source == "masked":
            source = self._with_hole(source)
        return source, target

    def _draw_factors(self, n: int, generator: torch.Generator, train: bool) -> list[int]:
        if not train:
            return [self.factors[i % len(self.factors)] for i in range(n)]
        drawn = torch.randint(len(self.factors), (n,), generator=generator, device=generator.device)
        return [self.factors[i] for i in drawn.tolist()]

    @staticmethod
    def _with_hole(images: Float[Tensor, " b 3 s s"]) -> Float[Tensor, " b 3 s s"]:
        return transforms.mask_out(images, transforms.triangular_mask(images.shape[-1]))


_DEFAULT = LossWeights(l2=1.0, lpips=0.8, id=0.1)
_CONDITIONAL = LossWeights(l2=1.0, lpips=0.8, w_norm=0.005)
_CONDITIONAL_PAPER = LossWeights(l2=1.0, lpips=0.8)
_FINE_STYLES = "The paper redraws layers 8-18 (here 7 ... 17), the published command 8 ... 17."

_ALL = (
    Task(
        name="inversion",
        published_name="ffhq_encode",
        section="4.1",
        source="image",
        in_channels=3,
        flip="together",
        weights=_DEFAULT,
        paper_weights=_DEFAULT,
    ),
    Task(
        name="frontalization",
        published_name="ffhq_frontalize",
        section="4.2",
        source="image",
        in_channels=3,
        flip="apart",
        weights=LossWeights(l2=0.001, lpips=0.08, l2_crop=0.01, lpips_crop=0.8, id=1.0, w_norm=0.005),
        paper_weights=LossWeights(l2=0.001, lpips=0.08, l2_crop=0.01, lpips_crop=0.8, id=0.1),
        differs="The paper changes only the image losses, so its identity weight stays 0.1, where the published command "
        "has 1 and a w-norm. Its 'inner part' and 'elsewhere' are an inner crop and the whole image in the code, so the "
        "inner part counts in both. The published code mirrors the source as well, and in validation too.",
    ),
    Task(
        name="sketch",
        published_name="celebs_sketch_to_face",
        section="4.3.1",
        source="sketch",
        in_channels=1,
        flip="none",
        weights=_CONDITIONAL,
        paper_weights=_CONDITIONAL_PAPER,
        sample_layers=(7, None),
        differs=f"The w-norm is not in the paper. The paper mirrors for augmentation, the code does not. {_FINE_STYLES}",
    ),
    Task(
        name="segmentation",
        published_name="celebs_seg_to_face",
        section="4.3.2",
        source="labels",
        in_channels=19,
        flip="none",
        weights=_CONDITIONAL,
        paper_weights=_CONDITIONAL_PAPER,
        sample_layers=(7, None),
        differs="The w-norm is not in the paper. The code resizes label maps bilinearly, which invents classes at "
        f"borders; here the nearest label is taken. The paper mirrors for augmentation, the code does not. {_FINE_STYLES}",
    ),
    Task(
        name="segmentation_helen",
        published_name=None,
        section="4.3.2",
        source="labels",
        in_channels=11,
        flip="none",
        weights=_CONDITIONAL,
        paper_weights=_CONDITIONAL_PAPER,
        sample_layers=(7, None),
        differs="In the paper (Helen, 11 classes) but without a published command; the 19-class weights are taken.",
    ),
    Task(
        name="super_resolution",
        published_name="celebs_super_resolution",
        section="4.4",
        source="low_resolution",
        in_channels=3,
        flip="none",
        weights=LossWeights(l2=1.0, lpips=0.8, id=0.1, w_norm=0.005),
        paper_weights=_DEFAULT,
        factors=(1, 2, 4, 8, 16, 32),
        sample_layers=(3, 7),
        sample_alpha=0.5,
        differs="The paper draws factors 1 to 16 and has no w-norm; the published command adds 32. In the code a factor "
        "of 1 still blurs slightly, where the paper says no sub-sampling.",
    ),
    Task(
        name="inpainting",
        published_name=None,
        section="4.5",
        source="masked",
        in_channels=3,
        flip="together",
        weights=_DEFAULT,
        paper_weights=_DEFAULT,
        differs="Nothing is published but the words 'a simple, symmetric triangular mask'; weights are the paper's default.",
    ),
    Task(
        name="toonify",
        published_name="ffhq_encode",
        section="-",
        source="image",
        in_channels=3,
        flip="together",
        weights=LossWeights(l2=1.0, lpips=0.8, id=1.0, w_norm=0.025),
        paper_weights=None,
        differs="Only in the published README: inversion into a toonified generator, about 6,000 steps.",
    ),
)

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _ALL})


def task_named(name: str) -> Task:
    """The task of this name, or of this `dataset_type` of the published code. ValueError that lists the names."""
    for task in _ALL:
        if name in (task.name, task.published_name):
            return task
    raise ValueError(f"expected a task among {', '.join(TASKS)}, got {name!r}")
