"""One image or a whole folder in, a folder out: which file becomes which, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pspnb.errors import ImageError, PspnbError

FORMATS = ("png", "jpg", "webp")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
# Other names that pictures have. Such files are tried as well: what can't be read is named, and not passed over.
_ALSO_PICTURES = (
    ".jpe", ".jfif", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".pgm", ".pbm", ".pnm", ".dib", ".tga", ".psd", ".eps",
    ".svg", ".ico", ".jxl", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
)  # fmt: skip
_NAMED_LIKE_PICTURES = (*EXTENSIONS, *_ALSO_PICTURES)


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


def plan_jobs(source: str | os.PathLike, output: str | os.PathLike, *, endings: Sequence[str]) -> list[Job]:
    """One job for every image of `source`; an output is the input's name plus one of `endings` ("_sample0.png").

    Sub-folders are mirrored and names cannot collide (see `output_names`). Raises ImageError when there is nothing
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
