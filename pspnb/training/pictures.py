"""Folders of pictures as arrays: decoded once at the size of training, paired by name, broken files named and left out.

Decoding and shrinking a 1024 px PNG takes 20 ms, far more than a training step of a small network; the cache is made of
8-bit rows that are mapped into memory. It lies in the user's cache folder, is complete or absent (built aside and
renamed), and is made anew when a file is added, removed or changed.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pspnb import transforms
from pspnb.errors import ImageError, PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.cache import cache_folder
from pspnb.files.folders import find_images
from pspnb.files.images import read_grey, read_image
from pspnb.files.label_maps import read_labels
from pspnb.files.progress import progress_bar
from pspnb.files.reading import read_json
from pspnb.tasks import Task
from pspnb.training.data import PairArrays
from pspnb.transforms.eight_bit import is_square

log = logging.getLogger(__name__)

_SHOWN = 5  # offenders named in a message


def folder_arrays(
    folder: str | Path,
    size: int,
    *,
    strict: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
) -> PairArrays:
    """Every picture below a folder, for tasks whose source is computed from the image.

    Any still picture will do (16-bit, grey, RGBA and palette become 8-bit RGB); its aspect ratio is given up with a warning,
    so align or crop first. Files that can't be read are left out with one line in the log, or raise ImageError if `strict`.
    """
    rows = [(path,) for path in find_images(folder)]
    (images,) = _arrays(rows, ("image",), size, 0, strict=strict, cache=cache, progress=progress)
    return PairArrays(images)


def paired_arrays(
    sources: str | Path,
    targets: str | Path,
    size: int,
    *,
    task: Task,
    strict: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
) -> PairArrays:
    """Source and target pictures of two folders, paired by name (sub-folder and stem; extensions may differ).

    Sources are label maps, sketches or photos, as the task reads them. PspnbError if a name is missing on one side or
    occurs twice on one side: the published code pairs by position in the sorted lists, and so trains on wrong pairs
    from the first missing file on. A pair of which one picture can't be read is left out as in `folder_arrays`.
    """
    left, right = _by_name(Path(sources)), _by_name(Path(targets))
    lonely = [f"{name} (no target)" for name in left if name not in right]
    lonely += [f"{name} (no source)" for name in right if name not in left]
    if lonely:
        raise PspnbError(
            f"expected the same names in {sources} and {targets}, {len(lonely)} have no partner: {_some(lonely)}"
        )
    rows = [(left[name], right[name]) for name in sorted(left)]
    kinds = (task.source.stored, "image")
    given, images = _arrays(rows, kinds, size, task.source.n_classes, strict=strict, cache=cache, progress=progress)
    return PairArrays(images, given)


def _by_name(folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    twice = []
    for path in find_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in named:
            twice.append(name)
        named[name] = path
    if twice:
        raise PspnbError(f"{folder}: expected one picture for each name, {len(twice)} have several: {_some(twice)}")
    return named


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _arrays(
    rows: Sequence[tuple[Path, ...]],
    kinds: tuple[str, ...],
    size: int,
    n_classes: int,
    *,
    strict: bool,
    cache: str | Path | None,
    progress: bool,
) -> list[Tensor]:
    """One uint8 tensor per kind, from the cache or made anew. A row of which a file can't be read is in none."""
    folder = (Path(cache) if cache is not None else cache_folder()) / "pictures" / _key(rows, kinds, size, n_classes)
    read = _read(folder, len(rows), len(kinds))
    if read is None:
        shutil.rmtree(folder, ignore_errors=True)
        _build(folder, rows, kinds, size, n_classes, progress=progress)
        read = _read(folder, len(rows), len(kinds))
        assert read is not None, "expected a cache that was just written"
    broken, stretched, arrays = read
    if broken and strict:
        raise ImageError(broken[0])
    if len(broken) == len(rows):
        raise ImageError(f"none of the {len(rows)} pictures can be read; the first: {broken[0]}")
    if broken:
        log.warning("left out %d of %d pictures that can't be read: %s", len(broken), len(rows), _some(broken))
    if stretched:
        log.warning(
            "%d of %d pictures are not square and are stretched: align or crop them first", stretched, len(rows)
        )
    kept = len(rows) - len(broken)
    return [torch.from_numpy(array[:kept]) for array in arrays]


def _read(folder: Path, n_rows: int, n_kinds: int) -> tuple[list[str], int, list[np.ndarray]] | None:
    """Messages of the broken files, how many rows hold a picture that was stretched, and the arrays of a cache; None where it
    is missing or damaged."""
    try:
        meta = read_json(folder / "meta.json")
        broken, stretched = list(meta["broken"]), int(meta["stretched"])
        arrays = [np.load(folder / f"{i}.npy", mmap_mode="c") for i in range(n_kinds)]
    except (PspnbError, OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return (broken, stretched, arrays) if all(len(array) == n_rows for array in arrays) else None


def _key(rows: Iterable[tuple[Path, ...]], kinds: tuple[str, ...], size: int, n_classes: int) -> str:
    """Name of the cache: what was read (path, length and time of each file) and how."""
    digest = hashlib.sha256(repr((kinds, size, n_classes)).encode())
    for path in (path for row in rows for path in row):
        about = path.stat()
        digest.update(f"{path.resolve()}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _build(
    folder: Path, rows: Sequence[tuple[Path, ...]], kinds: tuple[str, ...], size: int, n_classes: int, *, progress: bool
) -> None:
    shapes = {"image": (3, size, size), "sketch": (1, size, size), "labels": (size, size)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise PspnbError(f"{folder.parent}: expected a cache folder that can be written ({error.strerror})") from error

    stretched: list[tuple[Path, ...]] = []

    def read(row: tuple[Path, ...]) -> list[np.ndarray] | str:
        try:
            pictures = [_opened(path, kind, n_classes) for path, kind in zip(row, kinds, strict=True)]
        except ImageError as error:
            return str(error)
        if not all(is_square(picture) for picture in pictures):
            stretched.append(row)
        return [_resized(picture, kind, size) for picture, kind in zip(pictures, kinds, strict=True)]

    try:
        arrays = [
            np.lib.format.open_memmap(aside / f"{i}.npy", mode="w+", dtype=np.uint8, shape=(len(rows), *shapes[kind]))
            for i, kind in enumerate(kinds)
        ]
        kept, broken = 0, []
        # The outer catch_warnings undoes what threads leave behind: the inner ones of the reader aren't thread-safe.
        with warnings.catch_warnings(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as readers:
            for result in progress_bar(
                readers.map(read, rows), total=len(rows), desc="reading pictures", wanted=progress
            ):
                if isinstance(result, str):
                    broken.append(result)
                    continue
                for array, picture in zip(arrays, result, strict=True):
                    array[kept] = picture
                kept += 1
        for array in arrays:
            array.flush()
        write_json(aside / "meta.json", {"broken": broken, "stretched": len(stretched)}, indent=None)
        with contextlib.suppress(OSError):  # another process was faster: its folder is as good
            os.replace(aside, folder)
    except OSError as error:
        raise PspnbError(f"could not write the picture cache {folder} ({error.strerror}); is the disk full?") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _opened(path: Path, kind: str, n_classes: int) -> np.ndarray:
    if kind == "labels":
        return np.asarray(read_labels(path, n_classes=n_classes))
    return np.asarray(read_grey(path) if kind == "sketch" else read_image(path))


def _resized(picture: np.ndarray, kind: str, size: int) -> np.ndarray:
    if kind == "labels":
        return transforms.resize_picture(picture, size, interpolation="nearest")
    resized = transforms.resize_picture(picture, size)
    return resized[None] if kind == "sketch" else resized.transpose(2, 0, 1)
