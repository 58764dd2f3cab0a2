"""pSp's Table 1 and what belongs to it: the rows, their numbers with intervals, and the paper's claims, decided.

`table1(out=...)` is `pspnb evaluate --table1 --out DIR`; it measures on the test identities of Facets, with instruments that
no encoder was trained on where the paper has such (identity). Figures 5, 6 and 14 are in `pspnb.show.table1`, the ablations
that the paper only mentions in `ablate_runs`. Chapter: "Ablations".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.checks import at_least, between, seed_in_range
from pspnb.errors import LoadError, PspnbError
from pspnb.facets import SPLIT_SIZES
from pspnb.files.atomic import write_atomically, write_json, write_text
from pspnb.files.progress import progress_bar
from pspnb.files.provenance import stamp
from pspnb.inversion.optimise import invert
from pspnb.measure.ablate_table import HYBRID, OPTIMISATION, PAPER, PSP_ROW, ROWS, W_ROW, markdown
from pspnb.measure.on_facets import facets_instruments, facets_views
from pspnb.measure.reconstruction import (
    Images,
    all_threads,
    compare_all,
    interval,
    intervals,
    paired,
    quotient,
    seconds_in_turns,
)
from pspnb.models import zoo
from pspnb.models.base import Translator
from pspnb.models.psp import PSP
from pspnb.recipes.scales import FACETS64

log = logging.getLogger(__name__)

STEPS: Mapping[str, int] = MappingProxyType({OPTIMISATION: 500, HYBRID: 100})
_SHOWN_CODES = 16  # optimised codes kept for pictures


@dataclass
class Measured:
    """Rows as they are measured: columns (n,) and reconstructions (n, 3, s, s) of each; codes of the optimised rows."""

    columns: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    codes: dict[str, Tensor] = field(default_factory=dict)


Draw = Callable[[Mapping[str, Any], Measured, Tensor, Path], None]
"""Pictures of a table: (what table1.json holds, what it was made of, the targets, the folder)."""


def table1(
    *,
    out: str | Path,
    n: int = 1000,
    n_optimise: int = 50,
    models: Sequence[str] | Mapping[str, PSP] | None = None,
    seed: int = 0,
    turns: int = 40,
    turns_optimise: int = 3,
    device: str = "cpu",
    progress: bool = True,
    draw: Draw | None = None,
) -> dict[str, Any]:
    """Measure the rows of Table 1 on the first `n` test images of Facets; write table1.json, table1.md, per_image.npz to `out`.

    `models`: names of shipped models, or loaded ones by name; default: those of `ROWS` that are shipped. What cannot be
    loaded is left out and said. Optimisation and hybrid take the first `n_optimise` images (0: neither row). Seconds are
    of `turns` images one by one (optimisers: `turns_optimise`). `draw` writes the pictures (`pspnb.show.table1.write_pictures`).
    Returns what table1.json holds. Raises PspnbError when there is no model, or when `out` cannot be written.
    """
    between(1, SPLIT_SIZES["test"], n=n)
    at_least(0, n_optimise=n_optimise)
    seed_in_range(seed)
    began = time.monotonic()
    loaded, left_out = _load(models, device)
    images, other_views = facets_views(n, seed=seed)
    judge, distance = facets_instruments(device)
    result, measured = table_of(
        loaded,
        images.to(device),
        judge=judge,
        distance=distance,
        n_optimise=n_optimise,
        seed=seed,
        turns=turns,
        turns_optimise=turns_optimise,
        progress=progress,
    )
    result["reference"] = reference(judge, images.to(device), other_views.to(device), measured, seed=seed)
    result["provenance"] = _provenance(loaded, left_out, seed=seed, device=device, seconds=time.monotonic() - began)
    out = Path(out)
    if draw is not None:
        draw(result, measured, images, out)
    _write_arrays(measured, out / "per_image.npz")
    write_text(out / "table1.md", markdown(result))
    write_json(out / "table1.json", result)  # last: it says that all is there
    return result


def table_of(
    models: Mapping[str, PSP],
    images: Float[Tensor, " n 3 s s"],
    *,
    judge: Images,
    distance: Callable[[Tensor, Tensor], Tensor],
    n_optimise: int = 0,
    seed: int = 0,
    turns: int = 40,
    turns_optimise: int = 3,
    steps: Mapping[str, int] = STEPS,
    progress: bool = False,
) -> tuple[dict[str, Any], Measured]:
    """The numbers of the table for given models and images: ({"rows", "paired", "n", "paper"}, what they were made of)."""
    measured = Measured()
    bar = progress_bar(models.items(), desc="encoders", wanted=progress)
    draw: dict[str, Images] = {name: encoder_row(model) for name, model in bar}
    for name in draw:
        measure_row(measured, name, draw[name], images, judge, distance)
    psp = models.get(PSP_ROW, next(iter(models.values())))
    starts: dict[str, PSP | None] = {OPTIMISATION: None} | ({HYBRID: psp} if PSP_ROW in models else {})
    for name, start in progress_bar(starts.items() if n_optimise else (), desc="optimisers", wanted=progress):
        draw[name] = _optimiser(psp, distance, start=start, steps=steps[name], keep=measured.codes.setdefault)
        measure_row(measured, name, draw[name], images[:n_optimise], judge, distance)
    counts = {name: turns_optimise if name in starts else turns for name in draw}
    time_rows(measured, draw, images, counts)
    references = [name for name in (PSP_ROW, W_ROW, OPTIMISATION) if name in draw]
    columns = measured.columns
    return {
        "rows": {name: intervals(columns[name], seed=seed) for name in columns},
        "n": len(images),
        "paired": {
            base: {name: paired(columns[name], columns[base], seed=seed) for name in columns if name != base}
            for base in references
        },
        "paper": {"about": PAPER["about"], "rows": dict(PAPER["rows"])},
    }, measured


def encoder_row(model: Translator) -> Images:
    """A model as what a row draws with."""

    def draw(images: Tensor) -> Tensor:
        with torch.no_grad():
            return model(images)

    return draw


def _optimiser(
    psp: PSP, distance: Callable[[Tensor, Tensor], Tensor], *, start: PSP | None, steps: int, keep: Callable[..., Any]
) -> Images:
    """Images to what `invert` finds for them. The first batch's codes are handed to `keep(name, codes)`."""
    name = OPTIMISATION if start is None else HYBRID

    def draw(images: Tensor) -> Tensor:
        with torch.no_grad():
            codes = None if start is None else start.encode(images)
        found = invert(psp.decoder, images, distance=distance, start=codes, steps=steps)
        keep(name, found.codes[:_SHOWN_CODES].cpu())
        return found.images

    return draw


def measure_row(
    measured: Measured, name: str, draw: Images, images: Tensor, judge: Images, distance: Callable[..., Tensor]
) -> None:
    """A row's columns and pictures into `measured`."""
    parts = list(images.split(50))
    outputs = [draw(part).clamp(-1, 1) for part in parts]
    measured.columns[name] = compare_all(
        zip(outputs, parts, strict=True),
        judge=judge,
        distance=distance,  # type: ignore[arg-type]
    )
    measured.outputs[name] = torch.cat(outputs).cpu()


def time_rows(measured: Measured, draw: Mapping[str, Images], images: Tensor, turns: Mapping[str, int]) -> None:
    """Seconds of every row into `measured`."""
    columns = {"seconds": 1} | ({} if images.is_cuda else {"seconds_all_threads": all_threads()})
    for column, threads in columns.items():
        for name, values in seconds_in_turns(draw, images, turns=turns, threads=threads).items():
            if len(values):
                measured.columns[name][column] = values


# ---- what is measured, and with what -------------------------------------------------------------------------------


@torch.no_grad()
def reference(
    judge: Images, images: Tensor, other_views: Tensor, measured: Measured, *, seed: int = 0
) -> dict[str, Any]:
    """What a similarity means here: that of two pictures of one person, that of two people, and each row over the first."""
    a, b = (torch.cat([judge(part).cpu() for part in x.split(100)]) for x in (images, other_views))
    same, different = torch.cosine_similarity(a, b), torch.cosine_similarity(a, b.roll(1, dims=0))
    return {
        "same_identity": interval(same, seed=seed),
        "different_identity": interval(different, seed=seed),
        "share_of_same_identity": {
            name: quotient(columns["similarity"], same, seed=seed) for name, columns in measured.columns.items()
        },
    }


def _load(models: Sequence[str] | Mapping[str, PSP] | None, device: str) -> tuple[dict[str, PSP], list[str]]:
    """Models by name, in the order of ROWS, and a line for each that is missing."""
    if isinstance(models, Mapping):
        return {name: model.to(device).eval() for name, model in models.items()}, []
    wanted = [name for name in ROWS if "/" in name] if models is None else list(models)
    loaded, left_out = {}, []
    for name in wanted:
        try:
            model = zoo.load_shipped(name, device=device)
        except LoadError as error:
            left_out.append(f"{name}: {error}" if name in zoo.available() else f"{name}: not shipped yet")
            log.warning("left out %s", left_out[-1])
            continue
        if not isinstance(model, PSP):
            raise PspnbError(f"expected a model that translates images, {name} is a {type(model).__name__}")
        loaded[name] = model.requires_grad_(False)
    if not loaded:
        raise PspnbError(f"expected at least one shipped encoder among {', '.join(wanted)}, there is none")
    return loaded, left_out


def _provenance(
    models: Mapping[str, PSP], left_out: list[str], *, seed: int, device: str, seconds: float
) -> dict[str, Any]:
    shipped = zoo.available()
    names = [name for name in (FACETS64.shipped("generator"), *models) if name in shipped]
    return {
        **stamp(seed=seed, device=device),
        "all_threads": all_threads(),
        "weights": {name: zoo.card(name)["sha256"] for name in names},
        "left_out": left_out,
        "seconds": round(seconds, 1),
    }


# ---- files ----------------------------------------------------------------------------------------------------------


def _write_arrays(measured: Measured, path: Path) -> None:
    """Every image's numbers ("row metric"), and the optimised codes of the first images ("codes row"), for the chapter."""
    arrays = {f"{row} {m}": v.numpy() for row, columns in measured.columns.items() for m, v in columns.items()}
    arrays |= {f"codes {row}": codes.half().numpy() for row, codes in measured.codes.items()}
    write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]
