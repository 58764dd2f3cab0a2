"""Judging a generator of Facets by its answer key: every row of the gate with its interval, tables and sheets for the book.

`python -m pspnb.measure.evaluate_generator --out book/results/world2` writes metrics.json and the pictures beside it, and says
of each row whether it passes. Chapters: "StyleGAN2 from the inside", "The world of Facets".
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.files.atomic import write_bytes
from pspnb.files.pictures import grid, write_png
from pspnb.files.provenance import stamp
from pspnb.measure.answer_key import draw_z, synthesize
from pspnb.measure.factor_errors import factor_errors
from pspnb.measure.gate import GATE, GATE_SEED, SHIPPED, Limit, Verdict, judge, measure
from pspnb.measure.intervals import ROUNDS, Measured, finite, mean
from pspnb.measure.pairs import Instruments, Pairs, measure_pairs, shipped_instruments
from pspnb.measure.populations import distances, nearest_training_images
from pspnb.measure.rows import class_iou_of, seen
from pspnb.measure.sheets import write_sheets
from pspnb.measure.styles import style_shares
from pspnb.models.load import load_generator
from pspnb.nn.stylegan2 import Generator
from pspnb.training.arrays import FacetsArrays, split_arrays, to_unit
from pspnb.world2 import CLASSES, Style

RESULTS = "book/results/world2"


def evaluate_generator(
    generator: Generator,
    instruments: Instruments,
    *,
    out: Path,
    n: int = 10_000,
    seed: int = GATE_SEED,
    device: str | torch.device = "cpu",
    rounds: int = ROUNDS,
    train: FacetsArrays | None = None,
    style: Style = "photo",
    progress: bool = False,
) -> dict[str, Any]:
    """Judge a generator on `n` fresh z and write `out`/metrics.json and the sheets; returns what metrics.json holds.

    Generator and instruments lie on `device`. `style`: in which the teacher drew. `train`: the images it was trained on, if it was
    trained on images: the nearest one to each of 16 samples is shown in nearest.png. Raises PspnbError for a generator without
    an answer key.
    """
    if n < 16:
        raise PspnbError(f"expected at least 16 z to judge a generator by, got {n}")
    started, made = time.monotonic(), stamp(seed=seed, device=str(device))
    z = draw_z(generator, n, seed=seed)
    pairs = measure_pairs(generator, instruments, z, device=device, style=style, progress=progress)
    rows = measure(pairs, rounds=rounds)
    result: dict[str, Any] = {
        "gate": gate_rows(rows),
        "reported": {name: m._asdict() for name, m in reported(pairs, rounds=rounds).items()},
        "classes": class_table(pairs),
        "factor_errors": factor_errors(pairs, rounds=rounds),
        "spectrum": spectrum(pairs),
        **{features: distances(pairs, features) for features in ("factors", "identity_eval")},
        "styles": style_shares(generator, instruments.factors, seed=seed),
    }
    write_sheets(generator, z, out, style=style, device=device)
    if train is not None:
        write_nearest(generator, z, train, out, device=device)
    result["provenance"] = made | {"samples": n, "seconds": round(time.monotonic() - started, 1)}
    write_bytes(out / "metrics.json", (json.dumps(finite(result), indent=1, allow_nan=False) + "\n").encode())
    return result


def gate_rows(rows: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Each line of GATE with what was measured: row, value, lo, hi, n, limit, sense, unit, passed."""
    return [
        {**limit._asdict(), **rows[limit.row]._asdict(), "passed": verdict.passed}
        for limit, verdict in zip(GATE, judge(rows), strict=True)
    ]


def reported(pairs: Pairs, *, rounds: int = ROUNDS) -> dict[str, Measured]:
    """Numbers without a limit: the other distances, wall and cloth, identity, and what the instruments see on the renders."""
    found = {name: mean(values, rounds=rounds) for name, values in pairs.difference.items()}
    same = (pairs.generated["identity_eval"] * pairs.rendered["identity_eval"]).sum(dim=1)
    found["identity_similarity"] = mean(same, rounds=rounds)
    for name in ("glasses", "hat"):
        for where, worn in (("worn", True), ("not", False)):
            found[f"{name}_where_{where}_on_renders"] = seen(name, worn=worn, rendered=True)(pairs, rounds)
    return found


def class_table(pairs: Pairs) -> dict[str, dict[str, float]]:
    """Class -> IoU of `parsing` and its share of the pixels, on generated images and on renders."""
    columns = {"generated": pairs.generated, "rendered": pairs.rendered}
    found: dict[str, Tensor] = {f"iou_{name}": class_iou_of(c) for name, c in columns.items()}
    found |= {f"share_{name}": c["area"].double().sum(0) / c["area"].double().sum() for name, c in columns.items()}
    return {name: {k: float(v[i]) for k, v in found.items()} for i, name in enumerate(CLASSES)}


def spectrum(pairs: Pairs) -> dict[str, list[float]]:
    """Mean power at 0, 1, 2, ... cycles per image."""
    columns = {"generated": pairs.generated, "rendered": pairs.rendered}
    return {name: c["spectrum"].double().mean(dim=0).tolist() for name, c in columns.items()}


@torch.no_grad()
def write_nearest(
    generator: Generator, z: Tensor, train: FacetsArrays, out: Path, *, device: str | torch.device = "cpu"
) -> None:
    """nearest.png: 16 samples, each followed by the training image nearest to it."""
    shown = synthesize(generator, generator.map(z[:16].to(device))).cpu()
    near = to_unit(train.images[nearest_training_images(shown, train)])
    write_png(out / "nearest.png", grid(torch.stack([shown, near], dim=1).flatten(0, 1), columns=8))


def card_metrics(result: Mapping[str, Any]) -> dict[str, float | int]:
    """The numbers of a report that belong on the generator's card: the gate, and how it stands among real images."""
    values = {row["row"]: row["value"] for row in result["gate"]}
    gate = {name: round(value, 5) for name, value in values.items() if value is not None and math.isfinite(value)}
    wanted = ("frechet", "frechet_floor", "precision", "recall")
    sets = {f"{name}_{net}": round(result[net][name], 5) for net in ("factors", "identity_eval") for name in wanted}
    passed = sum(row["passed"] for row in result["gate"])
    return {"gate_passed": passed, "gate_lines": len(result["gate"])} | gate | sets


def line(limit: Limit, verdict: Verdict, measured: Mapping[str, Any]) -> str:
    """One line of the gate, for people."""
    interval = "" if measured["lo"] is None else f"[{measured['lo']:.4g}, {measured['hi']:.4g}]"
    mark = "PASS" if verdict.passed else "MISS"
    return (
        f"{mark} {limit.row:<24} {verdict.value:8.4f} {interval:<19} {limit.sense} {limit.limit:g} "
        f"({limit.unit}; n = {measured['n']})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 whether the gate passes or not, 2 for what cannot be judged."""
    given = _parser().parse_args(arguments)
    try:
        device = pick_device(given.device)
        generator = load_generator(given.generator, device=device)
        train = split_arrays("train", generator.size, n=given.nearest) if given.nearest else None
        instruments = shipped_instruments(device=device, lpips_trunk=given.lpips)
        result = evaluate_generator(
            generator,
            instruments,
            out=given.out,
            n=given.n,
            seed=given.seed,
            device=device,
            train=train,
            style=given.style,
            progress=True,
        )
    except (ValueError, OSError) as error:
        print(f"pspnb.measure.evaluate_generator: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for limit, row in zip(GATE, result["gate"], strict=True):
        print(line(limit, Verdict(limit.row, row["value"], limit.limit, row["passed"]), row))
    passed = sum(row["passed"] for row in result["gate"])
    print(f"{passed} of {len(GATE)} pass; {given.n} z, {result['provenance']['seconds']:g} s -> {given.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pspnb.measure.evaluate_generator", description="Judge a generator of Facets by its answer key."
    )
    parser.add_argument("--out", type=Path, default=Path(RESULTS), help="folder of metrics.json and the sheets")
    parser.add_argument("--n", type=int, default=10_000, help="how many z (default 10000)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument(
        "--generator", default=SHIPPED, help=f"shipped name, file, or folder of a run (default {SHIPPED})"
    )
    parser.add_argument(
        "--style", choices=get_args(Style), default="photo", help="in which the teacher drew (default photo)"
    )
    parser.add_argument("--seed", type=int, default=GATE_SEED, help="of the z")
    parser.add_argument("--lpips", type=Path, help="file of AlexNet's weights: the published LPIPS is reported too")
    parser.add_argument(
        "--nearest", type=int, default=0, help="show the nearest of so many training images (default 0)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
