"""Label maps in: class numbers, the published colours, or the part masks of CelebAMask-HQ. Everything else is refused."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from PIL import Image

from pspnb.errors import ImageError
from pspnb.files.images import MAX_PIXELS, decoded, read_grey
from pspnb.transforms.labels import CELEBA_COLOURS, labels_of_colours, merge_part_masks, nearly_published


def read_labels(path: str | os.PathLike, *, n_classes: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a label map as mode L whose pixel values are class numbers 0 .. n_classes-1.

    With 19 classes, a map in the published colours (RGB, or a palette of them in any order) is turned into numbers. Any
    other palette image gives its indices, not its colours. Raises ImageError when a value is not a class, or when colours
    are nearly the published ones (a map that was quantised, smoothed, or saved as JPEG).
    """
    labels = decoded(
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
        return "; one part of a CelebAMask-HQ map? pspnb.files.label_maps.read_part_masks joins them"
    if set(values) <= {round(255 * k / (n_classes - 1)) for k in range(n_classes)}:
        return f"; class numbers times {255 / (n_classes - 1):.4g}? divide by that, and round"
    step = math.gcd(*values)
    return f"; class numbers times {step}? divide by that" if step > 1 and values[-1] // step < n_classes else ""


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
