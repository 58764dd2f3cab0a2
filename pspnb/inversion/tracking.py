"""One face through a video: where its FFHQ square lies in every frame, cut out steadily, and pasted back. Chapter: "Video".

Landmarks of single frames tremble by a pixel or two, and a code follows every tremble. So the squares are smoothed over time with
a Gaussian, within one shot; at a cut they jump.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from pspnb.align import FaceDetector, ffhq_quad
from pspnb.errors import AlignError
from pspnb.files.video import Frame

Quad = Float[np.ndarray, " 4 2"]
"""Corners (x, y) in pixels: top-left, bottom-left, bottom-right, top-right; see `pspnb.align.ffhq_quad`."""
SMOOTHING = 0.08
"""Standard deviation of the Gaussian in seconds: two frames at 25 frames a second."""
MAX_GAP = Fraction(1, 2)
"""Seconds without a detection over which the square is guessed, straight from the one before to the one behind."""
CUT = 0.18
"""Mean difference of two thumbnails, of the range from black to white, from which on they are two shots."""
FEATHER = 0.15
"""Share of the square's side over which the pasted face fades into the frame."""


@dataclass(frozen=True)
class Track:
    """A square for every frame, None where no face is known, and whether a shot begins there."""

    quads: list[Quad | None]
    starts: list[bool]


def track(
    frames: Iterable[Frame], find: Callable[[Image.Image], Quad | None], *, smoothing: int | float = SMOOTHING
) -> Track:
    """Go through all frames once. `find`: the square in a picture, such as `largest_square`; `smoothing` in seconds, 0 for none."""
    quads: list[Quad | None] = []
    times: list[Fraction] = []
    starts: list[bool] = []
    before = None
    for frame in frames:
        now = thumbnail(frame.pixels)
        starts.append(before is None or is_cut(before, now))
        quads.append(find(Image.fromarray(frame.pixels)))
        times.append(frame.time)
        before = now
    edges = [i for i, start in enumerate(starts) if start] + [len(starts)]
    smooth: list[Quad | None] = []
    for a, b in zip(edges, edges[1:], strict=False):
        smooth += smoothed(quads[a:b], times[a:b], smoothing)
    return Track(smooth, starts)


def largest_square(detector: FaceDetector) -> Callable[[Image.Image], Quad | None]:
    """The FFHQ square of the largest face of a picture, None where there is none."""

    def find(image: Image.Image) -> Quad | None:
        try:
            return ffhq_quad(detector.largest(image).landmarks)
        except AlignError:
            return None

    return find


def thumbnail(pixels: UInt8[np.ndarray, " h w 3"]) -> Float[np.ndarray, " t t 3"]:
    """16 x 16 pixels in [0, 1]."""
    return np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX), dtype=np.float64) / 255


def is_cut(before: Float[np.ndarray, " t t 3"], after: Float[np.ndarray, " t t 3"]) -> bool:
    """Whether two thumbnails are of different shots."""
    return float(np.abs(before - after).mean()) > CUT


def smoothed(quads: Sequence[Quad | None], times: Sequence[Fraction], sigma: int | float) -> list[Quad | None]:
    """Squares of one shot: short gaps filled, then centres and sides averaged with Gaussian weights of the seconds between.

    What comes out is square again: the average of an edge is one vector, and the other edge its quarter turn.
    """
    filled = _filled(quads, times)
    known = [i for i, quad in enumerate(filled) if quad is not None]
    if sigma <= 0 or not known:
        return filled
    t = np.array([float(times[i]) for i in known])
    values = np.stack([_parameters(filled[i]) for i in known])  # type: ignore[arg-type]
    weights = np.exp(-0.5 * ((t[:, None] - t) / sigma) ** 2)
    means = (weights / weights.sum(axis=1, keepdims=True)) @ values
    for i, mean in zip(known, means, strict=True):
        filled[i] = _quad(mean)
    return filled


def _filled(quads: Sequence[Quad | None], times: Sequence[Fraction]) -> list[Quad | None]:
    out = list(quads)
    known = [i for i, quad in enumerate(quads) if quad is not None]
    for a, b in zip(known, known[1:], strict=False):
        if b - a > 1 and times[b] - times[a] <= MAX_GAP:
            first, last = _parameters(quads[a]), _parameters(quads[b])  # type: ignore[arg-type]
            for i in range(a + 1, b):
                share = float((times[i] - times[a]) / (times[b] - times[a]))
                out[i] = _quad((1 - share) * first + share * last)
    return out


def _parameters(quad: Quad) -> Float[np.ndarray, " k"]:
    """Centre and the vector from the top-left to the top-right corner."""
    return np.concatenate([quad.mean(axis=0), quad[3] - quad[0]])


def _quad(parameters: Float[np.ndarray, " k"]) -> Quad:
    centre, x = parameters[:2], parameters[2:] / 2
    y = np.array([-x[1], x[0]])
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


# ---- back into the frame --------------------------------------------------------------------------------------------


def paste_back(
    frame: UInt8[np.ndarray, " h w 3"], face: UInt8[np.ndarray, " s s 3"], quad: Quad, *, feather: float = FEATHER
) -> UInt8[np.ndarray, " h w 3"]:
    """The frame with an aligned face put where its square lies, by the inverse of the alignment, fading out at the border."""
    import cv2

    side = float(np.hypot(*(quad[3] - quad[0])))
    if side < len(face):  # averaging before a reduction, or thin lines would flicker
        s = max(2, round(side))
        face = cv2.resize(face, (s, s), interpolation=cv2.INTER_AREA)
    s = len(face)
    ex, ey = (quad[3] - quad[0]) / s, (quad[1] - quad[0]) / s
    matrix = np.column_stack([ex, ey, quad[0] + (ex + ey) / 2])
    size = (frame.shape[1], frame.shape[0])
    warped = cv2.warpAffine(
        face.astype(np.float32),
        matrix,
        size,
        flags=cv2.INTER_CUBIC if side > s else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mask = cv2.warpAffine(soft_square(s, feather), matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    mixed = frame + mask * (warped - frame)
    return np.where(mask > 0, np.clip(np.rint(mixed), 0, 255), frame).astype(np.uint8)


def soft_square(size: int, feather: float) -> Float[np.ndarray, " s s"]:
    """1 in the middle, 0 at the border, a smooth cubic over the share `feather` of the side between (float32)."""
    place = (np.arange(size) + 0.5) / size
    t = np.clip(np.minimum(place, 1 - place) / max(feather, 1e-6), 0, 1)
    row = t * t * (3 - 2 * t)
    return (row[:, None] * row).astype(np.float32)


def inside(quad: Quad | None, size: tuple[int, int]) -> bool:
    """Whether any of a square lies within a frame of `size` (w, h)."""
    if quad is None:
        return False
    low, high = quad.min(axis=0), quad.max(axis=0)
    seen: Bool[np.ndarray, " two"] = (high > 0) & (low < np.array(size))
    return bool(seen.all())
