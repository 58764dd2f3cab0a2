"""All instruments, several side by side on one GPU, each in a process of its own, to exports that a small machine ships.

`python -m pspnb.shipping.all_instruments --out runs/instruments --device cuda --seconds 70` renders once, trains each and leaves
`exports/NAME.safetensors`; `pspnb.shipping.instruments.ship_instrument(NAME, FILE)` makes the zoo's file of it, on any machine.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from pspnb.errors import PspnbError
from pspnb.recipes.instruments import train_instrument, training_arrays
from pspnb.shipping.instruments import export_instrument
from pspnb.training.arrays import save_arrays
from pspnb.training.instruments import INSTRUMENTS
from pspnb.world2 import SPLIT_SIZES

MODULE = "pspnb.shipping.all_instruments"


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
            o.out,
            device=o.device,
            seconds_each=o.seconds,
            arrays=o.arrays,
            at_once=o.at_once,
            steps=o.steps,
            images=o.images,
            people=o.people,
        )
        print("\n".join(map(str, made.values())))
        return 0 if len(made) == len(INSTRUMENTS) else 1
    # Convolutions of one shape all along: the fastest kernels are worth a search, and TF32 is exact enough for the margins.
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        run = train_instrument(
            o.name,
            out=o.out / o.name,
            resume=True,
            device=o.device,
            seconds=o.seconds,
            arrays=o.arrays,
            steps=o.steps,
            progress=False,
        )
        print(export_instrument(run.parent, o.out / "exports" / f"{o.name}.safetensors"))
    except PspnbError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
