"""What `translate` reads: pictures, prepared as the model's task wants them, or latent codes from a file.

Chapter: "Using pspnb".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pspnb.editing.codes import checked, is_codes_file, read_codes
from pspnb.errors import ImageError, LoadError, PspnbError
from pspnb.files.folders import Job, plan_jobs
from pspnb.models.base import Translator
from pspnb.tasks import Task
from pspnb.transforms.eight_bit import Fit


class ImageReader:
    """Pictures, prepared as the task wants them."""

    def __init__(self, psp: Translator, source: str | os.PathLike, task: Task, fit: Fit | None):
        self.psp, self.source, self.task, self.fit = psp, source, task, fit

    def jobs(self, output: str | os.PathLike, endings: Sequence[str]) -> list[Job]:
        return plan_jobs(self.source, output, endings=endings)

    def read(self, job: Job) -> Float[Tensor, " c s s"]:
        picture = self.task.source.read(job.source)
        try:
            return self.task.prepare(picture, self.psp.input_size, fit=self.fit)
        except ValueError as error:
            raise ImageError(f"{job.source}: {error}") from error

    def codes(self, x: Float[Tensor, " b c s s"]) -> tuple[Float[Tensor, " b n d"], Float[Tensor, " b f g g"] | None]:
        return self.psp.read(x)


class CodesReader:
    """Codes from a file, to be drawn as they are."""

    def __init__(self, psp: Translator, source: str | os.PathLike):
        self.psp, self.path = psp, Path(source)
        self.tensors = read_codes(self.path)

    def jobs(self, output: str | os.PathLike, endings: Sequence[str]) -> list[Job]:
        names = sorted(self.tensors)
        if bad := [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts or not name]:
            raise LoadError(
                f"{self.path}: expected names of pictures, found {bad[0]!r}, which leaves the output folder"
            )
        outputs = [tuple(Path(output) / f"{name}{ending}" for ending in endings) for name in names]
        return [Job(self.path, name, paths) for name, paths in zip(names, outputs, strict=True)]

    def read(self, job: Job) -> Float[Tensor, " n d"]:
        return checked(self.tensors[job.name], self.psp, f"{self.path}: {job.name}")

    def codes(self, x: Float[Tensor, " b n d"]) -> tuple[Float[Tensor, " b n d"], None]:
        return x, None


def one_code(psp: Translator, path: str | os.PathLike, task: Task, fit: Fit | None) -> Float[Tensor, " n d"]:
    """The code of the picture, or in the file, that others are mixed with. PspnbError when it is not one."""
    if is_codes_file(path):
        codes = read_codes(path)
        if len(codes) != 1:
            raise PspnbError(f"{path}: expected one code to mix with, found {len(codes)}")
        return checked(next(iter(codes.values())), psp, str(path))
    if not Path(path).is_file():
        raise ImageError(f"{path}: expected a picture, or a file of one code, to mix with; no such file")
    reader = ImageReader(psp, path, task, fit)
    x = reader.read(Job(Path(path), "", ()))
    return reader.codes(x[None].to(psp.latent_avg.device))[0][0]
