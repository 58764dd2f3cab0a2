"""What each instrument gets wrong, measured on people it never saw: the numbers of its card and of the book.

Chapter: "The world of Facets".
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pspnb.facets import BY_NAME, CLASSES, edit, render
from pspnb.metrics import class_iou, confusion, spearman, verification
from pspnb.nn.instruments import PerceptualNet
from pspnb.training.arrays import FacetsArrays, to_unit
from pspnb.training.instruments import N_CLASSES, SHOWN_BY

BATCH = 100


@torch.no_grad()
def in_batches(f: Callable[[Tensor], Tensor], data: FacetsArrays) -> Tensor:
    """`f` of every image in [-1, 1], `BATCH` at a time."""
    return torch.cat([f(to_unit(part)) for part in data.images.split(BATCH)])


def identity_report(net: nn.Module, data: FacetsArrays) -> dict[str, float]:
    """All pairs of `data` (several views a person): over everything, across pose, across light."""
    e = in_batches(net, data)
    similarity = e @ e.T
    same = data.identity[:, None] == data.identity[None, :]
    upper = torch.ones_like(same).triu(1)
    report = {f"{k}": v for k, v in verification(similarity[upper], same[upper]).items()}
    turned = (data.factors["yaw"][:, None] - data.factors["yaw"][None, :]).abs() > 30
    relit = (data.factors["light_azimuth"][:, None] - data.factors["light_azimuth"][None, :]).abs() > 60
    for name, apart in (("pose", turned), ("light", relit)):
        chosen = upper & apart
        report |= {f"{k}_across_{name}": v for k, v in verification(similarity[chosen], same[chosen]).items()}
    report["mean_similarity_same"] = float(similarity[upper & same].mean())
    report["mean_similarity_other"] = float(similarity[upper & ~same].mean())
    return report


def parsing_report(net: Any, data: FacetsArrays) -> dict[str, float]:
    """Pixel accuracy, mean IoU and IoU of each class."""
    counts = confusion(in_batches(net.labels, data), data.labels.long(), N_CLASSES)
    iou = class_iou(counts)
    report = {"mean_iou": float(iou.nanmean()), "pixel_accuracy": float(counts.diag().sum() / counts.sum())}
    return report | {f"iou_{name}": float(value) for name, value in zip(CLASSES, iou, strict=True)}


@torch.no_grad()
def factors_report(net: Any, data: FacetsArrays) -> dict[str, float]:
    """Mean absolute error of each continuous factor in its unit, share of its variance explained; accuracy of the others."""
    parts = [net.predict(to_unit(part)) for part in data.images.split(BATCH)]
    report: dict[str, float] = {}
    for name in parts[0]:
        predicted, truth = torch.cat([p[name] for p in parts]), data.factors[name]
        shown = torch.ones(len(truth), dtype=torch.bool)
        if name in SHOWN_BY:
            shown = torch.stack([data.factors[other] > 0 for other in SHOWN_BY[name]]).any(0)
        predicted, truth = predicted[shown], truth[shown]
        if BY_NAME[name].kind == "categorical":
            report[f"accuracy_{name}"] = float((predicted == truth).float().mean())
        else:
            report[f"error_{name}"] = float((predicted - truth).abs().mean())
            report[f"r2_{name}"] = float(1 - (predicted - truth).square().mean() / truth.var(unbiased=False))
    accuracies = [v for k, v in report.items() if k.startswith("accuracy_")]
    shares = [v for k, v in report.items() if k.startswith("r2_")]
    report |= {"mean_accuracy": sum(accuracies) / len(accuracies), "mean_r2": sum(shares) / len(shares)}
    report["pose_error_degrees"] = (report["error_yaw"] + report["error_pitch"] + report["error_roll"]) / 3
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
def perceptual_report(net: PerceptualNet, data: FacetsArrays, *, n: int = 48) -> dict[str, float]:
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
        t = torch.arange(-reach, reach + 1, dtype=torch.float32)
        g = torch.exp(-t.square() / (2 * strength**2))
        g = (g / g.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
        y = F.conv2d(F.pad(x, [reach, reach, 0, 0], mode="replicate"), g, groups=3)
        return F.conv2d(F.pad(y, [0, 0, reach, reach], mode="replicate"), g.transpose(2, 3), groups=3)
    if kind == "noise":
        return x + strength * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    if kind == "shift":
        return F.pad(x, [int(strength), 0, 0, 0], mode="replicate")[..., : x.shape[-1]]
    factor, value = BY_NAME[kind], data.factors[kind]
    middle = (factor.low + factor.high) / 2
    moved = torch.where(value < middle, value + strength, value - strength).clamp(factor.low, factor.high)
    image = render(edit(data.factors, **{kind: moved}), x.shape[-1]).image
    return ((image + 1) * 127.5).round().clamp(0, 255).div(127.5).sub(1)
