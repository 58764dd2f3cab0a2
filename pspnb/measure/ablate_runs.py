"""The ablations that the paper only mentions, from the folders of their runs: curves, and numbers at equal steps.

A run's folder is named by its variant (`pspnb.recipes.variants.VARIANTS`), and by a seed where there are several: "psp",
"w", "largest_map", "psp-1". Chapter: "Ablations".
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.provenance import stamp
from pspnb.files.reading import read_json
from pspnb.measure.on_facets import facets_instruments, facets_views
from pspnb.measure.reconstruction import intervals, measure
from pspnb.models.base import Translator
from pspnb.models.load import load_translator
from pspnb.models.runs import RunFolder
from pspnb.recipes.encoders import TRAINING
from pspnb.recipes.scales import FACETS64
from pspnb.recipes.variants import VARIANTS
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.journal import read_journal


def ablation_rows(
    runs: str | Path,
    *,
    images: Tensor | None = None,
    judge: Any = None,
    distance: Any = None,
    seed: int = 0,
    kept: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every run below `runs` whose name says its variant, compared at the steps that all of them have.

    Returns {"steps": the last validation that all have, "rows": {name: row}, "left_out": [line]}. `kept` are rows of an
    earlier result; they stay where no run has their name. A row holds title, variant, number of weights, loss weights, `curve`
    (images seen, and each validation loss of the log), `at_equal_steps` (lowest value of each loss up to `steps`) and
    `last_quarter_gain`: the share by which the run's last quarter lowered the total. Totals of variants that drop a loss are
    not comparable with others; their parts are. With `images`, `judge` and `distance` a row also has `metrics` of its best
    encoder, as in Table 1, and `offset`: the mean length of each style's distance from the mean latent. Raises PspnbError
    when no run has a validation.
    """
    rows: dict[str, Any] = dict(kept or {})
    fresh, left_out = [], []
    for folder in sorted(path for path in Path(runs).iterdir() if path.is_dir()):
        variant = folder.name.split("-")[0]
        journal = read_journal(RunFolder(folder).log)
        records = [r for r in journal if "val_loss" in r]
        if variant not in VARIANTS or not records:
            left_out.append(
                f"{folder.name}: {'no validation yet' if variant in VARIANTS else 'no variant of this name'}"
            )
            continue
        batch = next(
            (r["images"] / r["step"] for r in journal if r.get("images")), TRAINING[FACETS64.name, "cpu"].batch
        )
        rows[folder.name] = _row(folder, variant, records, batch)
        fresh.append(folder.name)
    if not fresh:
        raise PspnbError(
            f"{runs}: expected runs in folders named {', '.join(VARIANTS)}, with validations in their logs"
        )
    steps = min(row["curve"]["step"][-1] for row in rows.values())
    for name, row in rows.items():
        row["at_equal_steps"] = _lowest(row["curve"], steps)
        if images is not None and name in fresh:
            model = load_translator(Path(runs) / name)
            row["metrics"] = intervals(measure(model, images, judge=judge, distance=distance), seed=seed)
            row["offset"] = _offsets(model, images)
    return {"steps": steps, "rows": rows, "left_out": left_out}


def write_ablations(runs: str | Path, out: str | Path, *, n: int = 500, seed: int = 0) -> dict[str, Any]:
    """`ablation_rows` as `out`/ablations.json, with its provenance; the best encoders measured on `n` test images of Facets.

    Rows that the file holds already stay, where no run has their name: several machines can add to one table.
    n = 0 leaves that out, which is right for runs of different lengths: their best encoders saw different numbers of images.
    """
    path = Path(out) / "ablations.json"
    before = read_json(path) if path.exists() else {"rows": {}}
    kept = before["rows"]
    for row in kept.values():
        row.setdefault("commit", before["provenance"]["commit"])
    judge, distance = facets_instruments() if n else (None, None)
    images = facets_views(n)[0] if n else None
    result = ablation_rows(runs, images=images, judge=judge, distance=distance, seed=seed, kept=kept)
    made = stamp(seed=seed)
    for row in result["rows"].values():
        row.setdefault("commit", made["commit"])
    result["provenance"] = {**made, "n": n}
    write_json(path, result)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m pspnb.measure.ablate_runs RUNS OUT [--n N]`."""
    parser = argparse.ArgumentParser(prog="python -m pspnb.measure.ablate_runs", description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of runs, each in a folder named by its variant")
    parser.add_argument("out", type=Path, help="folder for ablations.json")
    parser.add_argument("--n", type=int, default=500, help="test images on which best encoders are measured; 0: none")
    options = parser.parse_args(arguments)
    write_ablations(options.runs, options.out, n=options.n)


def _row(folder: Path, variant: str, records: list[dict[str, Any]], batch: float) -> dict[str, Any]:
    names = [name for name in records[0] if name.startswith("val_")]
    curve = {name: [r[name] for r in records] for name in ("step", *names)}
    row: dict[str, Any] = {"title": VARIANTS[variant].title, "variant": variant}
    if RunFolder(folder).begun():
        state = load_checkpoint(RunFolder(folder).to_use())
        about = state["identity"]
        row["seed"] = about["seed"]
        row["lambdas"] = {k.removeprefix("weight of "): v for k, v in about.items() if k.startswith("weight of ")}
        # BatchNorm's running statistics are no weights.
        names = [k for k in state["encoder"] if not k.endswith(("running_mean", "running_var", "num_batches_tracked"))]
        row["parameters"] = sum(state["encoder"][k].numel() for k in names)
    curve["images"] = [round(step * batch) for step in curve["step"]]
    last = [v for s, v in zip(curve["step"], curve["val_loss"], strict=True) if s <= 0.75 * curve["step"][-1]]
    gain = 1 - min(curve["val_loss"]) / min(last) if last else None
    return row | {"curve": curve, "last_quarter_gain": gain}


@torch.no_grad()
def _offsets(model: Translator, images: Float[Tensor, " b c h w"]) -> list[float]:
    codes = torch.cat([model.read(part)[0] for part in images.split(50)])
    return (codes - model.latent_avg).norm(dim=2).mean(dim=0).tolist()


def _lowest(curve: Mapping[str, list[Any]], steps: int) -> dict[str, float]:
    shown = [i for i, step in enumerate(curve["step"]) if step <= steps]
    return {name: min(values[i] for i in shown) for name, values in curve.items() if name.startswith("val_")}


if __name__ == "__main__":
    main()
