"""Pictures that the lab shows without a model: what the renderer and the generator draw for the same factors, and label maps."""

from __future__ import annotations

import hashlib
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
HERO_SLIDERS: Final = ("yaw", "hair_colour", "hair_style", "smile")
"""Factors that the landing page moves, and the people (of the test split) with whom it does."""
HERO_PEOPLE: Final = (9, 5, 7)
PLAIN: Final[dict[str, float | str]] = {
    "pitch": 0.0,
    "roll": 0.0,
    "mouth_open": 0.0,
    "eye_open": 0.8,
    "light_elevation": 30.0,
    "hat": "none",
}
N_STEPS: Final = 9
N_PEOPLE: Final = 3
N_QUIZ: Final = 24
N_MAPS: Final = 6
COLUMNS: Final = 12


def prepare(folder: Path, generator: Generator, *, key: str) -> dict[str, Any]:
    """Write the sheets (lossless WebP) into `folder`/frames unless they are there; returns what the pages need to know.

    A sheet holds tiles of the generator's size, `COLUMNS` a row, first all of the renderer's, then all of the generator's.
    """
    settings = repr((SLIDERS, HERO_SLIDERS, HERO_PEOPLE, N_STEPS, N_PEOPLE, N_QUIZ, N_MAPS))
    key = f"{key}-{RENDER_VERSION}-{hashlib.sha256(settings.encode()).hexdigest()[:6]}"
    people = [sample_factors("test", [i]) for i in range(N_PEOPLE)]
    sweeps = [{"name": name, "values": _values(name)} for name in SLIDERS]
    rows = [[edit(person, **{str(s["name"]): v}) for s in sweeps for v in s["values"]] for person in people]
    quiz = [sample_factors("test", [100 + i]) for i in range(N_QUIZ)]
    sheets = {f"teacher-{i}": factors for i, factors in enumerate(rows)} | {"quiz": quiz}
    hero, first = _hero()
    files = {name: f"frames/{name}-{key}.webp" for name in [*sheets, "labels", "hero", "codes"]}
    if not all((folder / file).is_file() for file in files.values()):
        for old in (folder / "frames").glob("*.webp"):
            old.unlink()
        for name, factors in sheets.items():
            _write(folder / files[name], _both(_stacked(factors), generator))
        _write(folder / files["labels"], _label_maps(generator.size))
        pictures, codes = _hero_frames(hero, first, generator)
        _write(folder / files["hero"], pictures)
        _write_picture(folder / files["codes"], codes)
    about = {"people": [as_plain(f, 0) for f in first], "sweeps": _hero_sweeps()}
    return {"columns": COLUMNS, "files": files, "sweeps": sweeps, "quiz": N_QUIZ, "maps": N_MAPS, "hero": about}


def as_plain(factors: Factors, row: int) -> dict[str, float | int]:
    """One row of factors as JSON numbers."""
    return {
        name: int(value[row]) if not value.is_floating_point() else float(f"{float(value[row]):.8g}")
        for name, value in factors.items()
    }


def _hero_sweeps() -> list[dict[str, Any]]:
    return [{"name": name, "values": _values(name)} for name in HERO_SLIDERS]


def _hero() -> tuple[list[Factors], list[Factors]]:
    """All frames of each person (every stop of every factor), and each person as such, in the middle of the numbers."""
    middle: dict[str, float] = {
        name: v[len(v) // 2] for name in HERO_SLIDERS if BY_NAME[name].kind == "continuous" for v in [_values(name)]
    }
    first = [edit(sample_factors("test", [i]), **{**PLAIN, **middle}) for i in HERO_PEOPLE]
    sweeps = _hero_sweeps()
    return [_stacked([edit(p, **{s["name"]: v}) for s in sweeps for v in s["values"]]) for p in first], first


@torch.no_grad()
def _hero_frames(
    frames: Sequence[Factors], people: Sequence[Factors], generator: Generator
) -> tuple[Float[Tensor, " n 3 s s"], UInt8[np.ndarray, " n d"]]:
    """Of each person the rendered portrait, then what the generator draws; and every frame's w as levels, 42 a unit."""
    pictures, codes = [], []
    for person, changed in zip(people, frames, strict=True):
        w = generator.map_factors(changed)
        pictures += [render(person, generator.size).image, generator.synthesize(w)]
        codes += [generator.map_factors(person), w]
    levels = (128 + 42 * torch.cat(codes)).round().clamp(0, 255)
    return torch.cat(pictures), levels.to(torch.uint8).numpy()


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
    _write_picture(path, _sheet(to_levels(tiles).permute(0, 2, 3, 1).numpy()))


def _write_picture(path: Path, levels: UInt8[np.ndarray, " h w *c"]) -> None:
    from PIL import Image

    picture = Image.fromarray(levels)
    write_atomically(path, lambda stream: picture.save(stream, format="WEBP", lossless=True, quality=100, method=4))


def _sheet(tiles: UInt8[np.ndarray, " b s s 3"]) -> UInt8[np.ndarray, " h w 3"]:
    """Tiles without gaps, `COLUMNS` a row; the last row is filled up with black."""
    n, s = tiles.shape[:2]
    rows = -(-n // COLUMNS)
    sheet = np.zeros((rows * s, COLUMNS * s, 3), np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // COLUMNS * s, i % COLUMNS * s
        sheet[top : top + s, left : left + s] = tile
    return sheet
