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
import math
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
from pspnb.transforms.labels import CELEBA_COLOURS, labels_of_colours, merge_part_masks, nearly_published

# Twice Pillow's own warning limit: about 13,400 x 13,400, half a gigabyte as 8-bit RGB.
MAX_PIXELS = 178_956_970
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
# Other names that pictures have. Such files are tried as well: what can't be read is named, and not passed over.
_ALSO_PICTURES = (
    *(
        ".jpe",
        ".jfif",
        ".avif",
        ".heic",
        ".heif",
        ".jp2",
        ".j2k",
        ".pgm",
        ".pbm",
        ".pnm",
        ".dib",
        ".tga",
        ".psd",
        ".eps",
    ),
    *(".svg", ".ico", ".jxl", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
# Decoders that start other programs (EPS) or exist for rarities are left out: fewer doors for a hostile file.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000")
_READABLE = "a PNG, JPEG, WebP, BMP, TIFF, PPM or GIF image"


_NAMED_LIKE_PICTURES = (*EXTENSIONS, *_ALSO_PICTURES)


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
    return _decode(Path(path), _to_rgb, max_pixels)


def read_grey(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open any still image as 8-bit grey (mode L): the input of the sketch task. Errors as `read_image`."""
    return _decode(Path(path), lambda image: _to_rgb(image).convert("L"), max_pixels)


def read_labels(path: str | os.PathLike, *, n_classes: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a label map as mode L whose pixel values are class numbers 0 .. n_classes-1.

    With 19 classes, a map in the published colours (RGB, or a palette of them in any order) is turned into numbers. Any
    other palette image gives its indices, not its colours. Raises ImageError when a value is not a class, or when colours
    are nearly the published ones (a map that was quantised, smoothed, or saved as JPEG).
    """
    labels = _decode(
        Path(path), lambda image: _to_labels(image, by_colour=n_classes == len(CELEBA_COLOURS)), max_pixels
    )
    values = np.unique(np.asarray(labels)).tolist()
    if wrong := [value for value in values if value >= n_classes]:
        some = ", ".join(map(str, wrong[:8])) + (" ..." if len(wrong) > 8 else "")
        raise ImageError(
            f"{path}: a label map holds class numbers 0 to {n_classes - 1}, one channel; found the value"
            f"{'s' if len(wrong) > 1 else ''} {some}{_label_hint(values, n_classes, Path(path).stem)}"
        )
    return labels


def _label_hint(values: list[int], n_classes: int, stem: str) -> str:
    """What a map of other values than class numbers may be: one part of CelebAMask-HQ's, or numbers spread over 0 ... 255."""
    if set(values) <= {0, 255} and "_" in stem:
        return "; one part of a CelebAMask-HQ map? pspnb.files.images.read_part_masks joins them"
    if set(values) <= {round(255 * k / (n_classes - 1)) for k in range(n_classes)}:
        return f"; class numbers times {255 / (n_classes - 1):.4g}? divide by that, and round"
    step = math.gcd(*values)
    return f"; class numbers times {step}? divide by that" if step > 1 and values[-1] // step < n_classes else ""


def read_mask(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> Bool[np.ndarray, " h w"]:
    """Open a mask: True where the picture is brighter than half. Transparent places count as white. Errors as `read_image`."""
    return np.asarray(read_grey(path, max_pixels=max_pixels)) > 127


def read_part_masks(folder: str | os.PathLike, name: str) -> Image.Image:
    """The label map (mode L, 19 classes) of CelebAMask-HQ's masks `folder`/`name`_hair.png, `name`_l_eye.png, ...

    Raises ImageError when there is none, when one can't be read, or when a part is no class. See
    `transforms.merge_part_masks`.
    """
    paths = sorted(Path(folder).glob(f"{name}_*.png"))
    if not paths:
        raise ImageError(f"{folder}: expected masks named {name}_hair.png, {name}_skin.png, ...; found none")
    masks = {path.stem.removeprefix(f"{name}_"): np.asarray(read_grey(path)) > 127 for path in paths}
    try:
        return Image.fromarray(merge_part_masks(masks))
    except ValueError as error:
        raise ImageError(f"{folder}: {name}: {error}") from error


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


def find_images(path: str | os.PathLike, *, exclude: str | os.PathLike | None = None) -> list[Path]:
    """The image itself, or every image below a folder, sorted; hidden files and those below `exclude` are left out.

    Links to folders are followed. A file is an image by the end of its name, also where no decoder is there for it: that is
    found out, and said, by reading it.

    Raises ImageError when there is nothing to read, and for an empty path, which would otherwise mean the current folder.
    """
    if os.fspath(path) == "":
        raise ImageError("expected an image or a folder of images, got an empty path")
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise ImageError(f"{root}: no such file or folder")
    skipped = Path(exclude).resolve() if exclude is not None else None
    found, seen = [], {root.resolve()}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        kept = []
        for name in sorted(subfolders):
            real = Path(folder, name).resolve()
            if not name.startswith(".") and real != skipped and real not in seen:  # a link may lead back
                seen.add(real)
                kept.append(name)
        subfolders[:] = kept
        found += [Path(folder, n) for n in names if n.lower().endswith(_NAMED_LIKE_PICTURES) and not n.startswith(".")]
    if not found:
        raise ImageError(f"{root}: no images in this folder (looked for {', '.join(EXTENSIONS)})")
    return sorted(found)


def output_names(inputs: list[Path], root: Path) -> list[Path]:
    """Relative output paths without extension, no two equal, not even where a file system takes X and x for the same.

    Sub-folders are mirrored. Where inputs differ in their extension only, it joins the name: x_jpg, x_png.
    """
    root = root if root.is_dir() else root.parent
    plain = [path.relative_to(root).with_suffix("") for path in inputs]
    counts: dict[str, int] = {}
    for name in plain:
        counts[str(name).casefold()] = counts.get(str(name).casefold(), 0) + 1
    # Names that are already unique are taken first: adding one file never renames the output of an unrelated other.
    taken = {key for key, count in counts.items() if count == 1}
    names = []
    for path, name in zip(inputs, plain, strict=True):
        if counts[str(name).casefold()] > 1:
            base = candidate = name.with_name(f"{name.name}_{path.suffix[1:].lower()}")
            number = 1
            while str(candidate).casefold() in taken:
                number += 1
                candidate = base.with_name(f"{base.name}_{number}")
            taken.add(str(candidate).casefold())
            name = candidate
        names.append(name)
    return names


def _decode(path: Path, convert: Callable[[Image.Image], Image.Image], max_pixels: int) -> Image.Image:
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


def _to_labels(image: Image.Image, *, by_colour: bool) -> Image.Image:
    if by_colour and image.mode in ("P", "PA", "RGB", "RGBA"):
        mapped = _by_colour(image)
        if mapped is not None:
            return mapped
    if image.mode in ("P", "L"):
        return Image.fromarray(np.array(image, dtype=np.uint8))
    if image.mode.startswith("I"):
        values = np.asarray(image)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.mode == "RGB" and (np.ptp(np.asarray(image), axis=2) == 0).all():
        return image.getchannel("R")  # an 8-bit grey map that some program saved with three equal channels
    raise ImageError(f"a label map has one channel of class numbers (mode L or P); this image has mode {image.mode}")


def _by_colour(image: Image.Image) -> Image.Image | None:
    """Class numbers of a map in the published colours; None where colours are no code. ImageError where they nearly are."""
    pixels = np.asarray(image.convert("RGB"))
    colours, place = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if (np.ptp(colours, axis=1) == 0).all():  # greys are numbers, black alone as well
        return None
    labels = labels_of_colours(colours)
    if labels is not None:
        return Image.fromarray(labels[place].reshape(pixels.shape[:2]))
    if nearly_published(colours):
        raise ImageError(
            "a label map in colours that are nearly the published ones: quantised, smoothed, or saved as JPEG? "
            "expected class numbers (mode L), or exactly those colours"
        )
    return None
