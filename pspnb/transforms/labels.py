"""Label maps: one-hot tensors for the encoder, colours for people (paper section 4.3.2)."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

from pspnb.classes import CLASS_ID

# The colour table of the published code for the 19 classes of CelebAMask-HQ, RGB.
CELEBA_COLOURS: UInt8[np.ndarray, " 19 3"] = np.array(
    [
        *[(0, 0, 0), (204, 0, 0), (76, 153, 0), (204, 204, 0), (51, 51, 255), (204, 0, 204), (0, 255, 255)],
        *[(255, 204, 204), (102, 51, 0), (255, 0, 0), (102, 204, 0), (255, 255, 0), (0, 0, 153), (0, 0, 204)],
        *[(255, 51, 153), (0, 204, 204), (0, 51, 0), (255, 153, 51), (0, 204, 0)],
    ],
    dtype=np.uint8,
)


_CODES = CELEBA_COLOURS.astype(np.int64) @ np.array([65536, 256, 1])
# How far a channel of a colour may be off to be taken for a published one that was quantised, smoothed or saved as JPEG.
_NEAR = 24


def labels_of_colours(colours: UInt8[np.ndarray, " *batch 3"]) -> UInt8[np.ndarray, " *batch"] | None:
    """Class numbers of pixels in the published colours, the inverse of `colour_labels`; None when any is another colour."""
    codes = colours.astype(np.int64) @ np.array([65536, 256, 1])
    order = np.argsort(_CODES)
    place = np.searchsorted(_CODES[order], codes).clip(max=len(order) - 1)
    found = order[place]
    return found.astype(np.uint8) if (_CODES[found] == codes).all() else None


def nearly_published(colours: UInt8[np.ndarray, " n 3"]) -> bool:
    """Whether most of these colours, black and greys aside, lie close to the published ones: a colour map that was damaged."""
    coloured = colours[np.ptp(colours, axis=1) > _NEAR].astype(int)
    if len(coloured) == 0:
        return False
    nearest = np.abs(coloured[:, None] - CELEBA_COLOURS.astype(int)).max(axis=2).min(axis=1)
    return bool((nearest <= _NEAR).mean() > 0.5)


def merge_part_masks(masks: Mapping[str, Bool[np.ndarray, " h w"]]) -> UInt8[np.ndarray, " h w"]:
    """A label map of 19 classes from masks of parts by name ("hair", "l_eye", ...), as CelebAMask-HQ publishes them.

    Where masks overlap the class of the higher number wins, as in the data set's own script; no mask is background.
    ValueError for a name that is no class.
    """
    if not masks or not set(masks) <= set(CLASS_ID):
        raise ValueError(f"expected masks named among {', '.join(CLASS_ID)}, got {', '.join(masks) or 'none'}")
    shape = next(iter(masks.values())).shape
    labels = np.zeros(shape, dtype=np.uint8)
    for name in sorted(masks, key=CLASS_ID.__getitem__):
        if masks[name].shape != shape:
            raise ValueError(f"expected masks of one size, got {shape} and {masks[name].shape} ({name})")
        labels[masks[name]] = CLASS_ID[name]
    return labels


def one_hot(labels: Integer[Tensor, " *b h w"], n_classes: int) -> Float[Tensor, " *b c h w"]:
    """Label maps as float planes, one per class.

    ValueError for a label outside of 0 ... n_classes - 1, on the CPU; a CUDA tensor isn't checked, because reading the
    answer would wait for the device.
    """
    if labels.device.type == "cpu" and labels.numel():
        low, high = labels.min().item(), labels.max().item()
        if low < 0 or high >= n_classes:
            raise ValueError(f"expected labels 0 ... {n_classes - 1}, got values from {low} to {high}")
    return F.one_hot(labels.long(), n_classes).movedim(-1, -3).float()


def colour_labels(
    labels: Integer[np.ndarray, " *batch h w"] | Integer[Tensor, " *batch h w"],
) -> UInt8[np.ndarray, " *batch h w 3"]:
    """RGB pictures of label maps with the 19 classes of CelebAMask-HQ (for planes, take `argmax` over them first)."""
    labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    if labels.min() < 0 or labels.max() >= len(CELEBA_COLOURS):
        raise ValueError(f"expected labels 0 ... 18, got values from {labels.min()} to {labels.max()}")
    return CELEBA_COLOURS[labels]
