"""Local editing: a label map or sketch is redrawn in one place; what changes there, and what changes elsewhere?

Paper section 4.5, and the limits of section 5: details such as earrings and the background get lost. The truth is the same
scene with the factor changed. Chapter: "Interpolation and local editing".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.classes import CLASS_ID
from pspnb.measure.intervals import ROUNDS, mean, of_means, ratio
from pspnb.measure.judges import Judges
from pspnb.measure.people import People, drawn
from pspnb.measure.pixels import masked_mse
from pspnb.measure.scores import difference, entry

MARGIN = 2
"""Pixels around the redrawn place that may change with it."""


@dataclass(frozen=True)
class Edit:
    """`changes` to the factors of people for whom `factor` is `before`; the class that should appear, or grow."""

    factor: str
    before: int
    changes: Mapping[str, float | int | str]
    wanted: str


EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "glasses": Edit("glasses", 0, {"glasses": "round"}, "eye_g"),
        "hat": Edit("hat", 0, {"hat": "beanie"}, "hat"),
        "long hair": Edit("hat", 0, {"hair_style": "long"}, "hair"),
        "open mouth": Edit("glasses", 0, {"mouth_open": 0.8}, "mouth"),
    }
)


def region(before: People, after: People) -> Bool[Tensor, " n 1 s s"]:
    """Where the two label maps differ, and `MARGIN` pixels around."""
    differs = (before.labels != after.labels)[:, None].float()
    return F.max_pool2d(differs, 2 * MARGIN + 1, stride=1, padding=MARGIN) > 0


def measure_local_editing(
    draw: Callable[[Tensor], Tensor],
    make: Callable[[People], Tensor],
    people: People,
    judges: Judges,
    *,
    edits: Mapping[str, Edit] = EDITS,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Scores of each edit. `make` gives the sources (label maps one-hot, sketches) of people, `draw` the outputs of sources."""
    found = {}
    for name, edit in edits.items():
        before = people.where(people.factors[edit.factor] == edit.before)
        if len(before) < 2:
            continue
        after = before.rendered(**edit.changes)
        outputs = drawn(draw, make(before)), drawn(draw, make(after))
        found[name] = scores(outputs, (before, after), judges, wanted=edit.wanted, rounds=rounds)
    return found


def scores(
    outputs: tuple[Float[Tensor, " n 3 s s"], Float[Tensor, " n 3 s s"]],
    people: tuple[People, People],
    judges: Judges,
    *,
    wanted: str,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Of outputs and people before and after an edit.

    leakage: mean squared change outside of the redrawn region over that inside, 0 for a purely local edit. wanted_iou: overlap of
    the wanted class in the output and in the truth. distance_to_truth: of the raw output, and of the output laid into the true
    picture before the edit, which takes all else from the input.
    """
    (y, edited), (before, after) = outputs, people
    where = region(before, after)
    inside, outside = masked_mse(edited, y, where), masked_mse(edited, y, ~where)
    composite = torch.where(where, edited, before.images)
    raw, laid = (judges.distances(x, after.images) for x in (edited, composite))
    return {
        "people": len(before),
        "region": entry(mean(where.float().mean(dim=(1, 2, 3)), rounds=rounds)),
        "change_inside": entry(mean(inside, rounds=rounds)),
        "change_outside": entry(mean(outside, rounds=rounds)),
        "leakage": entry(ratio(outside, inside, rounds=rounds)),
        "wanted_iou": _wanted(edited, after, judges, wanted, rounds),
        "wanted_iou_of_renders": _wanted(after.images, after, judges, wanted, rounds),
        "distance_to_truth": {
            "raw": entry(mean(raw, rounds=rounds)),
            "composited": entry(mean(laid, rounds=rounds)),
            "raw_less_composited": difference(raw, laid, rounds=rounds),
        },
    }


def _wanted(images: Tensor, truth: People, judges: Judges, wanted: str, rounds: int) -> dict[str, Any]:
    seen, true = judges.parsed(images) == CLASS_ID[wanted], truth.labels == CLASS_ID[wanted]
    hits, union = ((seen & true).float(), (seen | true).float())
    return entry(ratio(hits.mean(dim=(1, 2)), union.mean(dim=(1, 2)), rounds=rounds))


def recalled(
    outputs: Float[Tensor, " n 3 s s"], people: People, judges: Judges, *, rounds: int = ROUNDS
) -> dict[str, Any]:
    """The paper's stated limits: the share of the true pixels of earrings and necklaces that the output shows as such, and the
    squared error of the background beside that of the head."""
    seen = judges.parsed(outputs)
    found: dict[str, Any] = {}
    for name in ("ear_r", "neck_l", "eye_g", "hat"):
        true = people.labels == CLASS_ID[name]
        worn = true.any(dim=(1, 2))
        if worn.sum() > 1:
            columns = torch.stack(
                [(true & (seen == CLASS_ID[name])).float().mean((1, 2)), true.float().mean((1, 2))], 1
            )
            found[name] = entry(of_means(columns[worn], lambda m: m[..., 0] / m[..., 1], rounds=rounds))
    background = (people.labels == CLASS_ID["background"])[:, None]
    found["mse_background"] = entry(mean(masked_mse(outputs, people.images, background), rounds=rounds))
    found["mse_head"] = entry(mean(masked_mse(outputs, people.images, people.head), rounds=rounds))
    return found
