"""Asking people: a page that works from a folder without a server, and a widget for notebooks. Both save a rater's file.

    study = make_study("mos", *pictures); write_page("mos")       # then send the folder, without key.json
    opinions(read_study("mos"), [read_ratings(f, study) for f in files])

See `pspnb.measure.opinion`. Chapter: "Super-resolution".
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import ipywidgets as w

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_text
from pspnb.files.reading import read_json
from pspnb.measure.opinion import HIGHEST, LOWEST, Ratings, read_ratings, read_study, write_ratings

_PAGE = Path(__file__).with_name("opinion.html")
_MARK = "/* STUDY */ null"


def write_page(folder: str | Path) -> Path:
    """`index.html` beside the pictures of a study. It asks no host for anything; the scores stay in the rater's browser until the
    rater saves them as a file. Leave `key.json` out of what raters get."""
    shown = _shown(folder)
    text = _PAGE.read_text(encoding="utf-8").replace(_MARK, json.dumps(shown).replace("<", "\\u003c"))
    path = Path(folder) / "index.html"
    write_text(path, text)
    return path


def _shown(folder: str | Path) -> dict[str, Any]:
    value = read_json(Path(folder) / "study.json")
    if not {"study", "question", "items", "examples"} <= set(value):
        raise PspnbError(f"{folder}: expected a study of make_study, study.json holds something else")
    return value


def opinion_widget(folder: str | Path, rater: str, *, width: int = 256) -> w.VBox:
    """Rate a study in a notebook, picture by picture. Every score is saved at once to `scores_RATER.json` in the folder; a rater
    who comes back goes on. The order is the rater's own."""
    folder, study, shown = Path(folder), read_study(folder), _shown(folder)
    path = folder / f"scores_{''.join(c if c.isalnum() else '_' for c in rater)}.json"
    scores = dict(read_ratings(path, study).scores) if path.exists() else {}
    order = list(shown["items"])
    random.Random(rater).shuffle(order)
    picture = w.Image(format="png", width=width, height=width, layout=w.Layout(width=f"{width}px"))
    said, done = w.HTML(), w.IntProgress(0, 0, len(order))
    buttons = [w.Button(description=_words(score)) for score in range(LOWEST, HIGHEST + 1)]

    def show() -> None:
        left = [name for name in order if name not in scores]
        done.value = len(order) - len(left)
        said.value = f"{shown['question']} {done.value + 1} of {len(order)}" if left else "All rated. Thank you."
        for button in buttons:
            button.disabled = not left
        if left:
            picture.value = (folder / "items" / f"{left[0]}.png").read_bytes()
            picture.alt = "the picture to rate"

    def rate(score: int) -> None:
        left = [name for name in order if name not in scores]
        if left:
            scores[left[0]] = score
            write_ratings(path, study, Ratings(rater, scores))
        show()

    for score, button in enumerate(buttons, start=LOWEST):
        button.on_click(lambda _, score=score: rate(score))
    show()
    return w.VBox([said, _examples(folder, shown, width // 4), picture, w.HBox(buttons), done])


def _words(score: int) -> str:
    return {LOWEST: f"{LOWEST} (bad)", HIGHEST: f"{HIGHEST} (excellent)"}.get(score, str(score))


def _examples(folder: Path, shown: dict[str, Any], width: int) -> w.Accordion:
    rows = []
    for paths in shown["examples"].values():
        tiles = [w.Image(value=(folder / p).read_bytes(), format="png", width=width, height=width) for p in paths]
        rows.append(w.HBox(tiles, layout=w.Layout(flex_flow="row wrap")))
    titles = [f"Examples of {_words(int(score))}" for score in shown["examples"]]
    return w.Accordion(rows, titles=titles)
