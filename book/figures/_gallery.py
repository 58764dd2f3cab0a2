"""Pictures by the shipped models for the landing page: what can be done today, drawn anew when a model changes.

A row is shown when the models that it needs are shipped. **A task that is trained later adds its row to `ROWS`** (draw to
face, label map to face, zoom in, turn to the front, complete), and the page shows it from that day on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import pspnb
from pspnb.files.atomic import write_atomically
from pspnb.files.pictures import to_levels
from pspnb.models.zoo import ZOO
from pspnb.world2.render import RENDER_VERSION, render
from pspnb.world2.sampling import edit, sample_factors

GENERATED = Path(__file__).parent / "generated"
SIDE, GAP = 208, 10  # pixels of a tile and between two
ACROSS = 3
PLAIN = {"pitch": 0.0, "roll": 0.0, "mouth_open": 0.0, "eye_open": 0.8, "light_elevation": 30.0, "hat": "none"}


@dataclass(frozen=True)
class Row:
    """A card of the gallery: `draw` gives its tiles (3, s, s) in [-1, 1], three a row."""

    name: str
    title: str
    text: str
    alt: str
    needs: tuple[str, ...]
    draw: Callable[[], list[Tensor]]


def person(index: int, **changes):
    return edit(sample_factors("test", [index]), **{**PLAIN, "yaw": 0.0, **changes})


def draw_edits() -> list[Tensor]:
    generator = pspnb.load("world2/generator")
    changes = [
        {},
        {"yaw": -35.0},
        {"yaw": 35.0},
        {"hair_colour": "copper"},
        {"glasses": "round"},
        {"hair_style": "curly"},
    ]
    return [generator.synthesize(generator.map_factors(person(9, **change)))[0] for change in changes]


def draw_mixing() -> list[Tensor]:
    """From one person to another, style group by style group: the first k styles of the second."""
    generator = pspnb.load("world2/generator")
    a, b = (generator.to_w_plus(generator.map_factors(person(i, yaw=yaw))) for i, yaw in ((4, -25.0), (7, 25.0)))
    tiles = []
    for first in (0, 2, 3, 4, 6, 10):
        codes = a.clone()
        codes[:, :first] = b[:, :first]
        tiles.append(generator.synthesize(codes)[0])
    return tiles


def draw_teacher() -> list[Tensor]:
    generator = pspnb.load("world2/generator")
    people = [sample_factors("test", [i]) for i in (20, 21, 22)]
    pairs = [(render(f, generator.size).image[0], generator.synthesize(generator.map_factors(f))[0]) for f in people]
    return [picture for row in zip(*pairs, strict=True) for picture in row]


def draw_walk() -> list[Tensor]:
    generator = pspnb.load("world2/generator")
    a, b = (generator.map_factors(person(i)) for i in (3, 8))
    return [generator.synthesize(torch.lerp(a, b, t))[0] for t in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]


def draw_inversion() -> list[Tensor]:
    """Portraits that the encoder has not met; below them what the generator draws from the encoder's codes."""
    from pspnb import facets

    psp = pspnb.load("facets64/inversion")
    x = facets.render(facets.sample_factors("test", [1, 3, 5]), psp.input_size).image
    return [*x, *psp(x)]


GENERATOR = ("world2/generator",)
ROWS = (
    Row(
        "edit", "Change one thing",
        "One person: as drawn, turned to either side, with copper hair, glasses, curls. Try it: [](lab/edit.md).",
        "Six portraits of one person: as drawn, turned to the left and right, with copper hair, with glasses, with curls.",
        GENERATOR, draw_edits,
    ),
    Row(
        "mix", "Mix two people",
        "More and more styles of the second person, from coarse to fine. Try it: [](lab/mix.md).",
        "Six portraits that turn from one person into another: first the pose and the shape change, then the colours.",
        GENERATOR, draw_mixing,
    ),
    # Shown until an encoder of the second world is shipped; its row takes this one's place.
    Row(
        "inversion", "Invert a portrait",
        "Three portraits, and below each what the generator draws from the encoder's code. Small features get lost: "
        "eyes and glasses. [](../notebooks/13_psp_encoder.ipynb) shows why.",
        "Three portraits and, below them, their softer reconstructions; pose and colours agree, eyes and patterns are blurred.",
        ("facets64/inversion",), draw_inversion,
    ),
    Row(
        "teacher", "Check the student",
        "Three people by the renderer, and below each the generator's picture of the same factors. "
        "All its errors: [](lab/teacher.md).",
        "Two rows of three nearly equal portraits: the renderer's above, the generator's below.",
        GENERATOR, draw_teacher,
    ),
    Row(
        "walk", "Walk between people",
        "Codes can be averaged: each step is a person. [](../notebooks/11_stylegan2.ipynb) measures how smooth the way is.",
        "Six portraits, from one person to another, each a person of its own.",
        GENERATOR, draw_walk,
    ),
)  # fmt: skip


def strip(name: str, needs: tuple[str, ...], draw: Callable[[], list[Tensor]]) -> str:
    """File name of the strip in the folder `generated`, drawn unless it is there for these models and this code."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + str(RENDER_VERSION).encode())
    for model in needs:
        for path in sorted(ZOO.glob(f"{model.replace('/', '_')}*.safetensors")):
            digest.update(path.read_bytes())
    path = GENERATED / f"gallery-{name}-{digest.hexdigest()[:12]}.webp"
    if not path.is_file():
        for old in GENERATED.glob(f"gallery-{name}-*.webp"):
            old.unlink()
        with torch.no_grad():
            picture = joined(draw())
        write_atomically(path, lambda stream: picture.save(stream, format="WEBP", quality=90, method=4))
    return path.name


def joined(tiles: list[Tensor]) -> Image.Image:
    """Tiles in rows of `ACROSS`, enlarged smoothly, nothing between them."""
    step, rows = SIDE + GAP, -(-len(tiles) // ACROSS)
    out = Image.new("RGBA", (min(len(tiles), ACROSS) * step - GAP, rows * step - GAP))
    for k, tile in enumerate(tiles):
        levels = to_levels(tile.clamp(-1, 1)).permute(1, 2, 0).numpy()
        large = Image.fromarray(np.ascontiguousarray(levels)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        out.paste(large, (k % ACROSS * step, k // ACROSS * step))
    return out


def shipped(needs: tuple[str, ...]) -> bool:
    """Whether the models can be loaded: shipped, and of this version of the world."""
    try:
        for name in needs:
            pspnb.load(name)
    except ValueError:  # LoadError among them
        return False
    return True
