"""Pictures that the lab shows without a model: what the renderer and the generator draw for the same factors, and label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pspnb.files.atomic import write_atomically
from pspnb.files.pictures import to_levels
from pspnb.nn.stylegan2 import Generator
from pspnb.world2.factors import BY_NAME, Factors
from pspnb.world2.render import RENDER_VERSION, render
from pspnb.world2.sampling import edit, sample_factors

SLIDERS: Final = (
    "yaw",
    "smile",
    "mouth_open",
    "light_azimuth",
    "skin_tone",
    "hair_colour",
    "hair_style",
    "glasses",
    "hat",
    "background_pattern",
)
"""Factors that the page "Teacher and student" moves, one at a time."""
N_STEPS: Final = 9
N_PEOPLE: Final = 3
N_QUIZ: Final = 24
N_MAPS: Final = 6
COLUMNS: Final = 12


def prepare(folder: Path, generator: Generator, *, key: str) -> dict[str, Any]:
    """Write the sheets (lossless WebP) into `folder`/frames unless they are there; returns what the pages need to know.

    A sheet holds tiles of the generator's size, `COLUMNS` a row, first all of the renderer's, then all of the generator's.
    """
    key = f"{key}-{RENDER_VERSION}"
    people = [sample_factors("test", [i]) for i in range(N_PEOPLE)]
    sweeps = [{"name": name, "values": _values(name)} for name in SLIDERS]
    rows = [[edit(person, **{str(s["name"]): v}) for s in sweeps for v in s["values"]] for person in people]
    quiz = [sample_factors("test", [100 + i]) for i in range(N_QUIZ)]
    sheets = {f"teacher-{i}": factors for i, factors in enumerate(rows)} | {"quiz": quiz}
    files = {name: f"frames/{name}-{key}.webp" for name in [*sheets, "labels"]}
    if not all((folder / file).is_file() for file in files.values()):
        for old in (folder / "frames").glob("*.webp"):
            old.unlink()
        for name, factors in sheets.items():
            _write(folder / files[name], _both(_stacked(factors), generator))
        _write(folder / files["labels"], _label_maps(generator.size))
    return {"columns": COLUMNS, "files": files, "sweeps": sweeps, "quiz": N_QUIZ, "maps": N_MAPS}


def _values(name: str) -> list[float] | list[int]:
    """The slider's stops: every choice, or `N_STEPS` from end to end."""
    factor = BY_NAME[name]
    if factor.kind == "categorical":
        return list(range(len(factor.names)))
    return [round(float(v), 4) for v in np.linspace(factor.low, factor.high, N_STEPS)]


def _stacked(rows: Sequence[Factors]) -> Factors:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


@torch.no_grad()
def _both(factors: Factors, generator: Generator) -> Float[Tensor, " b 3 s s"]:
    drawn = generator.synthesize(generator.map_factors(factors))
    return torch.cat([render(factors, generator.size).image, drawn])


def _label_maps(size: int) -> Float[Tensor, " b 3 s s"]:
    """Label maps of people to paint on: grey levels are class numbers."""
    people = sample_factors("test", [200 + i for i in range(N_MAPS)])
    people["yaw"] = people["yaw"] * 0.4  # both eyes in sight
    labels = render(people, size).labels[:, None].expand(-1, 3, -1, -1)
    return labels.float() / 127.5 - 1


def _write(path: Path, tiles: Float[Tensor, " b 3 s s"]) -> None:
    from PIL import Image

    sheet = Image.fromarray(_sheet(to_levels(tiles).permute(0, 2, 3, 1).numpy()))
    write_atomically(path, lambda stream: sheet.save(stream, format="WEBP", lossless=True, quality=100, method=4))


def _sheet(tiles: UInt8[np.ndarray, " b s s 3"]) -> UInt8[np.ndarray, " h w 3"]:
    """Tiles without gaps, `COLUMNS` a row; the last row is filled up with black."""
    n, s = tiles.shape[:2]
    rows = -(-n // COLUMNS)
    sheet = np.zeros((rows * s, COLUMNS * s, 3), np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // COLUMNS * s, i % COLUMNS * s
        sheet[top : top + s, left : left + s] = tile
    return sheet
