"""The one loop that trains every encoder (paper section 3.3); book chapter "Training the encoder".

`fit(model, batches, losses, config, callbacks)`: a frozen generator, an encoder, the losses of a task. Mixed precision,
`channels_last`, `torch.compile`, accumulation and several processes are options of this loop, not other loops. A run is
its folder: killed at any moment, it continues with `resume=True` to the weights of the uninterrupted run, bit for bit on a
CPU.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pspnb.errors import PspnbError
from pspnb.files.pictures import grid, write_png
from pspnb.files.progress import progress_bar
from pspnb.losses.terms import LossTerm
from pspnb.models.psp import PSP
from pspnb.training.callbacks import Callback
from pspnb.training.checkpoint import save_checkpoint
from pspnb.training.data import Batches
from pspnb.training.journal import Journal, StopRequest
from pspnb.training.loop import TrainingDiverged, load_state_of
from pspnb.training.processes import Processes, processes
from pspnb.training.run import Run

# How often several processes ask each other whether one of them was told to stop: asking is a wait for all.
AGREE_EVERY = 10


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; what is trained on is in `Batches`, what is minimised in the loss terms.

    Attributes:
        steps: optimiser steps in all, those before a resumption included.
        optimizer, lr: published: Ranger at 1e-4 (the paper's text: 1e-3), constant.
        decay_from: share of the steps after which the rate falls to 0 along half a cosine; 1 is constant, as published.
        accumulate: parts in which each process makes its share of a batch, for memory. BatchNorm sees a part at a time.
        average: decay per step k of an exponential average of the weights, at most (1 + k) / (10 + k); it is then
            validated and kept as the best. 0 is none, as published (Ranger's slow weights are an average already).
        noise: of the generator; published training draws it anew ("random").
        replay: record the step once as a CUDA graph and replay it (`pspnb.training.graphs`): several times as fast where the
            networks are small. One process, no accumulation, a generator without noise; nothing on a CPU.
        bf16, channels_last, compile: speed. `bf16` is autocast, where the device computes in it
            (`pspnb.training.precision`); weights, optimiser and loss values stay float32.
        log_every, picture_every, validate_every, checkpoint_every: in steps; 0 is never (and a checkpoint at the end).
    """

    steps: int
    optimizer: Literal["ranger", "adam"] = "ranger"
    lr: float = 1e-4
    decay_from: float = 1.0
    accumulate: int = 1
    average: float = 0.0
    noise: Literal["random", "const"] = "random"
    bf16: bool = False
    channels_last: bool = True
    compile: bool = False
    replay: bool = False
    log_every: int = 50
    picture_every: int = 1000
    validate_every: int = 2500
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name, valid in (
            ("steps of at least 1", self.steps >= 1),
            ("lr above 0", 0 < self.lr < float("inf")),
            ("decay_from from 0 to 1", 0 <= self.decay_from <= 1),
            ("accumulate of at least 1", self.accumulate >= 1),
            ("average from 0 to below 1", 0 <= self.average < 1),
            ("log_every of at least 1", self.log_every >= 1),
            ("accumulate of 1 with replay", not self.replay or self.accumulate == 1),
        ):
            if not valid:
                raise ValueError(f"expected {name}, got {getattr(self, name.split()[0])}")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its last step, whether that was all of them, and its best validation loss (None: no validation)."""

    step: int
    finished: bool
    best: float | None


def fit(
    model: PSP,
    batches: Batches,
    losses: Sequence[LossTerm],
    config: TrainConfig,
    callbacks: Sequence[Callback] = (),
    *,
    out: str | Path,
    validation: Batches | None = None,
    device: str | torch.device = "cpu",
    resume: bool = False,
    progress: bool = True,
    about: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train the encoder of `model` in place, on `device`, where the networks of `losses` must be already; leaves it in
    evaluation mode, with its latest weights.

    Writes below `out`: `checkpoint.pt` (latest, everything needed to go on), `best.pt` (encoder with the lowest validation
    loss), `log.jsonl`, `pictures/*.png`. SIGTERM and an interrupt end the run after the step in hand with a checkpoint;
    in a notebook that covers the stop button and closing it. `about` (plain values: task, architecture, generator ...) is
    kept in both checkpoints, so that each can be loaded wherever it lies.

    Raises TrainingDiverged when a loss or a weight is no longer a number (the last good checkpoint stays), PspnbError when
    `out` holds a run and `resume` is False or the run was begun with other options, CheckpointError on a full disk (the
    last checkpoint is intact).
    """
    out = Path(out)
    team = processes(device)
    run = Run(model, batches, losses, config, team)
    path = out / "checkpoint.pt"
    if path.exists():
        if not resume:
            raise PspnbError(f"{path} exists: continue it with resume (--resume), or choose another folder")
        load_state_of(run, path, device=team.device)
    recorder = _Recorder(out, run, callbacks if team.is_main else (), progress=progress)
    stopped = False
    with StopRequest() as stop, recorder, closing(run):
        while run.step < config.steps and not stopped:
            run.train_step()
            recorder.advance()
            if _due(run.step, config.log_every):
                recorder.log(run.window.means())
            if _due(run.step, config.picture_every):
                recorder.pictures()
            if validation is not None and _due(run.step, config.validate_every):
                _validate(run, validation, recorder, out, about)
            stopped = _agreed(stop, run.step, team)
            if _due(run.step, config.checkpoint_every) or stopped or run.step == config.steps:
                _save(run, path, about)
    return Outcome(run.step, run.step >= config.steps, run.best)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _agreed(stop: StopRequest, step: int, team: Processes) -> bool:
    if team.world == 1:
        return stop.requested
    return step % AGREE_EVERY == 0 and team.any(stop.requested)


def _save(run: Run, path: Path, about: Mapping[str, Any] | None) -> None:
    if not run.is_finite():
        kept = f"{path} is the last good one" if path.exists() else "no checkpoint was written"
        raise TrainingDiverged(f"a weight is not finite at step {run.step}: stopped, {kept}")
    if run.team.is_main:
        save_checkpoint(path, run.state() | _note(about))


def _note(about: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if about is None else {"about": dict(about)}


def _validate(run: Run, validation: Batches, recorder: "_Recorder", out: Path, about: Mapping[str, Any] | None) -> None:
    record = run.validate(validation)
    recorder.validation(record)
    if run.best is None or record["val_loss"] < run.best:
        run.best = record["val_loss"]
        if run.team.is_main:
            save_checkpoint(out / "best.pt", run.encoder_state() | _note(about))


class _Recorder:
    """Log file, progress bar, picture grids and callbacks, in the main process; a context that closes them."""

    def __init__(self, out: Path, run: Run, callbacks: Sequence[Callback], *, progress: bool) -> None:
        self.run, self.callbacks, self.out = run, callbacks, out
        self.journal = Journal(out / "log.jsonl", keep_until=run.step) if run.team.is_main else None
        self.bar = progress_bar(
            total=run.config.steps, initial=run.step, wanted=progress and run.team.is_main, unit="step"
        )
        self._since = (run.step, time.monotonic())

    def __enter__(self) -> "_Recorder":
        for callback in self.callbacks:
            callback.start(self.run.step)
        return self

    def __exit__(self, *_: object) -> None:
        for callback in self.callbacks:
            callback.end(self.run.step)
        self.bar.close()

    def advance(self) -> None:
        self.bar.update()

    def log(self, means: dict[str, float]) -> None:
        """Mean losses since the last time. TrainingDiverged if one isn't finite."""
        step, (then, started) = self.run.step, self._since
        self._since = (step, time.monotonic())
        rate = (step - then) * self.run.batches.batch / (time.monotonic() - started)
        bad = [name for name, value in means.items() if not abs(value) < float("inf")]
        if bad:
            raise TrainingDiverged(f"{bad[0]} is not finite by step {step}: stopped, the last checkpoint is good")
        record = means | {"lr": self.run.learning_rate(step - 1), "images_per_s": round(rate, 2)}
        self._write(record)
        for callback in self.callbacks:
            callback.log(step, record)
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in list(means.items())[-1:]})

    def validation(self, record: dict[str, float]) -> None:
        self._write(record)
        for callback in self.callbacks:
            callback.validation(self.run.step, record)

    def pictures(self) -> None:
        """Writes a grid of up to eight training pairs with what the model makes of them."""
        if self.journal is None:
            return
        sheet = grid(self.run.pictures(8), columns=3)
        with _on_disk(self.out):
            write_png(self.out / "pictures" / f"{self.run.step:07d}.png", sheet)
        for callback in self.callbacks:
            callback.pictures(self.run.step, torch.from_numpy(sheet).permute(2, 0, 1))

    def _write(self, record: dict[str, float]) -> None:
        if self.journal is not None:
            with _on_disk(self.out):
                self.journal.write({"step": self.run.step, "images": self.run.step * self.run.batches.batch, **record})


@contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PspnbError(f"could not write into {folder} ({reason}); the last checkpoint is intact") from error
