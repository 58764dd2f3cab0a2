"""The recipe of FFHQ: the square of a face from its landmarks, and the crop of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from pspnb.errors import AlignError

Landmarks = Float[np.ndarray, " p 2"] | Int[np.ndarray, " p 2"]


@dataclass(frozen=True)
class Plan:
    """The steps from an image to its aligned crop, in order; `None` where a step is not needed.

    `shrink` (w, h); `crop` and `pad` (left, top, right, bottom) in pixels, after the steps before them; `quad` (4, 2)
    corners top-left, bottom-left, bottom-right, top-right as (x, y) in the final image; `qsize` its side there, pixels.
    """

    shrink: tuple[int, int] | None
    crop: tuple[int, int, int, int] | None
    pad: tuple[int, int, int, int] | None
    quad: np.ndarray
    qsize: float

    @property
    def transform(self) -> tuple[float, ...]:
        """The eight numbers of Pillow's QUAD transform; half a pixel moves from pixel centres to pixel corners."""
        return tuple((self.quad + 0.5).ravel().tolist())


def ffhq_quad(landmarks: Landmarks) -> Float[np.ndarray, " 4 2"]:
    """Corners of the FFHQ square in pixels (x, y): top-left, bottom-left, bottom-right, top-right of the upright face.

    `landmarks` are 68 points (iBUG order) or 5 points (two eyes, nose, two mouth corners, the image-left one first).
    Raises AlignError when the points are not finite or coincide.
    """
    eye_left, eye_right, mouth = _anchors(landmarks)
    eyes = (eye_left + eye_right) / 2
    eye_to_eye = eye_right - eye_left
    eye_to_mouth = mouth - eyes
    x = eye_to_eye - _turn(eye_to_mouth)
    length = float(np.hypot(*x))
    scale = max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth))
    if not np.isfinite(length) or length < 1e-6 or scale < 1e-6:
        raise AlignError("the landmarks do not describe a face: eyes and mouth coincide, or are not finite")
    x = x / length * scale
    y = _turn(x)
    centre = eyes + 0.1 * eye_to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def plan(quad: Float[np.ndarray, " 4 2"], image_size: tuple[int, int], *, size: int = 256) -> Plan:
    """What to do to an image of `image_size` (w, h) so that `quad` becomes an aligned crop of `size` px.

    Raises AlignError when the square lies outside the image.
    """
    w, h = image_size
    quad = quad.astype(np.float64)
    low, high = quad.min(axis=0), quad.max(axis=0)
    if (high <= 0).any() or low[0] >= w or low[1] >= h:
        raise AlignError("the face square lies outside the image")
    qsize = float(np.hypot(*(quad[3] - quad[0])))

    shrink = None
    factor = int(np.floor(qsize / size * 0.5))
    if factor > 1:
        shrink = (max(int(np.rint(w / factor)), 1), max(int(np.rint(h / factor)), 1))
        (w, h), quad, qsize = shrink, quad / factor, qsize / factor

    border = max(int(np.rint(qsize * 0.1)), 3)
    left, top = np.floor(quad.min(axis=0)).astype(int) - border
    right, bottom = np.ceil(quad.max(axis=0)).astype(int) + border
    kept = (max(int(left), 0), max(int(top), 0), min(int(right), w), min(int(bottom), h))
    crop = None
    if kept[2] - kept[0] < w or kept[3] - kept[1] < h:
        crop, quad = kept, quad - kept[:2]
        w, h = kept[2] - kept[0], kept[3] - kept[1]

    left, top = np.floor(quad.min(axis=0)).astype(int)
    right, bottom = np.ceil(quad.max(axis=0)).astype(int)
    overhang = np.array([-left + border, -top + border, right - w + border, bottom - h + border]).clip(min=0)
    pad = None
    if overhang.max() > border - 4:
        wide = np.maximum(overhang, max(int(np.rint(qsize * 0.3)), 1))
        pad = (int(wide[0]), int(wide[1]), int(wide[2]), int(wide[3]))
        quad = quad + pad[:2]
    return Plan(shrink, crop, pad, quad, qsize)


def align(image: Image.Image, landmarks: Landmarks, *, size: int = 256) -> Image.Image:
    """The aligned `size` x `size` crop of an RGB image, from its landmarks (5 or 68 points). Errors as `ffhq_quad`."""
    return align_quad(image, ffhq_quad(landmarks), size=size)


def align_quad(image: Image.Image, quad: Float[np.ndarray, " 4 2"], *, size: int = 256) -> Image.Image:
    """The crop of a square that is known, as `ffhq_quad` gives it. AlignError when it lies outside the image."""
    image = image.convert("RGB")
    steps = plan(quad, image.size, size=size)
    if steps.shrink is not None:
        image = image.resize(steps.shrink, Image.Resampling.LANCZOS)
    if steps.crop is not None:
        image = image.crop(steps.crop)
    if steps.pad is not None:
        image = _pad(image, steps.pad, steps.qsize)
    return image.transform((size, size), Image.Transform.QUAD, steps.transform, Image.Resampling.BILINEAR)


def _anchors(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image-left eye, image-right eye and mouth centre."""
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape == (68, 2):
        return points[36:42].mean(axis=0), points[42:48].mean(axis=0), (points[48] + points[54]) / 2
    if points.shape == (5, 2):
        return points[0], points[1], (points[3] + points[4]) / 2
    raise AlignError(f"expected landmarks of shape (68, 2) or (5, 2), got {points.shape}")


def _turn(v: np.ndarray) -> np.ndarray:
    """A quarter turn, clockwise on a screen (y down): (x, y) -> (-y, x)."""
    return np.array([-v[1], v[0]])


def _pad(image: Image.Image, pad: tuple[int, int, int, int], qsize: float) -> Image.Image:
    """Reflect the image outwards; towards the edge it fades into a blur, at the very edge into the median colour."""
    from scipy.ndimage import gaussian_filter

    left, top, right, bottom = pad
    pixels = np.pad(np.asarray(image, dtype=np.float32), ((top, bottom), (left, right), (0, 0)), mode="reflect")
    h, w = pixels.shape[:2]
    y, x = np.ogrid[:h, :w]
    mask = np.maximum(
        1 - np.minimum(np.float32(x) / left, np.float32(w - 1 - x) / right),
        1 - np.minimum(np.float32(y) / top, np.float32(h - 1 - y) / bottom),
    )[:, :, None]
    blurred = gaussian_filter(pixels, [qsize * 0.02, qsize * 0.02, 0])
    pixels += (blurred - pixels) * np.clip(3 * mask + 1, 0, 1)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(mask, 0, 1)
    return Image.fromarray(np.uint8(np.clip(np.rint(pixels), 0, 255)))
