"""`make weights`: train what is shipped, in order, resumable at any point. `python -m pspnb.shipping.weights`.

Instruments and the imitating generator are those of world 2. The encoders of facets64 train on the GAN of world 1, which is not
trained again (its card names the commit that can): world 2 takes its place when the generator has passed its gate.

A stage is a run folder under `runs/`; a stage whose checkpoint has reached its last step is only shipped again, so that a second
call after an interruption goes on where the first one stopped.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.models.runs import RunFolder
from pspnb.recipes.encoders import SECOND_PART, TRAINING, train_encoder
from pspnb.recipes.generators import imitation_config, train_imitation
from pspnb.recipes.instruments import instrument_config, train_instrument
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.scales import FACETS64
from pspnb.recipes.variants import model_name
from pspnb.shipping.applications import is_shipped, planned
from pspnb.shipping.encoders import add_history, ship_encoder
from pspnb.shipping.generators import ship_imitation
from pspnb.shipping.instruments import ship_instrument
from pspnb.shipping.stage import Stage
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.instruments import INSTRUMENTS
from pspnb.training.journal import read_journal


def _train_instrument(name: str, device: str | None, folder: Path) -> object:
    return train_instrument(name, out=folder, resume=True, device=device)


# Shipped encoders: the rows of Table 1.
ENCODERS = ("psp", "w", "naive_wplus", "no_id", "no_lpips")


FIRST_PART = TRAINING[FACETS64.name, "cpu"]
MIDWAY = 1000  # steps of the encoder with which the chapter "Training the encoder" begins


def _train_encoder(variant: str, device: str | None, steps: int | None, folder: Path) -> object:
    return train_encoder(
        EncoderRecipe(task="inversion", variant=variant, steps=steps), out=folder, resume=True, device=device
    )


def _train_second_part(variant: str, device: str | None, first: str, folder: Path) -> object:
    recipe = EncoderRecipe(task="inversion", variant=variant, init=str(folder.with_name(first)), **SECOND_PART)
    return train_encoder(recipe, out=folder, resume=True, device=device)


def _keep_curve(name: str, folder: Path) -> Path:
    return add_history(folder, name.split("/")[1], "book/results/encoders/history.json")


def _ship_encoder(variant: str, name: str, folder: Path) -> object:
    _keep_curve(name, folder)
    return ship_encoder(folder, variant=variant, name=name)


def stages(device: str | None = None) -> list[Stage]:
    """The shipped networks in the order in which they need one another."""
    out = []
    for name in INSTRUMENTS:
        c = instrument_config(name, device=pick_device(device))
        out.append(
            Stage(
                name=name,
                steps=c.steps,
                images=c.steps * c.batch,
                rate=300.0,
                train=partial(_train_instrument, name, device),
                ship=partial(ship_instrument, name),
                feeds="losses and judges",
                file=f"world2/{name}",
            )
        )
    g = imitation_config(device=pick_device(device))
    train_it = lambda folder: train_imitation(out=folder, resume=True, device=device)  # noqa: E731
    feeds, file = "everything", "world2/generator"
    out.append(Stage("imitation", g.steps, g.steps * g.batch, 20.0, train_it, ship_imitation, feeds, file))
    # The beginning of another run's curve, for the chapter on training.
    note = f"an early step of {model_name('inversion')}, with which the chapter on training begins"
    ship_it = partial(ship_encoder, name=model_name("inversion", "midway"), note=note)
    train_midway = partial(_train_encoder, "psp", device, MIDWAY)
    midway = model_name("inversion", "midway")
    out.append(
        _encoder_stage("inversion_midway", MIDWAY, train_midway, ship_it, feeds="Training the encoder", file=midway)
    )
    for variant in ENCODERS:
        name = model_name("inversion", variant)
        last = name.split("/")[1]
        first, steps = f"{last}_first", FIRST_PART.config.steps
        train_first = partial(_train_encoder, variant, device, steps)
        out.append(_encoder_stage(first, steps, train_first, partial(_keep_curve, name)))
        out.append(
            _encoder_stage(
                last,
                SECOND_PART["steps"],
                partial(_train_second_part, variant, device, first),
                partial(_ship_encoder, variant, name),
                batch=SECOND_PART["batch"],
                feeds="Table 1",
                file=name,
            )
        )
    return out


def _encoder_stage(
    name: str,
    steps: int,
    train: Callable[[Path], object],
    ship: Callable[[Path], object],
    batch: int = FIRST_PART.batch,
    feeds: str = "",
    file: str | None = None,
) -> Stage:
    return Stage(name, steps, steps * batch, 50.0, train, ship, feeds, file)


def seconds_left(stage: Stage, folder: Path) -> float:
    """Time the stage still needs, at the rate its log shows or at its usual one."""
    records = [r for r in read_journal(RunFolder(folder).log) if "images_per_s" in r]
    if not records:
        return stage.images / stage.rate
    last = records[-1]
    return max(stage.steps - last["step"], 0) * (stage.images / stage.steps) / max(last["images_per_s"], 1e-6)


def run(plan: Sequence[Stage], runs: Path, *, say: Callable[[str], object]) -> bool:
    """Train and ship each stage of `plan` under `runs`; returns False when a stage was stopped before its last step."""
    for i, stage in enumerate(plan):
        rest = sum(seconds_left(s, runs / s.name) for s in plan[i:])
        say(f"[{i + 1}/{len(plan)}] {stage.name}: about {clock(rest)} left for everything")
        started = time.monotonic()
        stage.train(runs / stage.name)
        state = load_checkpoint(RunFolder(runs / stage.name).latest)
        if not state.get("finished", state["step"] >= stage.steps):  # a budget of seconds ends before the last step
            say(f"{stage.name}: stopped; run the same command again to go on")
            return False
        say(f"{stage.name}: {stage.ship(runs / stage.name)} after {clock(time.monotonic() - started)}")
    return True


def listing(plan: Sequence[Stage]) -> str:
    """The files in the order of training: what each takes, what needs it, and whether it is there. One line each."""
    lines = [f"{'stage':<32}{'images':>10}{'images/s':>10}{'core-hours':>12}  state             feeds"]
    for stage in plan:
        state = "shipped" if is_shipped(stage) else "to be trained" if stage.ready else "not trained yet"
        state = "part of the next" if stage.file is None else state
        numbers = f"{stage.images:>10,}{stage.rate:>10.0f}{stage.core_hours:>12.1f}"
        lines.append(f"{stage.name:<32}{numbers}  {state:<16}  {stage.feeds}".rstrip())
    left = sum(stage.core_hours for stage in plan if not stage.ready and not is_shipped(stage))
    return "\n".join([*lines, f"not trained yet: {left:.1f} core-hours in all"])


def clock(seconds: float) -> str:
    """'2 h 05 min' or '4 min'."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: which stages, where, on what."""
    parser = argparse.ArgumentParser(prog="python -m pspnb.shipping.weights", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--device", default=None, help="cpu or cuda (default: cuda when there is one)")
    parser.add_argument("--only", nargs="*", default=None, help="names of stages (default: all that are ready)")
    parser.add_argument("--list", action="store_true", help="print what each stage takes and feeds, and stop")
    options = parser.parse_args(arguments)
    plan = [*stages(options.device), *planned(options.device)]
    if options.list:
        print(listing(plan))
        return 0
    names = [s.name for s in plan]
    if unknown := sorted(set(options.only or ()) - set(names)):
        print(f"expected stages of {', '.join(names)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = [s for s in plan if (s.ready if options.only is None else s.name in options.only)]
    try:
        return 0 if run(chosen, options.runs, say=lambda line: print(line, file=sys.stderr, flush=True)) else 1
    except PspnbError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
