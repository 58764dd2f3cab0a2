"""The published data path: 8-bit pictures through Pillow, one at a time (facts of the published code; paper section 4).

Every function takes a picture as a uint8 array, (h, w, 3) in RGB or (h, w), and gives what the encoder reads. Pictures of
another mode are the business of `pspnb.files.images`. Pillow is imported where it is used.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pspnb.transforms.batched import downsample
from pspnb.transforms.labels import one_hot

Picture = UInt8[np.ndarray, " h w 3"] | UInt8[np.ndarray, " h w"]
Fit = Literal["crop", "pad", "stretch"]
SQUARE = 1.02
"""Sides in a larger ratio than this are no square."""


def resize_picture(
    picture: Picture, size: int, *, interpolation: Literal["bilinear", "nearest"] = "bilinear"
) -> UInt8[np.ndarray, " s s *c"]:
    """A picture at size x size, its aspect ratio given up; Pillow's bilinear averages when it shrinks (antialiased)."""
    from PIL import Image

    method = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}[interpolation]
    return np.asarray(Image.fromarray(picture).resize((size, size), method))


def is_square(picture: Picture) -> bool:
    """Whether a picture may be resized to a square as it is: its sides differ by 2 % at most."""
    height, width = picture.shape[:2]
    return max(height, width) <= SQUARE * min(height, width)


def squared(picture: Picture, fit: Fit | None, *, fill: int | None = None) -> UInt8[np.ndarray, " h2 w2 *c"]:
    """A square picture: the middle of it ("crop"), widened by the level `fill` or by its own edge ("pad"), or as it is, to be
    stretched by `resize_picture` ("stretch", as the published code does).

    Without `fit` a picture of another aspect than a square's raises ValueError.
    """
    height, width = picture.shape[:2]
    if fit == "stretch" or is_square(picture):
        return picture
    if fit is None:
        raise ValueError(
            f"{width} x {height} pixels; expected a square picture: align it, or choose --fit crop, --fit pad or --fit stretch"
        )
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return np.ascontiguousarray(picture[top : top + side, left : left + side])
    missing = max(height, width) - np.array([height, width])
    margins = [(int(m) // 2, int(m) - int(m) // 2) for m in missing] + [(0, 0)] * (picture.ndim - 2)
    if fill is None:
        return np.pad(picture, margins, mode="edge")
    return np.pad(picture, margins, constant_values=fill)


def grey(picture: UInt8[np.ndarray, " h w 3"]) -> UInt8[np.ndarray, " h w"]:
    """Luma as Pillow's mode L has it (ITU-R 601)."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).convert("L"))


def _unit_tensor(picture: Picture) -> Float[Tensor, " c h w"]:
    """Values 0 ... 255 -> [0, 1], channels first."""
    planes = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return torch.tensor(planes).float() / 255


def image_tensor(picture: UInt8[np.ndarray, " h w 3"], size: int) -> Float[Tensor, " 3 s s"]:
    """A photo in [-1, 1]: source of inversion and frontalization, target of every task."""
    return (_unit_tensor(resize_picture(picture, size)) - 0.5) / 0.5


def sketch_tensor(picture: UInt8[np.ndarray, " h w"], size: int) -> Float[Tensor, " 1 s s"]:
    """A sketch in [0, 1]: the published sketch encoder reads it unnormalised."""
    return _unit_tensor(resize_picture(picture, size))


def label_tensor(
    labels: UInt8[np.ndarray, " h w"],
    size: int,
    *,
    n_classes: int = 19,
    interpolation: Literal["bilinear", "nearest"] = "nearest",
) -> Float[Tensor, " c s s"]:
    """One-hot planes of a label map.

    The published code resizes label maps bilinearly, and so invents classes at the borders between others (2 and 4 meet
    as a line of 3); pass `interpolation="bilinear"` to repeat that. A map that has the right size is the same in both.
    ValueError for a label outside of 0 ... n_classes - 1.
    """
    resized = torch.tensor(resize_picture(labels, size, interpolation=interpolation))
    return one_hot(resized, n_classes)


def low_resolution_tensor(picture: UInt8[np.ndarray, " h w 3"], size: int, *, factor: int) -> Float[Tensor, " 3 s s"]:
    """The source of super-resolution in [-1, 1]: shrunk by `factor`, rounded down to 8 bits, enlarged again."""
    small = low_resolution_picture(resize_picture(picture, size), factor=factor)
    return (_unit_tensor(resize_picture(small, size)) - 0.5) / 0.5


def low_resolution_picture(picture: UInt8[np.ndarray, " h w 3"], *, factor: int) -> UInt8[np.ndarray, " h2 w2 3"]:
    """A picture shrunk by `factor` with the published bicubic kernel; 8-bit values are truncated, as published."""
    small = downsample(_unit_tensor(picture)[None], factor).clamp(0, 1)
    return to_uint8(small[0] * 2 - 1, truncate=True)


def to_uint8(image: Float[Tensor, " 3 h w"], *, truncate: bool = False) -> UInt8[np.ndarray, " h w 3"]:
    """An image in [-1, 1] (beyond is clipped) as an 8-bit picture, rounded to the nearest level.

    The published code truncates (`truncate=True`): the picture is half a level darker, and an 8-bit picture doesn't
    survive the way to a tensor and back. Rounding returns it exactly.
    """
    levels = ((image.detach().float().cpu() + 1) / 2).clamp(0, 1) * 255
    levels = levels.floor() if truncate else levels.round()
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
