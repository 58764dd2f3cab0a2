"""Pictures in and out: untrusted files to arrays, and arrays to files that are never half written.

What a photograph may look like before it reaches a network is decided here, once:

* the size is read from the header and checked before a pixel is decoded;
* EXIF orientation is applied; the first picture of a phone's multi-picture JPEG is used;
* transparency is composited on white, because the colour under a transparent pixel is arbitrary;
* 16-bit grey is scaled to 8 bits (65535 -> 255), CMYK, palette and grey become RGB; colour profiles are ignored;
* an animation is refused: which of its frames is meant cannot be known.
"""

from __future__ import annotations

import errno
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pspnb.errors import ImageError, PspnbError
from pspnb.files.atomic import write_atomically
from pspnb.files.pictures import to_levels

# Twice Pillow's own warning limit: about 13,400 x 13,400, half a gigabyte as 8-bit RGB.
MAX_PIXELS = 178_956_970
# Decoders that start other programs (EPS) or exist for rarities are left out: fewer doors for a hostile file.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000")
_READABLE = "a PNG, JPEG, WebP, BMP, TIFF, PPM or GIF image"


@functools.cache
def _formats() -> tuple[str, ...]:
    """Pillow's decoders that may be used; with HEIC where the package pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore
    except ImportError:
        return _FORMATS
    register_heif_opener()
    return (*_FORMATS, "HEIF")


def read_image(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open any still image as 8-bit RGB, upright.

    Raises ImageError, naming the file, when it is missing, empty, truncated, not an image, animated or too large.
    """
    return decoded(Path(path), _to_rgb, max_pixels)


def read_grey(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open any still image as 8-bit grey (mode L): the input of the sketch task. Errors as `read_image`."""
    return decoded(Path(path), lambda image: _to_rgb(image).convert("L"), max_pixels)


def read_mask(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> Bool[np.ndarray, " h w"]:
    """Open a mask: True where the picture is brighter than half. Transparent places count as white. Errors as `read_image`."""
    return np.asarray(read_grey(path, max_pixels=max_pixels)) > 127


def to_image(picture: Float[Tensor, " 3 h w"]) -> Image.Image:
    """Picture nominally in [-1, 1] -> 8-bit RGB, clipped and rounded. Raises ImageError on NaN or infinity."""
    if not torch.isfinite(picture).all():
        raise ImageError("the result holds NaN or infinite values; expected numbers, nominally in [-1, 1]")
    return Image.fromarray(to_levels(picture).permute(1, 2, 0).contiguous().cpu().numpy())


def write_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Write PNG, JPEG (quality 95) or WebP (lossless) by the file's extension; all of the file, or nothing of it.

    Raises ImageError where the name is at fault (an unknown extension, too long for the file system), PspnbError where the
    disk is (full, read-only): then no other file can be written either.
    """
    path = Path(path)
    known: dict[str, dict[str, Any]] = {
        ".png": {"format": "PNG"},
        ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
        ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
        ".webp": {"format": "WEBP", "lossless": True},
    }
    options = known.get(path.suffix.lower())
    if options is None:
        raise ImageError(f"{path}: expected an output name that ends in .png, .jpg, .jpeg or .webp")
    try:
        write_atomically(path, lambda stream: image.save(stream, **options))
    except PspnbError as error:
        if getattr(error.__cause__, "errno", None) in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise ImageError(str(error)) from error
        raise


def decoded(path: Path, convert: Callable[[Image.Image], Image.Image], max_pixels: int) -> Image.Image:
    """Open, check the header, decode, convert; whatever goes wrong becomes one ImageError that starts with the path."""
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"the file is empty (0 bytes); expected {_READABLE}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd metadata; our own limit is below
            with Image.open(path, formats=_formats()) as image:
                _check_header(image, max_pixels)
                image.load()
                return convert(_upright(image))
    except Exception as error:  # a decoder that is given hostile or damaged bytes may raise anything
        raise ImageError(f"{path}: {_reason(error, max_pixels, path.suffix.lower())}") from error


def _reason(error: Exception, max_pixels: int, extension: str) -> str:
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(max_pixels)
    if isinstance(error, UnidentifiedImageError):
        heic = "; HEIC pictures need the package pillow-heif" if extension in (".heic", ".heif") else ""
        return f"not an image; expected {_READABLE}{heic}"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot read: {error.strerror}"
    return f"damaged or truncated image ({' '.join(str(error).split()) or type(error).__name__})"


def _check_header(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{width} x {height} pixels, {_too_large(max_pixels)}")
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format != "MPO":
        raise ImageError(f"an animation or multi-page file of {n_frames} frames; expected a still image")


def _too_large(max_pixels: int) -> str:
    return f"larger than the limit of {max_pixels / 1e6:.0f} megapixels"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are sound even where the metadata is not: then the picture stays as it is stored
        return image


def _sixteen_to_eight(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("a 32-bit image has no defined white; expected 8 or 16 bits a channel")
    # 65535 / 255 = 257: white stays white, black stays black.
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("a floating-point image has no defined white; expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        return _sixteen_to_eight(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
