"""Between network numbers in [-1, 1] and 8-bit pictures: levels, sheets of many pictures, PNG files."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from pspnb.files.atomic import write_atomically


def to_levels(images: Float[Tensor, " *n c h w"]) -> UInt8[Tensor, " *n c h w"]:
    """[-1, 1] -> 0 ... 255, rounded to nearest; what lies beyond is clipped. On the device of the images."""
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()


def from_levels(levels: UInt8[Tensor, " *n c h w"]) -> Float[Tensor, " *n c h w"]:
    """0 ... 255 -> [-1, 1], float32. `to_levels` gives the same levels again."""
    return levels.float() / 127.5 - 1


def grid(images: Float[Tensor, " b 3 h w"], *, columns: int = 8, gap: int = 2) -> UInt8[np.ndarray, " gh gw 3"]:
    """Images in [-1, 1], row by row, on a black ground with `gap` pixels between them."""
    tiles = to_levels(images).permute(0, 2, 3, 1).cpu().numpy()
    n, h, w, _ = tiles.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w] = tile
    return sheet


def write_png(path: str | os.PathLike[str], pixels: UInt8[np.ndarray, " h w 3"]) -> None:
    """An 8-bit RGB PNG, whole or not at all. PspnbError when the system refuses to write."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    write_atomically(path, lambda stream: picture.save(stream, format="PNG"))
