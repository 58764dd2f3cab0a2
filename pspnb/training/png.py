"""Sample grids on disk without an image library: training must run on a bare machine with torch and numpy alone."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_bytes(images: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """[-1, 1] -> 0..255, rounded, clamped."""
    scaled = ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def grid(images: Float[Tensor, "b 3 h w"], *, columns: int = 8, gap: int = 2) -> UInt8[np.ndarray, "gh gw 3"]:
    """Images in [-1, 1], row by row, on a black ground with `gap` pixels between them."""
    tiles = to_bytes(images)
    n, h, w, _ = tiles.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w] = tile
    return sheet


def write_png(path: str | os.PathLike[str], pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """An 8-bit RGB PNG (PNG specification, sections 5 and 11): signature, IHDR, one IDAT, IEND; written atomically."""
    h, w, _ = pixels.shape
    lines = np.full((h, 1 + 3 * w), 4, dtype=np.uint8)  # each line starts with its filter type: 4, Paeth
    lines[:, 1:] = _paeth(pixels.reshape(h, 3 * w))
    header = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + _chunk(b"IEND", b"")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    os.replace(temporary, path)


def _paeth(lines: UInt8[np.ndarray, "h n"]) -> UInt8[np.ndarray, "h n"]:
    """Each byte less the nearest of its neighbours left, above and above left to left + above - above left, modulo 256.

    PNG specification, section 9.4. Sheets of portraits become a quarter smaller than without a filter.
    """
    value = lines.astype(np.int16)
    padded = np.pad(value, ((1, 0), (3, 0)))  # outside the picture is 0; three bytes a pixel
    left, above, corner = padded[1:, :-3], padded[:-1, 3:], padded[:-1, :-3]
    to_left, to_above, to_corner = (abs(left + above - corner - x) for x in (left, above, corner))
    nearest = np.where(to_above <= to_corner, above, corner)
    nearest = np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
    return (value - nearest).astype(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
