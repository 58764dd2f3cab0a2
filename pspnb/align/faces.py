"""Faces in a photograph, by YuNet (OpenCV): where they are, and which way up it stands."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pspnb.errors import AlignError
from pspnb.files.download import yunet_file

# YuNet is trained on faces of roughly 10 to 300 px; photographs are tried at these long sides, in this order.
DETECTION_SIDES = (640, 1280, 320)
NO_FACE = "no face found; expected a photograph with a visible face, or landmarks"
_QUARTER_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
# By how much one way up must score above every other (see `upright_face`).
CERTAIN = 0.02
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
