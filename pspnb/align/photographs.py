"""Photographs in, aligned faces out: one file, or a folder as `pspnb align` does it."""

from __future__ import annotations

import os

from PIL import Image

from pspnb.align.crop import align
from pspnb.align.faces import FaceDetector, upright_face
from pspnb.errors import AlignError, ImageError
from pspnb.files.folders import Report, failed, plan_jobs
from pspnb.files.images import read_image, write_image
from pspnb.files.progress import progress_bar

# Side of a result, far above what any face model reads: a slip of the finger is refused instead of filling the memory.
MAX_SIZE = 8192


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
