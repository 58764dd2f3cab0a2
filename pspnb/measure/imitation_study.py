"""What helps a generator to imitate its world: the same short training with one thing changed at a time.

`python -m pspnb.measure.imitation_study` trains each row from the same random start on the same lessons (resumable, some ten
minutes a row on one core) and writes book/results/imitation_study. Chapter: "StyleGAN2 from the inside".
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.provenance import stamp
from pspnb.measure.gate import GATE_SEED, measure
from pspnb.measure.pairs import Instruments, measure_pairs, shipped_instruments
from pspnb.models.load import load_generator
from pspnb.recipes.generators import fit_imitation, teach
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.imitation import ImitationConfig
from pspnb.world2.prior import draw_z

# Without the critic: what is compared is how fast the truth is learned.
CONFIG = replace(ImitationConfig(), steps=1500, n_images=40_000, adversarial_from=1.0, decay_from=0.3, seed=5)
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "all of it": {},
    "Adam instead of Muon": {"optimizer": "adam"},
    "w of 256 numbers": {"style_dim": 256},
    "w of 128 numbers": {"style_dim": 128},
    "details count like the rest": {"detail": 1.0},
    "without the class head": {"label_weight": 0.0},
}
SHOWN = (
    "perceptual_whole",
    "perceptual_head",
    "mse_head",
    "parsing",
    "yaw_difference",
    "background_pattern",
    "cloth_pattern",
)


def imitation_study(
    runs: str | Path,
    out: str | Path,
    *,
    config: ImitationConfig = CONFIG,
    changes: Mapping[str, Mapping[str, Any]] = CHANGES,
    n: int = 1000,
    instruments: Instruments | None = None,
) -> dict[str, Any]:
    """Train every row of `changes` below `runs` and judge it on `n` fresh z; writes and returns metrics.json of `out`.

    A row has `value`, `lo` and `hi` (95 %, over z: the training is one run) of each of SHOWN. Rows that are trained are not trained
    again. Raises PspnbError for runs of another configuration.
    """
    runs, out = Path(runs), Path(out)
    lessons, judges = teach(config, runs, "cpu"), instruments or shipped_instruments(device="cpu")
    made, rows = stamp(seed=config.seed), {}
    for name, change in changes.items():
        run = fit_imitation(
            replace(config, **change), out=runs / name.replace(" ", "_"), resume=True, device="cpu", lessons=lessons
        )
        if load_checkpoint(run)["step"] < config.steps:
            raise PspnbError(f"{name}: stopped before its last step; run the same again to go on")
        pairs = measure_pairs(
            load_generator(run), judges, draw_z(n, seed=GATE_SEED), device="cpu", mixtures=min(100, n // 2)
        )
        found = measure(pairs)
        rows[name] = {row: found[row]._asdict() for row in SHOWN}
        result = {"rows": rows, "images": config.steps * config.batch, "z": n, "provenance": made}
        write_json(out / "metrics.json", result)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: all rows, or the first `--rows` of them."""
    parser = argparse.ArgumentParser(
        prog="python -m pspnb.measure.imitation_study", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/imitation_study"), help="folder of the trainings")
    parser.add_argument("--out", type=Path, default=Path("book/results/imitation_study"), help="folder of metrics.json")
    parser.add_argument(
        "--rows", type=int, default=len(CHANGES), help="only so many rows, from the first (default: all)"
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile (needs a C++ compiler)")
    given = parser.parse_args(arguments)
    if not 1 <= given.rows <= len(CHANGES):
        parser.error(f"expected --rows of 1 to {len(CHANGES)}, got {given.rows}")
    changes = dict(list(CHANGES.items())[: given.rows])
    imitation_study(given.runs, given.out, config=replace(CONFIG, compile=given.compile), changes=changes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
