"""Sketches and label maps to faces: does `parsing` find in the output what was drawn? By pose and expression.

Paper sections 4.3.1 and 4.3.2, Figures 8 to 10, which show pictures. Chapters: "Sketch to face", "Labels to face".
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from pspnb.classes import CLASSES, HELEN_CLASSES, to_helen
from pspnb.measure.intervals import ROUNDS, Measured, mean, of_means
from pspnb.measure.judges import Judges
from pspnb.measure.pairs import class_pixels
from pspnb.measure.people import People
from pspnb.measure.scores import entry, expressions, high, yaw_bins

Counts = dict[str, Tensor]
"""accuracy (n,), and of each class (n, k): pixels that are right, that are predicted or true."""


def counts(predicted: Integer[Tensor, " n s s"], true: Integer[Tensor, " n s s"], classes: int) -> Counts:
    """What accuracy and mIoU are made of, for each image."""
    hits = class_pixels(true.long(), classes, where=predicted == true)
    union = class_pixels(predicted.long(), classes) + class_pixels(true.long(), classes) - hits
    return {"accuracy": (predicted == true).float().mean(dim=(1, 2)), "hits": hits, "union": union}


def mean_iou(found: Counts, shown: Bool[Tensor, " k"], *, rounds: int = ROUNDS) -> Measured:
    """Mean over the classes that the truth shows of intersection over union of all images together."""
    columns = torch.cat([found["hits"][:, shown], found["union"][:, shown]], dim=1)
    return of_means(columns, _iou, rounds=rounds)


def _iou(means: Float[Tensor, " *r k"]) -> Float[Tensor, " *r"]:
    hits, union = means.unflatten(-1, (2, -1)).unbind(-2)
    return (hits / union).nanmean(dim=-1)


def iou_share(found: Counts, reference: Counts, shown: Bool[Tensor, " k"], *, rounds: int = ROUNDS) -> Measured:
    """mIoU over that of a reference, of the same images."""
    columns = torch.cat([x[name][:, shown] for x in (found, reference) for name in ("hits", "union")], dim=1)
    half = int(shown.sum()) * 2
    return of_means(columns, lambda m: _iou(m[..., :half]) / _iou(m[..., half:]), rounds=rounds)


def measure_labels(
    outputs: Float[Tensor, " n 3 s s"],
    people: People,
    judges: Judges,
    *,
    helen: bool = False,
    inverted: Float[Tensor, " n 3 s s"] | None = None,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Accuracy and mIoU of `parsing(output)` against the true labels (`helen`: of 11 classes), and what `parsing` reaches on the
    renders themselves; both by pose and expression. `inverted`: what inversion makes of the pictures."""
    names, fewer = (HELEN_CLASSES, to_helen) if helen else (CLASSES, _same)
    true = fewer(people.labels.long())
    shown = torch.bincount(true.flatten(), minlength=len(names)) > 0

    def of(images: Tensor) -> Counts:
        return counts(fewer(judges.parsed(images).long()), true, len(names))

    found, renders = of(outputs), of(people.images)
    reference = None if inverted is None else of(inverted)
    iou = mean_iou(found, shown, rounds=rounds)
    share = None if reference is None else iou_share(found, reference, shown, rounds=rounds)
    groups = yaw_bins(people.factors["yaw"]) | expressions(people.factors)
    iou_of_class = (found["hits"].sum(0) / found["union"].sum(0)).tolist()
    return {
        "accuracy": high(found["accuracy"], None if reference is None else reference["accuracy"], rounds=rounds),
        "miou": entry(iou, share),
        "miou_over_renders": entry(iou_share(found, renders, shown, rounds=rounds)),
        "renders": {
            "accuracy": entry(mean(renders["accuracy"], rounds=rounds)),
            "miou": entry(mean_iou(renders, shown, rounds=rounds)),
        },
        "by": {name: _group(found, rows, shown, rounds) for name, rows in groups.items()},
        "iou": {name: value for name, value, s in zip(names, iou_of_class, shown.tolist(), strict=True) if s},
    }


def _group(found: Counts, rows: Bool[Tensor, " n"], shown: Bool[Tensor, " k"], rounds: int) -> dict[str, Any]:
    part = {name: value[rows] for name, value in found.items()}
    return {
        "accuracy": entry(mean(part["accuracy"], rounds=rounds)),
        "miou": entry(mean_iou(part, shown, rounds=rounds)),
    }


def _same(labels: Tensor) -> Tensor:
    return labels


def with_parts_erased(
    make: Callable[[torch.Generator], Float[Tensor, " n 1 s s"]], *, seed: int, radius: float = 0.2
) -> Float[Tensor, " n 1 s s"]:
    """Sketches with a disc of white paper somewhere over the middle of each, the same for the same seed.

    `make` draws the sketches with a generator of that seed. `radius`: as a share of the side.
    """
    sketches = make(torch.Generator().manual_seed(seed))
    places = torch.rand(2, len(sketches), 1, 1, generator=torch.Generator().manual_seed(seed + 1))
    line = (torch.arange(sketches.shape[-1]) + 0.5) / sketches.shape[-1]
    away = torch.hypot(line - (0.3 + 0.4 * places[0]), line[:, None] - (0.25 + 0.5 * places[1]))
    return torch.where((away < radius)[:, None].to(sketches.device), 1.0, sketches)
