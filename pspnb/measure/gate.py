"""The gate of the imitating generator: what it must reach before anything is trained on it, and whether it does.

`measure` gives every row with its interval, `judge` compares with the table, `quick_gate` is the short form for a training loop.
Chapter: "StyleGAN2 from the inside".
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.answer_key import draw_z
from pspnb.measure.intervals import ROUNDS, Measured, finite
from pspnb.measure.pairs import Instruments, Pairs, measure_pairs, shipped_instruments
from pspnb.measure.rows import (
    JEWELLERY,
    Row,
    area_error,
    difference,
    frechet_over_floor,
    kind_share,
    mixture_share,
    parsing_share,
    recall_share,
    seen,
    sharpness_share,
    yaw_difference,
    yaw_slope,
)
from pspnb.models.load import load_generator
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import CLASSES

SHIPPED = "world2/generator"
GATE_SEED = 2_000_003
"""Of the z of the gate: training draws from other seeds."""


class Limit(NamedTuple):
    """A line of the table; a row with a lower and an upper limit has two."""

    row: str
    limit: float
    sense: Literal["at most", "at least"]
    unit: str


class Verdict(NamedTuple):
    """One limit, judged; nan never passes."""

    row: str
    value: float
    limit: float
    passed: bool


GATE: tuple[Limit, ...] = (
    Limit("perceptual_whole", 0.15, "at most", "LPIPS form"),
    Limit("perceptual_head", 0.08, "at most", "LPIPS form"),
    Limit("mse_head", 0.02, "at most", "squared, images in [-1, 1]"),
    Limit("sharpness", 0.85, "at least", "of the renderer's"),
    Limit("sharpness", 1.10, "at most", "of the renderer's"),
    Limit("parsing", 0.85, "at least", "of the mIoU on renders"),
    Limit("area", 0.10, "at most", "worst relative error"),
    Limit("area_jewellery", 0.25, "at most", "worst relative error"),
    Limit("yaw_difference", 2.0, "at most", "degrees, median"),
    Limit("yaw_slope", 0.95, "at least", "degrees a degree"),
    Limit("yaw_slope", 1.05, "at most", "degrees a degree"),
    Limit("glasses_where_worn", 0.97, "at least", "of the images"),
    Limit("glasses_where_not", 0.02, "at most", "of the images"),
    Limit("hat_where_worn", 0.97, "at least", "of the images"),
    Limit("hat_where_not", 0.02, "at most", "of the images"),
    Limit("background_pattern", 0.80, "at least", "of the accuracy on renders"),
    Limit("cloth_pattern", 0.80, "at least", "of the accuracy on renders"),
    Limit("hair_style", 0.80, "at least", "of the accuracy on renders"),
    Limit("frechet", 3.0, "at most", "times the floor"),
    Limit("recall", 0.70, "at least", "of the recall of renders"),
    Limit("midpoint_sharpness", 0.90, "at least", "of unmixed"),
    Limit("midpoint_confidence", 0.90, "at least", "of unmixed"),
    Limit("truncated_sharpness", 0.90, "at least", "of unmixed"),
    Limit("truncated_confidence", 0.90, "at least", "of unmixed"),
    Limit("latent_avg_sharpness", 0.90, "at least", "of unmixed"),
    Limit("latent_avg_confidence", 0.90, "at least", "of unmixed"),
    Limit("mixed_sharpness", 0.90, "at least", "of unmixed"),
    Limit("mixed_confidence", 0.90, "at least", "of unmixed"),
)

ROWS: Mapping[str, Row] = {
    "perceptual_whole": difference("perceptual_whole"),
    "perceptual_head": difference("perceptual_head"),
    "mse_head": difference("mse_head"),
    "sharpness": sharpness_share,
    "parsing": parsing_share,
    "area": area_error([c for c in CLASSES if c not in JEWELLERY]),
    "area_jewellery": area_error(JEWELLERY),
    "yaw_difference": yaw_difference,
    "yaw_slope": yaw_slope,
    **{f"{name}_where_{'worn' if worn else 'not'}": seen(name, worn=worn)
       for name in ("glasses", "hat") for worn in (True, False)},
    **{name: kind_share(name) for name in ("background_pattern", "cloth_pattern", "hair_style")},
    "frechet": frechet_over_floor,
    "recall": recall_share,
    **{f"{kind}_{what}": mixture_share(kind, what)
       for kind in ("midpoint", "truncated", "latent_avg", "mixed") for what in ("sharpness", "confidence")},
}  # fmt: skip


def measure(pairs: Pairs, *, rounds: int = ROUNDS) -> dict[str, Measured]:
    """Every row of the gate; `rounds` 0 leaves the intervals out."""
    return {name: row(pairs, rounds) for name, row in ROWS.items()}


def judge(metrics: Mapping[str, Measured] | Mapping[str, float]) -> list[Verdict]:
    """Each line of GATE: (row, value, limit, passed). KeyError for a row that was not measured."""
    return [_judged(limit, metrics[limit.row]) for limit in GATE]


def _judged(limit: Limit, found: Measured | float) -> Verdict:
    value = found.value if isinstance(found, Measured) else float(found)
    better = value <= limit.limit if limit.sense == "at most" else value >= limit.limit
    return Verdict(limit.row, value, limit.limit, better and not math.isnan(value))


def quick_gate(
    generator: Generator,
    instruments: Instruments,
    *,
    n: int = 2000,
    device: str | torch.device = "cpu",
    seed: int = GATE_SEED,
    z: Float[Tensor, " n k"] | None = None,
) -> dict[str, float]:
    """Every row without its interval, for a training loop: seconds on a GPU. `z`: instead of `n` drawn from `seed`.

    Generator and instruments lie on `device`. With few images `frechet` and the rows of rare kinds are noisy.
    """
    z = draw_z(generator, n, seed=seed) if z is None else z
    pairs = measure_pairs(generator, instruments, z, device=device, mixtures=min(500, len(z) // 2))
    return {name: measured.value for name, measured in measure(pairs, rounds=0).items()}


def quick_verdict(*, n: int = 2000, device: str | torch.device = "cpu", forgiven: int = 0) -> dict[str, Any]:
    """The shipped generator by the shipped instruments, in short: see `verdict_of`."""
    generator = load_generator(SHIPPED, device=str(device))
    return verdict_of(quick_gate(generator, shipped_instruments(device=device), n=n, device=device), forgiven=forgiven)


def verdict_of(rows: Mapping[str, float], *, forgiven: int = 0) -> dict[str, Any]:
    """As JSON: the "rows", those "missed", and whether to "train encoders" on it: when at most `forgiven` rows are missed."""
    failed = {verdict.row for verdict in judge(rows) if not verdict.passed}
    missed = [name for name in ROWS if name in failed]
    return {"rows": finite(rows), "missed": missed, "train encoders": len(missed) <= forgiven}
