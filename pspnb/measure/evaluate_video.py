"""Table 2 in our world: `python -m pspnb.measure.evaluate_video --model NAME ... --out DIR`. Chapter: "Video".

Clips of Facets people through encoders, frame by frame or by optimisation: reconstruction, steadiness against the truth, and
frames a second. Intervals are over clips, which are what was drawn at random.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pspnb.checks import at_least
from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.progress import progress_bar
from pspnb.files.provenance import stamp
from pspnb.inversion.video import Optimised, frame_by_frame
from pspnb.measure.intervals import ROUNDS, finite, mean
from pspnb.measure.pairs import Instruments, shipped_instruments
from pspnb.measure.steadiness import steadiness
from pspnb.models.load import load
from pspnb.world2 import sequences

N_CLIPS, N_FRAMES, SIZE = 120, 24, 64
Draw = Callable[[Tensor], Tensor]


def evaluate_video(
    methods: Mapping[str, Draw],
    *,
    out: str | Path,
    clips: int = N_CLIPS,
    n_frames: int = N_FRAMES,
    kinds: Sequence[str] = sequences.KINDS,
    instruments: Instruments | None = None,
    device: str | torch.device = "cpu",
    rounds: int = ROUNDS,
    progress: bool = False,
) -> dict[str, Any]:
    """Every method on `clips` clips, kinds in turns, one frame at a time as in a stream; written to `out`/video.json.

    `methods`: name -> pictures in [-1, 1] to pictures, such as `frame_by_frame(model)`; `Optimised` ones start anew with a clip.
    """
    at_least(1, clips=clips)
    at_least(2, n_frames=n_frames)
    provenance = stamp(seed=0, device=str(device))
    nets = shipped_instruments(device=device) if instruments is None else instruments
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    for number in progress_bar(range(clips), unit="clip", wanted=progress):
        clip = sequences.sequence(kinds[number % len(kinds)], number, n_frames=n_frames)
        truth = clip.frames(SIZE, device=device)
        for name, draw in methods.items():
            output, seconds = redrawn(draw, truth, clip)
            numbers = steadiness(output, truth, clip, nets) | {"frames_per_second": len(clip) / seconds}
            rows[name].append({"kind": clip.kind, "clip": number} | numbers)
    result = {
        "provenance": provenance,
        "settings": {"clips": clips, "n_frames": n_frames, "kinds": list(kinds), "size": SIZE},
        "methods": {name: summary(found, rounds=rounds) for name, found in rows.items()},
        "clips": rows,
    }
    write_json(Path(out) / "video.json", finite(result))
    return result


@torch.no_grad()
def redrawn(draw: Draw, frames: Tensor, clip: sequences.Sequence) -> tuple[Tensor, float]:
    """The clip redrawn frame by frame, and the seconds that took. A cut is told: a film's cuts are seen by `tracking.is_cut`."""
    begin, parts = time.perf_counter(), []
    for i, frame in enumerate(frames.split(1)):
        if isinstance(draw, Optimised) and (i == 0 or clip.shot[i] != clip.shot[i - 1]):
            draw.restart()
        parts.append(draw(frame))
    output = torch.cat(parts).cpu()  # waits for a GPU
    return output.to(frames.device), time.perf_counter() - begin


def summary(rows: Sequence[Mapping[str, Any]], *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Means over clips with intervals, of all clips and of each kind; clips without a number (nan) are left out of its mean."""

    def means(chosen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        names = [name for name in chosen[0] if name not in ("kind", "clip")]
        columns = {name: torch.tensor([float(row[name]) for row in chosen], dtype=torch.float64) for name in names}
        return {
            name: mean(values[values.isfinite()].float(), rounds=rounds)._asdict() for name, values in columns.items()
        }

    kinds = {row["kind"]: None for row in rows}
    return {"all": means(rows)} | {kind: means([row for row in rows if row["kind"] == kind]) for kind in kinds}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 2 for what cannot be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m pspnb.measure.evaluate_video", description="Table 2 on Facets clips."
    )
    parser.add_argument("--model", action="append", required=True, help="an encoder; may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="folder of video.json")
    parser.add_argument("--clips", type=int, default=N_CLIPS, help=f"default {N_CLIPS}")
    parser.add_argument("--frames", type=int, default=N_FRAMES, help=f"of each clip (default {N_FRAMES})")
    parser.add_argument("--steps", type=int, default=0, help="add rows with so many steps of optimisation a frame")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    given = parser.parse_args(arguments)
    try:
        device = pick_device(given.device)
        nets = shipped_instruments(device=device)
        methods: dict[str, Draw] = {}
        for name in given.model:
            model = load(name, device=device)
            methods[name] = frame_by_frame(model)
            if given.steps:
                for start in ("encoder", "previous"):
                    optimised = Optimised(model, steps=given.steps, start=start, distance=nets.perceptual)  # type: ignore[arg-type]
                    methods[f"{name}, {given.steps} steps from the {start} code"] = optimised
        evaluate_video(
            methods,
            out=given.out,
            clips=given.clips,
            n_frames=given.frames,
            instruments=nets,
            device=device,
            progress=True,
        )
    except (PspnbError, ValueError, OSError) as error:
        print(f"pspnb.measure.evaluate_video: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"-> {given.out / 'video.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
