"""FFHQ alignment: from a photograph to the square, upright, centred face that every face model here expects.

Source: the recipe of the FFHQ data set as the pSp scripts apply it: an oriented square from the eyes and the mouth,
then shrink, crop, pad (reflection that fades into blur and the median colour), and one bilinear resampling.
Chapter: "Bring your own photo".

Differences from the published script: any image mode and EXIF orientation are accepted (see `images`), a missing face
is an error that names the file, the largest face is taken where there are several (published: the last one found), and
the detector is YuNet, whose five points are enough for the recipe (published: dlib's 68).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from pspnb.errors import AlignError, ImageError
from pspnb.files.download import yunet_file
from pspnb.files.folders import Report, failed, plan_jobs
from pspnb.files.images import read_image, write_image
from pspnb.files.progress import progress_bar

Landmarks = Float[np.ndarray, " p 2"] | Int[np.ndarray, " p 2"]

# YuNet is trained on faces of roughly 10 to 300 px; photographs are tried at these long sides, in this order.
DETECTION_SIDES = (640, 1280, 320)
NO_FACE = "no face found; expected a photograph with a visible face, or landmarks"
_QUARTER_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
# By how much one way up must score above every other (see `upright_face`).
CERTAIN = 0.02
# Side of a result, far above what any face model reads: a slip of the finger is refused instead of filling the memory.
MAX_SIZE = 8192
# Below 0.7 textures start to count as faces; an aligned portrait scores above 0.9.
MIN_SCORE = 0.7


@dataclass(frozen=True)
class Face:
    """One detection, in pixels of the image it was found in.

    `landmarks` are image-left eye, image-right eye, nose tip, image-left and image-right mouth corner, as (x, y);
    `box` is (left, top, width, height); `score` is in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def area(self) -> float:
        return max(self.box[2], 0.0) * max(self.box[3], 0.0)


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


def align_file(
    path: str | os.PathLike, *, detector: FaceDetector, size: int = 256, upright: bool = False
) -> Image.Image:
    """Read a photograph, find its largest face and align it. Raises ImageError or AlignError, naming the file.

    `upright`: the photograph is known to stand the right way up, so no other way is tried (see `upright_face`).
    """
    image = read_image(path)
    try:
        image, face = (image, detector.largest(image)) if upright else upright_face(image, detector)
        return align(image, face.landmarks, size=size)
    except AlignError as error:
        raise AlignError(f"{path}: {error}") from error


def upright_face(image: Image.Image, detector: FaceDetector) -> tuple[Image.Image, Face]:
    """The image turned by quarters so that its largest face stands upright, and that face.

    The detector takes eyes to be above the mouth: of a photograph upside down it makes a face upside down, with a lower
    score (.72-.90 on 24 portraits, against .93-.96 upright). So all four ways up are tried and the best is taken.
    Raises AlignError where there is no face, or where another way up is about as good.
    """
    ways = [image, *(image.transpose(turn) for turn in _QUARTER_TURNS)]
    found = [(faces[0], way) for way in ways if (faces := detector.detect(way))]
    if not found:
        raise AlignError(NO_FACE)
    (best, turned), *others = sorted(found, key=lambda pair: pair[0].score, reverse=True)
    if others and best.score - others[0][0].score < CERTAIN:
        raise AlignError(
            f"cannot tell which way up the photograph is (scores {best.score:.2f} and {others[0][0].score:.2f}); "
            "expected an upright one: turn it, and say that it is upright (--upright)"
        )
    return turned, best


class FaceDetector:
    """YuNet through OpenCV: boxes and five landmarks of every face in a picture.

    `model` is the path of the 0.3 MB ONNX file; without it `$PSPNB_YUNET` is used, else the verified copy in the user's
    cache, which is downloaded once (see `download.yunet_file`).
    """

    def __init__(self, model: str | os.PathLike | None = None, *, min_score: float = MIN_SCORE):
        import cv2

        path = yunet_file(model)
        logging = cv2.utils.logging
        level = logging.getLogLevel()
        try:
            logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # OpenCV 5 warns of a setting that nobody made
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), min_score, 0.3, 50)
        except cv2.error as error:
            raise AlignError(f"{path}: not the YuNet detector file (expected yunet_n_dynamic.onnx)") from error
        finally:
            logging.setLogLevel(level)

    def detect(self, image: Image.Image) -> list[Face]:
        """Faces in an RGB image, the largest first; an empty list when there is none."""
        longest = max(image.size)
        for side in DETECTION_SIDES:
            faces = self._detect_at(image, side / longest if longest > side else 1.0)
            if faces or longest <= min(DETECTION_SIDES):
                return sorted(faces, key=lambda face: (face.area, face.score), reverse=True)
        return []

    def largest(self, image: Image.Image) -> Face:
        """The face with the largest box. Raises AlignError when there is none."""
        faces = self.detect(image)
        if not faces:
            raise AlignError(NO_FACE)
        return faces[0]

    def _detect_at(self, image: Image.Image, scale: float) -> list[Face]:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR) if scale != 1 else image.convert("RGB")
        self._net.setInputSize(size)
        _, rows = self._net.detect(np.ascontiguousarray(np.asarray(resized)[:, :, ::-1]))  # OpenCV wants BGR
        rows = np.zeros((0, 15)) if rows is None else rows.astype(np.float64)
        back = np.array([image.width / size[0], image.height / size[1]])
        return [
            Face(
                box=(*(row[0:2] * back).tolist(), *(row[2:4] * back).tolist()),
                landmarks=row[4:14].reshape(5, 2) * back,
                score=float(row[14]),
            )
            for row in rows
        ]


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


def align_folder(
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    size: int = 256,
    detector: str | os.PathLike | None = None,
    upright: bool = False,
    image_format: str = "png",
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Align an image or every image below a folder into `output`; what fails is listed and the rest goes on.

    Raises the error itself when there is only one input. `detector`: see `FaceDetector`; `upright`: see `align_file`.
    """
    if not 16 <= size <= MAX_SIZE:
        raise AlignError(f"expected a size from 16 to {MAX_SIZE} px, got {size}")
    jobs = plan_jobs(source, output, endings=[f".{image_format}"])
    todo = [job for job in jobs if overwrite or not job.done]
    report = Report(kept=len(jobs) - len(todo))
    if not todo:
        return report
    net = FaceDetector(detector)
    for job in progress_bar(todo, unit="image", wanted=progress):
        try:
            write_image(align_file(job.source, detector=net, size=size, upright=upright), job.outputs[0])
        except (ImageError, AlignError) as error:
            failed(report, error, only=len(jobs) == 1)
            continue
        report.written += 1
    return report
