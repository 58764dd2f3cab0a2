"""One image or a whole folder in, a folder out: which file becomes which, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pspnb.errors import PspnbError
from pspnb.files.images import find_images, output_names

FORMATS = ("png", "jpg", "webp")


@dataclass(frozen=True)
class Job:
    """One input, its name without extension relative to the output folder, and the files it will become."""

    source: Path
    name: str
    outputs: tuple[Path, ...]

    @property
    def done(self) -> bool:
        return all(os.path.exists(path) for path in self.outputs)  # False for a name that is too long


@dataclass
class Report:
    """What came of a run: numbers of inputs, and one line for each that failed."""

    written: int = 0
    kept: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.written} written"]
        if self.kept:
            parts.append(f"{self.kept} kept (they exist; --overwrite replaces them)")
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        return ", ".join(parts)


def plan_jobs(source: str | os.PathLike, output: str | os.PathLike, *, endings: Sequence[str]) -> list[Job]:
    """One job for every image of `source`; an output is the input's name plus one of `endings` ("_sample0.png").

    Sub-folders are mirrored and names cannot collide (see `images.output_names`). Raises ImageError when there is nothing
    to read, and PspnbError when `output` is a file or the input folder, or when an output would replace an input.
    """
    for path, what in ((source, "input"), (output, "output folder")):
        if os.fspath(path) == "":
            raise PspnbError(f"expected an {what}, got an empty path")
    source, output = Path(source), Path(output)
    if output.exists() and not output.is_dir():
        raise PspnbError(f"{output}: expected a folder for the results, this is a file")
    if source.is_dir() and output.exists() and source.samefile(output):
        raise PspnbError(f"{output}: expected another folder for the results than the one of the inputs")
    inputs = find_images(source, exclude=output)
    jobs = [
        Job(path, name.as_posix(), tuple(output / f"{name}{ending}" for ending in endings))
        for path, name in zip(inputs, output_names(inputs, source), strict=True)
    ]
    originals = {path.resolve() for path in inputs}
    for job in jobs:
        if clash := [path for path in job.outputs if path.resolve() in originals]:
            raise PspnbError(f"{clash[0]}: would replace an input; choose another --output folder")
    return jobs


def failed(report: Report, error: PspnbError, *, only: bool) -> None:
    """Add a failure to the report; raise it instead if this was the only input."""
    if only:
        raise error
    report.failures.append(str(error))
