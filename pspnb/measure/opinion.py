"""A mean-opinion-score study: blind pictures to rate from 1 to 5, the raters' files, and what they say with intervals.

The super-resolution paper had 40 raters score 240 pictures "from 1 to 5", with nearest-neighbour enlargement as the example of 1
and originals as that of 5, and compared methods by the Mann-Whitney U test. That test takes every score for independent, which
scores of one rater, or of one picture, are not: here intervals resample raters and pictures, and U stands beside them.
`pspnb.show.opinion` has the page and the widget. Chapter: "Super-resolution".
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import mannwhitneyu
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.pictures import to_levels, write_png
from pspnb.files.reading import read_json
from pspnb.measure.intervals import ROUNDS, Measured, finite
from pspnb.measure.scores import entry

LOWEST, HIGHEST = 1, 5
PICTURES, EXAMPLES = 240, 20
"""Pictures to rate in all, and examples of the lowest and of the highest score."""
QUESTION = "How good is this picture of a face?"
_LONGEST = 200  # characters of a rater's name


@dataclass(frozen=True)
class Item:
    """One picture to rate: which method made it, of which of the n originals."""

    method: str
    image: int


@dataclass(frozen=True)
class Study:
    """What was asked. `name` tells studies apart; `items`: id -> what the raters must not see."""

    name: str
    items: Mapping[str, Item]

    @property
    def methods(self) -> list[str]:
        return sorted({item.method for item in self.items.values()})


def make_study(
    folder: str | Path,
    pictures: Mapping[str, Float[Tensor, " n 3 s s"]],
    *,
    worst: Float[Tensor, " k 3 s s"],
    best: Float[Tensor, " j 3 s s"],
    question: str = QUESTION,
    seed: int = 0,
) -> Study:
    """Writes `items/`, `examples/`, `study.json` (what a page shows) and `key.json` (which is for the analysis alone).

    `pictures`: method -> what it made of the same n originals, in [-1, 1]. `worst`, `best`: examples of 1 and of 5, of people who
    are not rated. Names and order of the files tell nothing. ValueError for methods of different lengths, or fewer than two.
    """
    counts = {name: len(images) for name, images in pictures.items()}
    if len(counts) < 2 or len(set(counts.values())) != 1 or not min(counts.values()):
        raise ValueError(f"expected two or more methods with one picture of each of the same people, got {counts}")
    folder, draw = Path(folder), random.Random(seed)
    places = [Item(method, i) for method in pictures for i in range(counts[method])]
    draw.shuffle(places)
    ids = [f"{number:08x}" for number in draw.sample(range(1 << 32), len(places))]
    key = dict(zip(ids, places, strict=True))
    for name, item in key.items():
        _write(folder / "items" / f"{name}.png", pictures[item.method][item.image])
    examples = {}
    for score, images in ((LOWEST, worst), (HIGHEST, best)):
        examples[score] = [f"examples/{score}-{i:02d}.png" for i in range(len(images))]
        for path, image in zip(examples[score], images, strict=True):
            _write(folder / path, image)
    study = Study(_name(key), key)
    shown = {"study": study.name, "question": question, "items": sorted(ids), "examples": examples}
    write_json(folder / "study.json", shown)
    write_json(folder / "key.json", {"study": study.name, "items": {k: vars(v) for k, v in key.items()}})
    return study


def _write(path: Path, image: Float[Tensor, " 3 s s"]) -> None:
    write_png(path, to_levels(image).permute(1, 2, 0).cpu().numpy())


def _name(key: Mapping[str, Item]) -> str:
    text = json.dumps(sorted((name, item.method, item.image) for name, item in key.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_study(folder: str | Path) -> Study:
    """The key that `make_study` wrote. PspnbError where it is missing or damaged."""
    path = Path(folder) / "key.json"
    value = read_json(path)
    try:
        items = {str(k): Item(str(v["method"]), int(v["image"])) for k, v in value["items"].items()}
        study = Study(str(value["study"]), items)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PspnbError(f"{path}: expected the key of a study, this is something else ({error})") from error
    if study.name != _name(items):
        raise PspnbError(f"{path}: expected the key as it was written, it has been changed since")
    return study


# ---- what raters say ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratings:
    """Scores of one rater: id of a picture -> 1 to 5. `simulated`: no person said this."""

    rater: str
    scores: Mapping[str, int]
    simulated: bool = False


def read_ratings(path: str | Path, study: Study) -> Ratings:
    """The file that page and widget save. PspnbError for any other file, of another study, or with scores that are none."""
    value = read_json(path)
    if value.get("study") != study.name:
        raise PspnbError(
            f"{path}: expected scores of the study {study.name}, these are of {value.get('study', 'no study')}"
        )
    rater, scores = value.get("rater"), value.get("scores")
    if not isinstance(rater, str) or not 0 < len(rater) <= _LONGEST or not isinstance(scores, dict):
        raise PspnbError(f"{path}: expected a rater's name and scores, this file was changed or cut short")
    for name, score in scores.items():
        if name not in study.items:
            raise PspnbError(f"{path}: expected scores of the study's pictures, got one of {name!r}")
        if type(score) is not int or not LOWEST <= score <= HIGHEST:
            raise PspnbError(f"{path}: expected scores from {LOWEST} to {HIGHEST}, got {score!r} for {name}")
    return Ratings(rater, scores, bool(value.get("simulated", False)))


def write_ratings(path: str | Path, study: Study, ratings: Ratings) -> None:
    """A rater's file, whole or not at all."""
    about = {"study": study.name, "rater": ratings.rater, "simulated": ratings.simulated}
    write_json(path, about | {"scores": dict(ratings.scores)})


def simulated_raters(study: Study, quality: Mapping[str, float], n: int, *, seed: int = 0) -> list[Ratings]:
    """`n` made-up raters, to try a study before people are asked: a method's quality, a picture's, a rater's mood, and noise."""
    draw = random.Random(seed)
    pictures = {i: draw.gauss(0, 0.5) for i in sorted({item.image for item in study.items.values()})}
    out = []
    for k in range(n):
        mood = draw.gauss(0, 0.5)
        scores = {}
        for name, item in sorted(study.items.items()):
            felt = quality[item.method] + pictures[item.image] + mood + draw.gauss(0, 0.7)
            scores[name] = min(max(round(felt), LOWEST), HIGHEST)
        out.append(Ratings(f"simulated {k + 1}", scores, simulated=True))
    return out


# ---- the table ---------------------------------------------------------------------------------------------------------


def opinions(study: Study, ratings: Sequence[Ratings], *, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Any]:
    """Mean opinion score of each method and the difference of each pair, with 95 % intervals over raters and pictures, and the
    p-value of the two-sided Mann-Whitney U test beside each difference, as the paper has it.

    Missing scores are left out. "unvaried": raters who gave one score to everything. PspnbError for two files of one rater, for
    made-up raters among people, and where a method has no score.
    """
    names = [r.rater for r in ratings]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise PspnbError(f"expected one file a rater, got several of {', '.join(doubled)}")
    if len({r.simulated for r in ratings}) > 1:
        raise PspnbError("expected raters who are people, or made-up ones; a table never holds both")
    table = _table(study, ratings)
    given = ~table.isnan()
    if not ratings or not bool(given.any(dim=0).any(dim=0).all()):
        raise PspnbError("expected at least one score of every method")
    draws = _resampled(table, rounds, seed)
    value = table.nanmean(dim=(0, 1))
    n = given.sum(dim=(0, 1)).tolist()
    methods = study.methods
    means = {name: _entry(float(value[k]), draws[:, k], n[k]) for k, name in enumerate(methods)}
    pairs = {}
    for a, b in combinations(range(len(methods)), 2):
        score = _entry(float(value[a] - value[b]), draws[:, a] - draws[:, b], n[a] + n[b])
        sides = [table[..., k][given[..., k]].numpy() for k in (a, b)]
        pairs[f"{methods[a]} - {methods[b]}"] = score | {"mann_whitney_p": float(mannwhitneyu(*sides).pvalue)}
    found = {
        "study": study.name,
        "simulated": bool(ratings[0].simulated),
        "raters": len(ratings),
        "images": table.shape[1],
        "methods": means,
        "differences": pairs,
        "unvaried": [r.rater for r in ratings if len(set(r.scores.values())) < 2],
    }
    return finite(found)


def _table(study: Study, ratings: Sequence[Ratings]) -> Float[Tensor, " r i m"]:
    """Scores of each rater, original and method; nan where there is none."""
    column = {name: k for k, name in enumerate(study.methods)}
    row = {image: k for k, image in enumerate(sorted({item.image for item in study.items.values()}))}
    out = torch.full((len(ratings), len(row), len(column)), float("nan"), dtype=torch.float64)
    for k, rater in enumerate(ratings):
        for name, score in rater.scores.items():
            item = study.items[name]
            out[k, row[item.image], column[item.method]] = score
    return out


def _resampled(table: Float[Tensor, " r i m"], rounds: int, seed: int) -> Float[Tensor, " b m"]:
    """Means over `rounds` draws of raters and of originals, both with replacement."""
    generator = torch.Generator().manual_seed(seed)
    given, scores = (~table.isnan()).double(), table.nan_to_num()
    weights = []
    for size in table.shape[:2]:
        drawn = torch.randint(size, (rounds, size), generator=generator)
        weights.append(
            torch.zeros(rounds, size, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
        )
    of_raters, of_images = weights
    total, count = (
        torch.einsum("bi,bim->bm", of_images, torch.einsum("br,rim->bim", of_raters, x)) for x in (scores, given)
    )
    return total / count


def _entry(value: float, draws: Float[Tensor, " b"], n: int) -> dict[str, Any]:
    if not len(draws):
        return entry(Measured(value, None, None, n))
    edges = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.nanquantile(draws, edges).tolist()
    return entry(Measured(value, low, high, n))


def opinion_table(found: Mapping[str, Any]) -> str:
    """The scores as a table in Markdown, with a line that says who was asked."""
    who = "made-up raters: nobody was asked" if found["simulated"] else "raters"
    lines = [
        f"{found['raters']} {who}, {found['images']} people",
        "",
        "| method | MOS | 95 % interval |",
        "|---|---|---|",
    ]
    for name, score in sorted(found["methods"].items(), key=lambda item: -item[1]["value"]):
        lines.append(f"| {name} | {score['value']:.2f} | {score['lo']:.2f} to {score['hi']:.2f} |")
    lines += ["", "| difference | MOS | 95 % interval | Mann-Whitney U, p |", "|---|---|---|---|"]
    for name, score in found["differences"].items():
        row = f"{score['value']:+.2f} | {score['lo']:+.2f} to {score['hi']:+.2f} | {score['mann_whitney_p']:.2g}"
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines)
