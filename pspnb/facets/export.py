"""Facets as plain files, for use without this library: PNG images, PNG label maps (class ids), a table of factors."""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from pspnb.facets.classes import CLASSES, HELEN_FROM_CELEBA
from pspnb.facets.factors import TABLE
from pspnb.facets.render import RENDER_VERSION, render
from pspnb.facets.sampling import SPLIT_SIZES, edit, global_identity, sample_factors

_BLOCK = 64
_LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def export(
    output: str | Path, *, n: int, size: int, seed: int = 0, split: str | None = None,
    changes: Mapping[str, float | int | str] | None = None, overwrite: bool = False, progress: bool = True,
) -> Path:  # fmt: skip
    """Writes `images/000000.png`, `labels/000000.png` (8-bit class ids), `factors.csv` and `about.json` to a new folder.

    The first `n` images of `split`, or of the world of `seed` when no split is named. `changes` sets factors of all of them,
    as `edit` does: {"yaw": 0.0, "hat": "none"}. The folder appears when it is complete. Raises ValueError when it exists (unless
    `overwrite`), when the split has fewer images, or for a change that no factor allows.
    """
    output, changes = Path(output), dict(changes or {})
    edit(sample_factors(seed, 1), **changes)
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    if split is not None and split not in SPLIT_SIZES:
        raise ValueError(f"expected a split of {', '.join(SPLIT_SIZES)}, got {split!r}")
    if split is not None and n > SPLIT_SIZES[split]:
        raise ValueError(f"expected n of at most {SPLIT_SIZES[split]} for the {split} split, got {n}")
    if output.exists() and not overwrite and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"expected a new or empty folder, but {output} exists; pass overwrite=True to replace it")
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        _write(aside, n, size, split if split is not None else seed, changes, progress)
        if output.is_dir():
            shutil.rmtree(output)
        elif output.exists():
            output.unlink()
        os.chmod(aside, 0o755)
        os.replace(aside, output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return output


def _write(
    folder: Path, n: int, size: int, source: str | int, changes: dict[str, float | int | str], progress: bool
) -> None:
    from PIL import Image

    for name in ("images", "labels"):
        (folder / name).mkdir()
    header = ["file", "identity", *(f.name for f in TABLE), *(f"{m}_{a}" for m in _LANDMARKS for a in "xy")]
    with (
        open(folder / "factors.csv", "w", newline="") as file,
        tqdm(total=n, unit="image", disable=not progress) as bar,
    ):
        table = csv.writer(file)
        table.writerow(header)
        for start in range(0, n, _BLOCK):
            rows = range(start, min(start + _BLOCK, n))
            factors = edit(sample_factors(source, rows), **changes)
            people = global_identity(source, rows).tolist()
            out = render(factors, size)
            images = ((out.image + 1.0) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
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
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def _cell(kind: str, names: tuple[str, ...], value: float | int) -> str:
    if kind == "categorical":
        return names[int(value)]
    return f"{value:.6g}"
