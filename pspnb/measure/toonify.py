"""Toonify against the true cartoon: the same factors, drawn by the renderer's other style.

The published README shows pictures of a toonified generator and no number. Here every photograph has its cartoon, so it can be
asked whether the right person is found among look-alikes, and which factors came along. The judges were trained on photographs;
what they say of the true cartoons stands beside what they say of the outputs. Chapter: "Another domain".
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.intervals import ROUNDS, mean
from pspnb.measure.judges import Judges
from pspnb.measure.label_maps import measure_labels
from pspnb.measure.lookalikes import RANKED, found_first, gallery
from pspnb.measure.people import People
from pspnb.measure.scores import Score, difference, entry, high, slope

CONTINUOUS = ("yaw", "pitch", "roll", "smile", "mouth_open", "eye_open", "skin_tone", "light_azimuth")
CHOICES = ("hair_style", "hair_colour", "beard", "glasses", "hat", "background_pattern", "cloth_pattern")


def measure_toonify(
    outputs: Float[Tensor, " n 3 s s"],
    people: People,
    judges: Judges,
    *,
    mean_face: Float[Tensor, " 3 s s"],
    inverted: Float[Tensor, " n 3 s s"] | None = None,
    ranked: int = RANKED,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Scores of `outputs`, made of photographs of `people`, against the true cartoons.

    `mean_face`: what the cartoon generator draws from its mean latent. `inverted`: what inversion makes of the photographs, on
    the generator of photographs: the most that can be hoped for. `ranked`: how many people are looked for; 0 for none.
    """
    truth = people.drawn_as("cartoon")
    candidates = {"output": outputs, "photograph": people.images, "mean face": mean_face.expand_as(outputs)}
    found = {
        "distance": _distance(candidates, truth, judges, rounds),
        "nearer_to_the_cartoon": _domain(outputs, people, truth, judges, rounds),
        "factors_kept": _kept(judges.factors(outputs), judges.factors(truth.images), people, rounds),
        "labels": measure_labels(outputs, truth, judges, rounds=rounds),
    }
    return found | ({"rank": _rank(outputs, inverted, people, truth, judges, ranked, rounds)} if ranked else {})


def _distance(candidates: Mapping[str, Tensor], truth: People, judges: Judges, rounds: int) -> dict[str, Any]:
    """Distance to the true cartoon, of the whole picture and of the head alone, and `output` less each other."""
    found: dict[str, Any] = {}
    for part in ("whole", "head"):
        columns = {}
        for name, images in candidates.items():
            shown = images if part == "whole" else torch.where(truth.head, images, truth.images)
            columns[name] = judges.distances(shown, truth.images)
        others = {name: values for name, values in columns.items() if name != "output"}
        found[part] = {name: entry(mean(values, rounds=rounds)) for name, values in columns.items()}
        found[part]["output_less"] = {n: difference(columns["output"], v, rounds=rounds) for n, v in others.items()}
    return found


def _domain(outputs: Tensor, people: People, truth: People, judges: Judges, rounds: int) -> dict[str, Score]:
    """Share of the outputs that are nearer to the true cartoon than to the photograph that they were made of: a photograph and
    its cartoon are alike, far more so than two people, so that distances alone do not say in which domain an output is."""
    cartoon, photograph = (judges.distances(outputs, x.images) for x in (truth, people))
    square, of_photograph = ((outputs - x.images).square().mean(dim=(1, 2, 3)) for x in (truth, people))
    return {
        "distance": high((cartoon < photograph).float(), rounds=rounds),
        "mse": high((square < of_photograph).float(), rounds=rounds),
    }


def _kept(
    read: Mapping[str, Tensor], on_truth: Mapping[str, Tensor], people: People, rounds: int
) -> dict[str, dict[str, Score]]:
    """Of each factor what the instrument reads in the outputs, and in the true cartoons: a slope of 1, or how often it is right."""
    found: dict[str, dict[str, Score]] = {}
    for name in CONTINUOUS:
        true = people.factors[name]
        found[name] = {
            "output": slope(read[name], true, rounds=rounds),
            "true cartoon": slope(on_truth[name], true, rounds=rounds),
        }
    for name in CHOICES:
        right, possible = ((r[name].long() == people.factors[name]).float() for r in (read, on_truth))
        found[name] = {"output": high(right, rounds=rounds), "true cartoon": high(possible, rounds=rounds)}
    return found


def _rank(
    outputs: Tensor, inverted: Tensor | None, people: People, truth: People, judges: Judges, ranked: int, rounds: int
) -> dict[str, Score]:
    """How often the right person is the most similar among look-alikes: among true cartoons, as inversion is among photographs;
    among photographs, where the true cartoons say how far the judge follows from one domain to the other."""
    photographs = gallery(people.first(ranked), judges)
    cartoons = gallery(truth.first(ranked), judges, style="cartoon")
    reached = None if inverted is None else found_first(inverted[:ranked], photographs, judges)
    across = found_first(truth.images[:ranked], photographs, judges)
    return {
        "output": high(found_first(outputs[:ranked], cartoons, judges), reached, rounds=rounds),
        "among photographs": high(found_first(outputs[:ranked], photographs, judges), rounds=rounds),
        "true cartoon among photographs": high(across, rounds=rounds),
        "photograph among cartoons": high(found_first(people.images[:ranked], cartoons, judges), rounds=rounds),
    }
