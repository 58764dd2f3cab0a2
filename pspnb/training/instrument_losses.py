"""What each instrument is trained to do: its loss, and the head that only training needs.

A loss takes (network, head, batch, progress) and gives the loss and what to log; `progress` runs from 0 to 1 over the training.
Chapter: "The world of Facets".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from pspnb.training.factor_targets import HEADS, FactorLoss, FactorTargets
from pspnb.training.margins import ArcFace, CurricularFace
from pspnb.world2 import IDENTITY_FACTORS

N_CLASSES = 19


@dataclass(frozen=True)
class Batch:
    """What a loss sees: `images` degraded and `clean` in [-1, 1], label ids, people numbered from 0, targets of the factors."""

    images: Float[Tensor, " b 3 s s"]
    clean: Float[Tensor, " b 3 s s"]
    labels: UInt8[Tensor, " b s s"]
    people: Int[Tensor, " b"]
    factors: FactorTargets


Loss = Callable[[Any, Any, Batch, float], tuple[Tensor, dict[str, Tensor]]]


def identity_loss(net: Any, head: Any, batch: Batch, progress: float):
    """Margin softmax over the training people, and the identity's factors read from the embedding.

    The margin grows over the first half of the training. Names alone are learned from hair and skin long before geometry.
    """
    raw = net.embed_raw(batch.images).float()
    named = head.margin(raw, batch.people, ease=min(1.0, 2 * progress))
    described, record = head.factor_loss(head.factors(raw), batch.factors)
    return named + 2 * described, {"named": named.detach(), **record}


def parsing_loss(net: Any, head: Any, batch: Batch, progress: float):
    """Weighted cross entropy and 1 - soft IoU, the mean over the classes: rare classes count as much as the wall."""
    logits, labels = net(batch.images), batch.labels.long()
    entropy = F.cross_entropy(logits, labels, weight=head.weights)
    missed = 1 - soft_iou(logits, labels)
    return entropy + missed, {"entropy": entropy.detach(), "missed": missed.detach()}


def factor_loss(net: Any, head: Any, batch: Batch, progress: float):
    """Squared error of the numbers and cross entropy of the choices, where they show."""
    return head(net.outputs(batch.images), batch.factors)


def perceptual_loss(net: Any, head: Any, batch: Batch, progress: float):
    """The two tasks that make the trunk see: factors from the last stage, classes of pixels from every stage."""
    outputs, logits = head(net.maps(batch.images))
    loss, record = head.factor_loss(outputs, batch.factors)
    pixels = F.cross_entropy(logits, batch.labels[:, ::2, ::2].long(), weight=head.weights)
    return loss + pixels, {**record, "pixels": pixels.detach()}


def judge_loss(net: Any, head: Any, batch: Batch, progress: float):
    """Three other tasks for the judge's trunk: every map mends the degraded image and names its parts, the last one the person."""
    maps = net.maps(batch.images)
    mended = mending_error(head.colours(maps), batch.clean)
    parts = parts_error(head.parts(maps), batch.labels)
    who = head.margin(head.vector(maps[-1]).float(), batch.people, ease=min(1.0, 2 * progress))
    return 2 * mended + parts + 0.1 * who, {"mended": mended.detach(), "parts": parts.detach(), "who": who.detach()}


def soft_iou(logits: Float[Tensor, " b k h w"], labels: Int[Tensor, " b h w"]) -> Float[Tensor, ""]:
    """Intersection over union of the predicted shares with the labels, over the batch; mean over the classes that occur."""
    share = logits.softmax(dim=1)
    own = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)[:, None, None]
    hit, truth = (share * own).sum(dim=(0, 2, 3)), own.float().sum(dim=(0, 2, 3))
    iou = hit / (share.sum(dim=(0, 2, 3)) + truth - hit)
    occurs = (truth > 0).float()
    return (iou * occurs).sum() / occurs.sum()


def mending_error(predicted: list[Tensor], clean: Float[Tensor, " b 3 s s"]) -> Float[Tensor, ""]:
    """Mean absolute error of the colours that each map predicts for its own cells, averaged over the maps."""
    errors = [(p.float() - _cells(clean, p)).abs().mean() for p in predicted]
    return torch.stack(errors).mean()


def _cells(x: Tensor, like: Tensor) -> Tensor:
    """Means of `x` over the cells of a smaller map."""
    return F.avg_pool2d(x, x.shape[-1] // like.shape[-1])


def parts_error(predicted: list[Tensor], labels: UInt8[Tensor, " b s s"]) -> Float[Tensor, ""]:
    """Cross entropy between each map's logits and the shares of the classes in its cells, averaged over the maps."""
    shares = (
        labels[:, None] == torch.arange(N_CLASSES, device=labels.device, dtype=torch.uint8)[:, None, None]
    ).float()
    errors = [F.cross_entropy(p.float(), _cells(shares, p)) for p in predicted]
    return torch.stack(errors).mean()


class ClassWeights(nn.Module):
    """Weights of the classes in the loss: inverse square root of their share of the pixels, within [0.4, 4]."""

    weights: Tensor

    def __init__(self, labels: Tensor):
        super().__init__()
        share = torch.bincount(labels.flatten().long(), minlength=N_CLASSES).float() / labels.numel()
        weights = (share.median() / share.clamp(min=1e-6)).sqrt().clamp(0.4, 4.0)
        self.register_buffer("weights", weights / weights.mean())


class TwoTasks(ClassWeights):
    """Head of `perceptual` in training: factors from the last map, pixel classes from all maps at half size."""

    def __init__(self, labels: Tensor, widths: tuple[int, ...]):
        super().__init__(labels)
        self.factors = nn.Linear(widths[-1] * 16, sum(HEADS.values()))
        self.factor_loss = FactorLoss()
        self.pixels = nn.ModuleList(nn.Conv2d(w, N_CLASSES, 1) for w in widths)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        size = maps[1].shape[-2:]
        logits = maps[0].new_zeros((), dtype=torch.float32)
        for layer, m in zip(self.pixels, maps, strict=True):
            scores = layer(m).float()
            resized = F.avg_pool2d(scores, 2) if scores.shape[-1] > size[-1] else F.interpolate(scores, size)
            logits = logits + resized
        return self.factors(maps[-1].contiguous().flatten(1)), logits


class NameAndDescribe(nn.Module):
    """Head of the recognition networks in training: `margin` softmax over people, and their factors from the embedding."""

    def __init__(self, margin: nn.Module):
        super().__init__()
        self.margin = margin
        self.factors = nn.Linear(128, sum(HEADS.values()))
        self.factor_loss = FactorLoss(IDENTITY_FACTORS)


class ThreeTasks(nn.Module):
    """Head of `perceptual_eval` in training: colours and shares of classes from every map, a person's vector from the last."""

    def __init__(self, widths: tuple[int, ...], people: int):
        super().__init__()
        self.to_colour = nn.ModuleList(nn.Conv2d(w, 3, 1) for w in widths)
        self.to_parts = nn.ModuleList(nn.Conv2d(w, N_CLASSES, 1) for w in widths)
        self.to_vector = nn.Linear(widths[-1] * 16, 128)
        self.margin = ArcFace(128, people)

    def colours(self, maps: list[Tensor]) -> list[Tensor]:
        """(b, 3, h, w) a map."""
        return [layer(m) for layer, m in zip(self.to_colour, maps, strict=True)]

    def parts(self, maps: list[Tensor]) -> list[Tensor]:
        """Logits (b, 19, h, w) a map."""
        return [layer(m) for layer, m in zip(self.to_parts, maps, strict=True)]

    def vector(self, last: Float[Tensor, " b c h w"]) -> Float[Tensor, " b d"]:
        """One vector an image, from the last map at 4 by 4."""
        return self.to_vector(F.avg_pool2d(last, last.shape[-1] // 4).contiguous().flatten(1))


def build_head(name: str, network: Any, *, labels: Tensor, people: int) -> tuple[nn.Module, Loss]:
    """The part that only training needs, and the loss. `labels`: some label maps, for the shares of the classes."""
    heads: Mapping[str, Callable[[], tuple[nn.Module, Loss]]] = {
        "identity": lambda: (NameAndDescribe(ArcFace(128, people)), identity_loss),
        "identity_eval": lambda: (NameAndDescribe(CurricularFace(128, people)), identity_loss),
        "parsing": lambda: (ClassWeights(labels), parsing_loss),
        "factors": lambda: (FactorLoss(), factor_loss),
        "perceptual": lambda: (TwoTasks(labels, _widths(network)), perceptual_loss),
        "perceptual_eval": lambda: (ThreeTasks(_widths(network), people), judge_loss),
    }
    return heads[name]()


def _widths(network: Any) -> tuple[int, ...]:
    """Channels of a trunk's maps."""
    with torch.no_grad():
        parameter = next(network.parameters())
        training = network.training
        maps = network.eval().maps(torch.zeros(1, 3, 64, 64, device=parameter.device))
        network.train(training)
    return tuple(m.shape[1] for m in maps)
