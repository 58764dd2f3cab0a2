"""Runs of instruments: one by one, all of them side by side on a GPU, and from a run (or a small export of it) to a shipped file.

`python -m pspnb.recipes.instruments --out runs/instruments --device cuda --seconds 70` renders once, trains each
instrument in a process of its own and leaves `exports/NAME.safetensors`: fp16 weights with their history and where
they were made, small enough to carry; `ship_instrument(NAME, FILE)` makes the zoo's file of it later, on any machine.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pspnb.errors import PspnbError
from pspnb.recipes.ship import ZOO, half, ship
from pspnb.training.arrays import FacetsArrays, concat_arrays, load_arrays, save_arrays, several_views, split_arrays
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.instruments import INSTRUMENTS, InstrumentTrainer, architecture, instrument_config
from pspnb.training.journal import read_journal
from pspnb.training.lookalikes import lookalike_arrays, lookalike_test
from pspnb.training.loop import fit
from pspnb.training.reports import (
    factors_report,
    identity_report,
    lookalikes_report,
    parsing_report,
    perceptual_report,
)
from pspnb.world2 import RENDER_VERSION, SPLIT_SIZES

MODULE = "pspnb.recipes.instruments"
Preset = Literal["cpu", "gpu"]

TITLES = {
    "identity": "Face recognition on Facets (ArcFace margin): the R of the identity loss",
    "identity_eval": "Face recognition on Facets (CurricularFace margin), for measuring only",
    "parsing": "Labels of Facets images, 19 classes",
    "factors": "Factors of Facets images: pose, expression, light, accessories, identity",
    "perceptual": "Trunk of an LPIPS-form distance on Facets, for training",
    "perceptual_eval": "Another trunk of an LPIPS-form distance on Facets, for measuring only",
}


# ---- training ------------------------------------------------------------------------------------------------------


def training_arrays(
    *, n: int = SPLIT_SIZES["train"], people: int = SPLIT_SIZES["train"] // 4, device: str = "cpu"
) -> FacetsArrays:
    """What the instruments train on: the first `n` images of the train split, and 4 views each of `people` look-alikes.

    A GPU renders them anew, and more than the split's 50,000 if asked; a CPU reads the split's cache and renders the look-alikes.
    """
    own = split_arrays("train", 64, n=n, device=device)
    if not people:
        return own
    batch = 1024 if device.startswith("cuda") else 64
    return concat_arrays([own, lookalike_arrays(people, 4, device=device, batch=batch)])


def train_instrument(
    name: str,
    *,
    out: str | Path,
    resume: bool = False,
    steps: int | None = None,
    seed: int | None = None,
    seconds: float | None = None,
    preset: Preset | None = None,
    device: str | None = None,
    n_images: int | None = None,
    arrays: FacetsArrays | str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train one instrument of Facets in the folder `out`; returns the checkpoint. Resumable; SIGTERM saves and stops.

    `arrays`: what to train on, or a file of it (`save_arrays`); default: the train split (its first `n_images`), for the
    two recognition networks with as many look-alikes. `seconds`: a budget that replaces the preset's.
    """
    if name not in INSTRUMENTS:
        raise PspnbError(f"expected an instrument of {', '.join(INSTRUMENTS)}, got {name!r}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    wanted: dict[str, Any] = {"steps": steps, "seed": seed, "seconds": seconds}
    given = {key: value for key, value in wanted.items() if value is not None}
    config = replace(instrument_config(name, preset, device=device), **given)
    if isinstance(arrays, str | Path):
        arrays = load_arrays(arrays, device=device)
    if arrays is None:
        n = SPLIT_SIZES["train"] if n_images is None else n_images
        arrays = training_arrays(n=n, people=n // 4 if name.startswith("identity") else 0, device=device)
    trainer = InstrumentTrainer(config, arrays, device=device)
    every = 500 if trainer.device.type == "cpu" else 2000
    fit(
        trainer, Path(out), steps=config.steps, batch=config.batch, resume=resume, progress=progress,
        checkpoint_every=every, finished=trainer.finished,
    )  # fmt: skip
    return Path(out) / "checkpoint.pt"


def train_all_instruments(
    out: str | Path,
    *,
    device: str = "cuda",
    seconds_each: float | None = None,
    arrays: str | Path | None = None,
    names: Sequence[str] = INSTRUMENTS,
    at_once: int = 2,
    steps: int | None = None,
    images: int = SPLIT_SIZES["train"],
    people: int = SPLIT_SIZES["train"] // 4,
) -> dict[str, Path]:
    """Train `names` under `out`, `at_once` of them side by side, each in a process of its own; returns name -> export.

    `arrays`: file of `save_arrays`; default: `training_arrays` of `images` of the split and `people` look-alikes, rendered once to
    `out`/arrays.safetensors (16 kB an image); a GPU is worth 100,000 and 25,000. An instrument that
    fails costs only itself: its messages are in `out`/NAME/stderr.txt. Call it again to go on with what is not finished.
    """
    out = Path(out)
    if arrays is None:
        arrays = out / "arrays.safetensors"
        if not arrays.exists():
            save_arrays(arrays, training_arrays(n=images, people=people, device=device))
    waiting, exports = list(names), {}
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            name = waiting.pop(0)
            running[name] = _start(name, out, device=device, seconds=seconds_each, arrays=Path(arrays), steps=steps)
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                if process.returncode == 0:
                    exports[name] = out / "exports" / f"{name}.safetensors"
        time.sleep(0.1)
    return exports


def _start(
    name: str, out: Path, *, device: str, seconds: float | None, arrays: Path, steps: int | None
) -> subprocess.Popen[bytes]:
    """A process that trains one instrument and writes its export."""
    command = [sys.executable, "-m", MODULE, "--name", name, "--out", str(out), "--device", device]
    command += ["--arrays", str(arrays)]
    command += [] if seconds is None else ["--seconds", str(seconds)]
    command += [] if steps is None else ["--steps", str(steps)]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "stderr.txt", "ab") as messages:
        return subprocess.Popen(command, stdout=messages, stderr=messages)


# ---- export, report, shipping --------------------------------------------------------------------------------------


def export_instrument(run: str | Path, out: str | Path, *, points: int = 100) -> Path:
    """The weights of a run in fp16 in one safetensors file, with config, steps, hardware and a log of `points` lines."""
    state = load_checkpoint(Path(run) / "checkpoint.pt")
    records = read_journal(Path(run) / "log.jsonl")
    about = {k: state[k] for k in ("config", "made", "images", "people", "step", "seconds", "finished")}
    about["log"] = records[:: max(1, len(records) // points)]
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(half(state["network"]), out, metadata={"about": json.dumps(about)})
    return out


def read_run(run: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights in fp16 and what is known of a run: from its folder or from a file of `export_instrument`."""
    path = Path(run)
    if path.is_dir():
        state = load_checkpoint(path / "checkpoint.pt")
        return half(state["network"]), {k: v for k, v in state.items() if k not in ("network", "head", "optimizer")}
    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {})["about"]
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(about)  # noqa: SIM118
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise PspnbError(f"{path} is neither the folder of a run nor an exported instrument: {error}") from error


def load_run(name: str, run: str | Path) -> nn.Module:
    """The instrument of a run or export, in eval mode, as it will be shipped: from its card, weights rounded to float16."""
    from pspnb.models.zoo import build

    weights, _ = read_run(run)
    network = build(json.loads(json.dumps(architecture(name))))
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return network.eval()


def ship_instrument(name: str, run: str | Path, *, folder: str | Path = ZOO, note: str = "") -> Path:
    """An instrument of a run (or export) as a zoo file; on the card its errors on people it never saw and where it was made."""
    weights, about = read_run(run)
    metrics = {k: round(v, 5) for k, v in report(name, load_run(name, run)).items()}
    card = card_of(name, about, metrics=metrics) | ({"note": note} if note else {})
    return ship(f"world2/{name}", weights, card, folder=folder)


def card_of(name: str, about: Mapping[str, Any], *, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The card of an instrument, from what its run knows of itself (`read_run`)."""
    c = about["config"]
    return {
        "title": TITLES[name],
        "architecture": architecture(name),
        "metrics": dict(metrics),
        "world": RENDER_VERSION,
        "data": f"Facets, train split: {about['images']} images of {about['people']} people",
        "seed": c["seed"],
        "steps": about["step"],
        "batch": c["batch"],
        "hours": round(about["seconds"] / 3600, 4),
        **{k: v for k, v in about["made"].items() if v != "unknown"},
        "config": c,
    }


def report(name: str, network: Any, *, data: FacetsArrays | None = None) -> dict[str, float]:
    """The instrument's numbers on `data`; default: test people, for identities 300 people with 6 views and look-alikes."""
    if name in ("identity", "identity_eval"):
        if data is not None:
            return identity_report(network, data)
        everyone = identity_report(network, several_views("test", 300, 6, 64, seed=900))
        return everyone | lookalikes_report(network, lookalike_test())
    data = data or split_arrays("test", 64)
    if name == "parsing":
        return parsing_report(network, data)
    return factors_report(network, data) if name == "factors" else perceptual_report(network, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: all instruments, or with --name one of them in this process."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--device", default="cuda", help="cpu or cuda")
    parser.add_argument("--seconds", type=float, default=None, help="of each instrument (default: its preset's)")
    parser.add_argument("--steps", type=int, default=None, help="at most so many steps (default: its preset's)")
    parser.add_argument("--arrays", type=Path, default=None, help="file of save_arrays (default: rendered now)")
    parser.add_argument("--name", choices=INSTRUMENTS, default=None, help="only this one, in this process")
    parser.add_argument("--at-once", type=int, default=2, help="how many train side by side")
    parser.add_argument("--images", type=int, default=SPLIT_SIZES["train"], help="rendered images of the train split")
    parser.add_argument("--people", type=int, default=SPLIT_SIZES["train"] // 4, help="look-alikes, 4 images each")
    o = parser.parse_args(arguments)
    if o.name is None:
        made = train_all_instruments(
            o.out, device=o.device, seconds_each=o.seconds, arrays=o.arrays, at_once=o.at_once, steps=o.steps,
            images=o.images, people=o.people,
        )  # fmt: skip
        print("\n".join(map(str, made.values())))
        return 0 if len(made) == len(INSTRUMENTS) else 1
    # Convolutions of one shape all along: the fastest kernels are worth a search, and TF32 is exact enough for the margins.
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        run = train_instrument(
            o.name, out=o.out / o.name, resume=True, device=o.device, seconds=o.seconds, arrays=o.arrays,
            steps=o.steps, progress=False,
        )  # fmt: skip
        print(export_instrument(run.parent, o.out / "exports" / f"{o.name}.safetensors"))
    except PspnbError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
