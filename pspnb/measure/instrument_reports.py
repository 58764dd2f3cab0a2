"""What each instrument gets wrong, measured on people it never saw: the numbers of its card and of the book.

Every report takes any images whose factors and labels are known: renders, or a generator's images with its answer key.
Chapter: "The world of Facets".
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pspnb.measure.metrics import bootstrap_interval, class_iou, confusion, spearman, verification
from pspnb.nn.instruments import UnitMapDistance
from pspnb.training.arrays import FacetsArrays, to_unit
from pspnb.training.factor_targets import shown
from pspnb.world2 import BY_NAME, CLASS_ID, CLASSES, edit, render

BATCH = 100


@torch.no_grad()
def in_batches(f: Callable[[Tensor], Tensor], data: FacetsArrays) -> Tensor:
    """`f` of every image in [-1, 1], `BATCH` at a time, where the images are; the answers on the CPU."""
    return torch.cat([f(to_unit(part)).cpu() for part in data.images.split(BATCH)])


def identity_report(net: nn.Module, data: FacetsArrays) -> dict[str, float]:
    """All pairs of `data` (several views a person): over everything, across pose, across light, and without hair."""
    e = in_batches(net, data)
    similarity = e @ e.T
    same = data.identity[:, None] == data.identity[None, :]
    upper = torch.ones_like(same).triu(1)
    report = verification(similarity[upper], same[upper])
    turned = (data.factors["yaw"][:, None] - data.factors["yaw"][None, :]).abs() > 30
    relit = (data.factors["light_azimuth"][:, None] - data.factors["light_azimuth"][None, :]).abs() > 60
    for name, apart in (("pose", turned), ("light", relit)):
        chosen = upper & apart
        report |= {f"{k}_across_{name}": v for k, v in verification(similarity[chosen], same[chosen]).items()}
    report["mean_similarity_same"] = float(similarity[upper & same].mean())
    report["mean_similarity_other"] = float(similarity[upper & ~same].mean())
    bald = in_batches(net, without_hair(data))
    return report | {f"{k}_hair_masked": v for k, v in verification((bald @ bald.T)[upper], same[upper]).items()}


def without_hair(data: FacetsArrays) -> FacetsArrays:
    """The same pictures with hair and hat painted over in the mean colour of their wall (grey where there is none)."""
    wall = (data.labels == CLASS_ID["background"])[:, None]
    hair = ((data.labels == CLASS_ID["hair"]) | (data.labels == CLASS_ID["hat"]))[:, None]
    total, n = (data.images * wall).float().sum((2, 3), keepdim=True), wall.sum((2, 3), keepdim=True)
    mean = torch.where(n > 0, total / n.clamp(min=1), 128.0).round().to(torch.uint8)
    return FacetsArrays(torch.where(hair, mean, data.images), data.labels, data.factors, data.identity)


def lookalikes_report(net: nn.Module, data: FacetsArrays, *, people: int = 50) -> dict[str, float]:
    """Who is who among `people` look-alikes (`lookalikes.lookalike_test`): one picture each is enrolled, the other one asked.

    `lookalike_rank1`: share of the asked whose most similar enrolled picture is their own, with a 95 % bootstrap interval
    over the asked (`_low`, `_high`, `_n`). Chance is 1 / `people`. Raises ValueError when `data` isn't whole groups of pairs.
    """
    pairs_first, pairs_second = data.identity[0::2], data.identity[1::2]
    if len(data) % (2 * people) or not torch.equal(pairs_first, pairs_second):
        raise ValueError(f"expected groups of {people} people with two pictures each, one behind the other")
    e = in_batches(net, data).view(-1, people, 2, in_batches(net, data.take(slice(0, 1))).shape[1])
    nearest = (e[:, :, 1] @ e[:, :, 0].transpose(1, 2)).argmax(dim=2)
    right = (nearest == torch.arange(people)).flatten().float()
    mean, low, high = bootstrap_interval(right)
    names = ("lookalike_rank1", "lookalike_rank1_low", "lookalike_rank1_high", "lookalike_rank1_n")
    return dict(zip(names, (mean, low, high, float(len(right))), strict=True))


def parsing_report(net: Any, data: FacetsArrays) -> dict[str, float]:
    """Pixel accuracy, mean IoU and IoU of each class."""
    counts = confusion(in_batches(net.labels, data), data.labels.long().cpu(), len(CLASSES))
    iou = class_iou(counts)
    report = {"mean_iou": float(iou.nanmean()), "pixel_accuracy": float(counts.diag().sum() / counts.sum())}
    return report | {f"iou_{name}": float(value) for name, value in zip(CLASSES, iou, strict=True)}


@torch.no_grad()
def factors_report(net: Any, data: FacetsArrays) -> dict[str, float]:
    """For each factor, over the images that show it: mean absolute error in its unit and share of its variance explained
    (continuous, where it varies); accuracy (categorical). A factor that no image shows is left out.
    """
    parts = [net.predict(to_unit(part)) for part in data.images.split(BATCH)]
    report: dict[str, float] = {}
    for name in parts[0]:
        seen = shown(name, data.factors).bool().cpu()
        if bool(seen.any()):
            predicted, truth = torch.cat([p[name] for p in parts]).cpu()[seen], data.factors[name].cpu()[seen]
            report |= factor_numbers(name, predicted, truth)
    for mean, prefix in (("mean_accuracy", "accuracy_"), ("mean_r2", "r2_")):
        values = [v for k, v in report.items() if k.startswith(prefix)]
        if values:
            report[mean] = sum(values) / len(values)
    report["pose_error_degrees"] = (report["error_yaw"] + report["error_pitch"] + report["error_roll"]) / 3
    return report


def factor_numbers(name: str, predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """What `factors_report` says of one factor; tensors (n,) in the factor's unit."""
    if BY_NAME[name].kind == "categorical":
        return {f"accuracy_{name}": float((predicted == truth).float().mean())}
    difference = predicted - truth
    report = {f"error_{name}": float(difference.abs().mean())}
    if float(variance := truth.var(unbiased=False)) > 0:
        report[f"r2_{name}"] = float(1 - difference.square().mean() / variance)
    return report


DISTORTIONS: dict[str, tuple[float, ...]] = {
    "blur": (0.5, 0.8, 1.2, 1.8, 2.5),  # sigma in pixels
    "noise": (0.03, 0.07, 0.14, 0.25, 0.4),  # standard deviation
    "shift": (1.0, 2.0, 3.0, 5.0, 8.0),  # pixels
    "yaw": (2.0, 5.0, 10.0, 18.0, 30.0),  # degrees
    "smile": (0.1, 0.25, 0.5, 0.8, 1.2),
    "skin_tone": (0.05, 0.12, 0.25, 0.4, 0.6),
}


@torch.no_grad()
def perceptual_report(net: UnitMapDistance, data: FacetsArrays, *, n: int = 48) -> dict[str, float]:
    """Mean distance at growing strengths of known distortions, and the rank correlation of distance with strength.

    `monotone_x` is the share of images whose distance grows at every single step of distortion x.
    """
    report: dict[str, float] = {}
    some = data.take(slice(0, n))
    x = to_unit(some.images)
    for kind, strengths in DISTORTIONS.items():
        rows = torch.stack([net(distort(x, some, kind, s), x) for s in strengths])  # strength, image
        report[f"spearman_{kind}"] = sum(spearman(rows[:, i], strengths) for i in range(n)) / n
        report[f"monotone_{kind}"] = float((rows.diff(dim=0) > 0).all(dim=0).float().mean())
        report |= {f"distance_{kind}_{s:g}": float(v) for s, v in zip(strengths, rows.mean(dim=1), strict=True)}
    other = net(x.roll(1, 0), x)
    report["distance_other_person"] = float(other.mean())
    report["mean_spearman"] = sum(report[f"spearman_{k}"] for k in DISTORTIONS) / len(DISTORTIONS)
    return report


def distort(x: Tensor, data: FacetsArrays, kind: str, strength: float) -> Tensor:
    """Images changed by one known amount: of pixels (blur, noise, shift) or of a factor, rendered anew."""
    if kind == "blur":
        reach = int(3 * strength + 1)
        t = torch.arange(-reach, reach + 1, dtype=torch.float32, device=x.device)
        g = torch.exp(-t.square() / (2 * strength**2))
        g = (g / g.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
        y = F.conv2d(F.pad(x, [reach, reach, 0, 0], mode="replicate"), g, groups=3)
        return F.conv2d(F.pad(y, [0, 0, reach, reach], mode="replicate"), g.transpose(2, 3), groups=3)
    if kind == "noise":
        return x + strength * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    if kind == "shift":
        return F.pad(x, [int(strength), 0, 0, 0], mode="replicate")[..., : x.shape[-1]]
    factor, value = BY_NAME[kind], data.factors[kind]
    middle = (factor.low + factor.high) / 2
    moved = torch.where(value < middle, value + strength, value - strength).clamp(factor.low, factor.high)
    image = render(edit(data.factors, **{kind: moved}), x.shape[-1], device=x.device).image
    return ((image + 1) * 127.5).round().clamp(0, 255).div(127.5).sub(1)
