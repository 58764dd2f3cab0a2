"""Frontalization against the truth: the same scene rendered with yaw and roll 0 and all else kept.

Pitch is kept too: no mirror removes it. Paper section 4.2, which could show pictures only. Chapter: "Frontalization".
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.intervals import ROUNDS, mean, median
from pspnb.measure.judges import Judges
from pspnb.measure.lookalikes import RANKED, found_first, gallery
from pspnb.measure.people import People
from pspnb.measure.scores import Score, difference, entry, high, low, slope, yaw_bins

INPUT, MIRROR, MEAN_FACE, INVERSION = "input", "mirror average", "mean face", "inversion"


def frontal(people: People) -> People:
    """The truth."""
    return people.rendered(yaw=0.0, roll=0.0)


def measure_frontalization(
    outputs: Float[Tensor, " n 3 s s"],
    people: People,
    truth: People,
    judges: Judges,
    *,
    mean_face: Float[Tensor, " 3 s s"],
    inverted: Float[Tensor, " n 3 s s"] | None = None,
    ranked: int = RANKED,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Scores of `outputs`, made of `people`, against `truth` = `frontal(people)`.

    `mean_face`: what the generator draws from its mean latent. `inverted`: what inversion makes of the *frontal* pictures: the
    most that can be hoped for. `ranked`: how many of the people are looked for among look-alikes; 0 for none.
    """
    candidates = {
        "output": outputs,
        INPUT: people.images,
        MIRROR: (people.images + people.images.flip(-1)) / 2,
        MEAN_FACE: mean_face.expand_as(outputs),
    } | ({} if inverted is None else {INVERSION: inverted})
    read, on_truth = judges.factors(outputs), judges.factors(truth.images)
    return {
        "yaw": _yaw(read["yaw"], people, rounds),
        "yaw_of_truth_as_read": entry(median(on_truth["yaw"].abs(), rounds=rounds)),
        "pitch_kept": slope(read["pitch"], people.factors["pitch"], rounds=rounds),
        "head_distance": _head(candidates, truth, judges, rounds),
        "expression_kept": {
            name: slope(read[name], people.factors[name], rounds=rounds) for name in ("smile", "mouth_open", "eye_open")
        },
        "one_sided": _one_sided(read, people, rounds),
    } | (
        {"rank": _rank({k: v[:ranked] for k, v in candidates.items()}, truth.first(ranked), judges, rounds)}
        if ranked
        else {}
    )


def _yaw(read: Float[Tensor, " n"], people: People, rounds: int) -> dict[str, Score]:
    """Median absolute yaw of the outputs in degrees, by how far the inputs are turned."""
    bins = {"all": torch.ones(len(people), dtype=torch.bool)} | yaw_bins(people.factors["yaw"])
    return {name: entry(median(read[rows].abs(), rounds=rounds)) for name, rows in bins.items()}


def _head(candidates: Mapping[str, Tensor], truth: People, judges: Judges, rounds: int) -> dict[str, Any]:
    """Distance of the head to the true frontal view; wall and cloth are taken from the truth. And `output` less each other."""
    found = {}
    for name, images in candidates.items():
        found[name] = judges.distances(torch.where(truth.head, images, truth.images), truth.images)
    own = found["output"]
    score = low(own, found.get(INVERSION), mean_face=found[MEAN_FACE], rounds=rounds)
    others = {name: entry(mean(values, rounds=rounds)) for name, values in found.items() if name != "output"}
    less = {name: difference(own, values, rounds=rounds) for name, values in found.items() if name != "output"}
    return {"output": score, **others, "output_less": less}


def _rank(candidates: Mapping[str, Tensor], truth: People, judges: Judges, rounds: int) -> dict[str, Score]:
    """How often the true frontal view is more like an output than those of look-alikes are (rank-1)."""
    known = gallery(truth, judges)
    first = {name: found_first(images, known, judges) for name, images in candidates.items()}
    scores = {name: entry(mean(values, rounds=rounds)) for name, values in first.items() if name != "output"}
    return {"output": high(first["output"], first.get(INVERSION), rounds=rounds), **scores}


def _one_sided(read: Mapping[str, Tensor], people: People, rounds: int) -> dict[str, Any]:
    """What a mirror swaps: the side of the parting, and a single earring, among the people who have one.

    A model taught by mirrored targets cannot know a side: "kept" and "swapped" should be alike, or both gone.
    """
    f = people.factors
    parted = f["hair_part"].abs() > 0.3
    left, right = (f[f"earring_{side}"] > 0 for side in ("left", "right"))
    one = left ^ right
    seen_left, seen_right = (read[f"earring_{side}"] > 0 for side in ("left", "right"))
    kept = (seen_left == left) & (seen_right == right)
    swapped = (seen_left == right) & (seen_right == left)
    kinds = {"kept": kept, "swapped": swapped, "both": seen_left & seen_right, "none": ~seen_left & ~seen_right}
    found: dict[str, Any] = {"parting_kept": slope(read["hair_part"][parted], f["hair_part"][parted], rounds=rounds)}
    if one.any():
        found["single_earring"] = {name: entry(mean(v[one].float(), rounds=rounds)) for name, v in kinds.items()}
    return found
