"""What the `factors` instrument reads before and after an edit, and on which scale. Chapter: "Directions".

A reading is no measurement before it is calibrated: on generated images, whose factors are known, the reading of a continuous
factor is about offset + slope * truth, and a slope below 1 would make every edit look too small.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.editing.directions import Attribute
from pspnb.measure.answer_key import batch_size, pooled
from pspnb.measure.factor_errors import error
from pspnb.nn.instruments import FactorNet
from pspnb.training.factor_targets import shown
from pspnb.world2 import BY_NAME, Factors

Readings = dict[str, Tensor]
"""name -> (n,) in the factor's units, beyond its range where the network says so; (n, k) probabilities of choices."""
LEGIBLE_R2, LEGIBLE_KAPPA = 0.3, 0.3
"""From these on a factor counts as legible: share of the variance; accuracy above always saying the most frequent choice."""


@torch.no_grad()
def read_factors(net: FactorNet, images: Float[Tensor, " n 3 s s"]) -> Readings:
    """All factors, in batches, on the CPU. Unlike `FactorNet.predict`, not clamped to the world's range."""
    parts = [net(pooled(part)) for part in images.split(4 * batch_size(images.device))]
    out: Readings = {}
    for name in net.heads:
        raw = torch.cat([part[name] for part in parts]).cpu()
        if name in net.ranges:
            low, high = net.ranges[name]
            out[name] = low + (raw + 1) * (high - low) / 2
        else:
            out[name] = raw.softmax(dim=1)
    return out


@dataclass(frozen=True)
class Calibration:
    """Of one factor. `slope` of the reading on the truth, 1 for choices; `quality`: R2, or kappa of a choice."""

    slope: float
    quality: float
    legible: bool
    between: float
    """Mean difference of the readings of two random people; of a choice, how often they differ."""


def calibrate(truth: Factors, read: Readings) -> dict[str, Calibration]:
    """Slope and quality of every reading, over the images that show the factor."""
    found = {}
    for name, value in read.items():
        where = shown(name, truth).bool().cpu()
        true, seen = truth[name].cpu()[where], value[where]
        between = float(moved(value, value.roll(1, dims=0)).double().mean())
        if BY_NAME[name].kind == "categorical":
            hit = float(error(name, seen.argmax(dim=1), true).mean())
            chance = float(torch.bincount(true).max()) / max(len(true), 1)
            quality = (hit - chance) / max(1 - chance, 1e-9)
            found[name] = Calibration(1.0, quality, quality >= LEGIBLE_KAPPA, between)
            continue
        both = torch.cov(torch.stack([true.double(), seen.double()]))
        slope = float(both[0, 1] / both[0, 0])
        quality = float(both[0, 1] ** 2 / (both[0, 0] * both[1, 1]).clamp(min=1e-12))
        found[name] = Calibration(slope, quality, quality >= LEGIBLE_R2 and slope > 0, between)
    return found


def moved(before: Tensor, after: Tensor) -> Float[Tensor, " n"]:
    """How much a reading changed: its absolute difference, or 1 where another choice is read."""
    if before.ndim == 2:
        return (before.argmax(dim=1) != after.argmax(dim=1)).float()
    return (after - before).abs()


def reached(
    attribute: Attribute,
    before: Readings,
    after: Readings,
    amounts: Float[Tensor, " n"],
    calibration: dict[str, Calibration],
) -> Float[Tensor, " n"]:
    """How far each edit got, in the factor's units and towards its amount; of a choice: 1 where it is read afterwards."""
    name = attribute.factor.name
    if attribute.choice is not None:
        return (after[name].argmax(dim=1) == attribute.factor.names.index(attribute.choice)).float()
    return (after[name] - before[name]) / calibration[name].slope * amounts.sign()
