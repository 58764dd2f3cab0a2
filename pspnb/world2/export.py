"""Facets as plain files, for use without this library: PNG images, PNG label maps (class ids), a table of factors."""

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pspnb.checks import at_least, between, seed_in_range
from pspnb.classes import CLASSES, HELEN_FROM_CELEBA
from pspnb.errors import PspnbError
from pspnb.files.atomic import new_folder, write_json
from pspnb.files.pictures import to_levels
from pspnb.files.progress import progress_bar
from pspnb.files.reading import read_json
from pspnb.world2.factors import TABLE
from pspnb.world2.render import RENDER_VERSION, render
from pspnb.world2.sampling import SPLIT_SIZES, edit, global_identity, sample_factors

_BLOCK = 64
# Everything that an export consists of.
_OURS = re.compile(r"about\.json|factors\.csv|images|labels|(images|labels)/\d{6,}\.png")
_LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def export(
    output: str | Path,
    *,
    n: int,
    size: int,
    seed: int = 0,
    split: str | None = None,
    changes: Mapping[str, float | int | str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Writes `images/000000.png`, `labels/000000.png` (8-bit class ids), `factors.csv` and `about.json` to a new folder.

    The first `n` images of `split`, or of the world of `seed` when no split is named. `changes` sets factors of all of them,
    as `edit` does: {"yaw": 0.0, "hat": "none"}. The folder appears when it is complete. `overwrite` replaces a folder that this
    function wrote, as long as nothing else lies in it. Raises PspnbError for any other folder that isn't empty, for files,
    for the current folder and its parents, when the split has fewer images, or for a change that no factor allows.
    """
    changes = dict(changes or {})
    edit(sample_factors(seed, 1), **changes)
    at_least(1, n=n)
    between(16, 1024, size=size)
    seed_in_range(seed)
    if split is not None and split not in SPLIT_SIZES:
        raise PspnbError(f"expected a split of {', '.join(SPLIT_SIZES)}, got {split!r}")
    if split is not None and n > SPLIT_SIZES[split]:
        raise PspnbError(f"expected n of at most {SPLIT_SIZES[split]} for the {split} split, got {n}")
    target = _free(output, overwrite=overwrite)
    with new_folder(target) as aside:
        _write(aside, n, size, split if split is not None else seed, changes, progress)
    return Path(output)


def _free(output: str | Path, *, overwrite: bool) -> Path:
    """The folder to write, links followed. PspnbError where writing it would destroy anything but an export of Facets."""
    if os.fspath(output) == "":
        raise PspnbError("expected a new or empty folder, got an empty path")
    target, here = Path(output).resolve(), Path.cwd()
    if target == here or target in here.parents:
        raise PspnbError(f"{output}: expected a folder of its own, this is the current folder or a parent of it")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return target
    if not target.is_dir():
        raise PspnbError(f"{output}: expected a new or empty folder, this is a file; it is never replaced")
    if not overwrite:
        raise PspnbError(
            f"{output}: exists; expected a new or empty folder, or --overwrite to replace an earlier export"
        )
    if stranger := _stranger(target):
        raise PspnbError(
            f"{output}: --overwrite replaces only a folder that `pspnb facets` wrote, and this one holds {stranger}; "
            "choose another folder"
        )
    return target


def _stranger(folder: Path) -> str | None:
    """Something below the folder that `_write` did not write, or None when it is an export of Facets and nothing else."""
    try:
        about = read_json(folder / "about.json")
    except PspnbError:
        about = {}
    if not {"renderer", "source", "classes", "factors"} <= set(about):
        return "no about.json of an export"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not _OURS.fullmatch(name):
            return name
    return None


def _write(
    folder: Path, n: int, size: int, source: str | int, changes: dict[str, float | int | str], progress: bool
) -> None:
    from PIL import Image

    for name in ("images", "labels"):
        (folder / name).mkdir()
    header = ["file", "identity", *(f.name for f in TABLE), *(f"{m}_{a}" for m in _LANDMARKS for a in "xy")]
    with (
        open(folder / "factors.csv", "w", newline="") as file,
        progress_bar(total=n, unit="image", wanted=progress) as bar,
    ):
        table = csv.writer(file)
        table.writerow(header)
        for start in range(0, n, _BLOCK):
            rows = range(start, min(start + _BLOCK, n))
            factors = edit(sample_factors(source, rows), **changes)
            people = global_identity(source, rows).tolist()
            out = render(factors, size)
            images = to_levels(out.image).permute(0, 2, 3, 1).numpy()
            labels = out.labels.numpy()
            for k, i in enumerate(rows):
                name = f"{i:06d}.png"
                Image.fromarray(np.ascontiguousarray(images[k])).save(folder / "images" / name)
                Image.fromarray(np.ascontiguousarray(labels[k])).save(folder / "labels" / name)
                values = [_cell(f.kind, f.names, factors[f.name][k].item()) for f in TABLE]
                marks = [f"{v:.3f}" for v in out.landmarks[k].flatten().tolist()]
                table.writerow([name, people[k], *values, *marks])
            bar.update(len(rows))
    about = {
        "renderer": RENDER_VERSION, "source": source, "n": n, "size": size, "set": changes, "classes": list(CLASSES),
        "helen_from_celeba": list(HELEN_FROM_CELEBA),
        "factors": {f.name: {"group": f.group, "kind": f.kind, "low": f.low, "high": f.high, "unit": f.unit} for f in TABLE},
    }  # fmt: skip
    write_json(folder / "about.json", about)


def _cell(kind: str, names: tuple[str, ...], value: float | int) -> str:
    if kind == "categorical":
        return names[int(value)]
    return f"{value:.6g}"
