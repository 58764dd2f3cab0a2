"""The one loop of every training: steps, log, pictures, validation, checkpoints, a clean shutdown.

`fit(stepper, run)`: a stepper knows one step, its state and its pictures; `pspnb.training.encoder`, `gan`, `imitation` and
`instruments` have one each. A run is its folder: killed at any moment, it continues with `resume=True` to the weights of the
uninterrupted run, bit for bit on a CPU. Chapter: "Training the encoder".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from pspnb.checks import at_least
from pspnb.errors import PspnbError
from pspnb.models.runs import RunFolder
from pspnb.training.callbacks import Callback
from pspnb.training.checkpoint import load_checkpoint, save_checkpoint
from pspnb.training.journal import StopRequest
from pspnb.training.processes import Processes
from pspnb.training.recorder import Recorder, TrainingDiverged
from pspnb.training.window import Window

# How often several processes ask each other whether one of them was told to stop: asking is a wait for all.
AGREE_EVERY = 10


class Stepper(ABC):
    """What the loop repeats. `step` counts finished steps of `steps`; each sees `batch` images, over all processes of `team`.

    `best` is the lowest validation loss so far (None: no validation yet).
    """

    steps: int
    batch: int
    team: Processes
    step: int = 0
    best: float | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.team.device

    @abstractmethod
    def train_step(self) -> Mapping[str, float | Tensor]:
        """One step; adds 1 to `step`. Its losses, which may still lie on the device and be overwritten by the next step."""

    @abstractmethod
    def learning_rate(self) -> float:
        """That of the latest step."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, as tensors and plain values, "step" among them."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`. PspnbError when the state is of a run with other options."""

    @abstractmethod
    def is_finite(self) -> bool:
        """Whether every weight is a number."""

    def finished(self) -> bool:
        """Whether that was all; a stepper with a budget of time ends earlier."""
        return self.step >= self.steps

    def sheet(self) -> UInt8[np.ndarray, " h w 3"] | None:
        """Pictures to look at, as one; None: there are none."""
        return None

    def validate(self) -> dict[str, float]:
        """Mean losses on validation images, named `val_...`, "val_loss" among them. Called with `Every.validate` only."""
        raise NotImplementedError(f"{type(self).__name__} has no validation")

    def best_state(self) -> dict[str, Any]:
        """What best.pt keeps: what is needed to use the network, not to go on."""
        return self.state()

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """After the last step, however it ended."""


@dataclass(frozen=True, kw_only=True)
class Every:
    """How often, in steps, something is done; 0 is never (and a checkpoint at the end)."""

    log: int = 50
    pictures: int = 500
    validate: int = 0
    checkpoint: int = 500

    def __post_init__(self) -> None:
        at_least(1, log=self.log)
        at_least(0, pictures=self.pictures, validate=self.validate, checkpoint=self.checkpoint)


USUAL = Every()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its last step, whether that was all of them, and its best validation loss (None: no validation)."""

    step: int
    finished: bool
    best: float | None


def fit(
    stepper: Stepper,
    out: str | Path,
    *,
    about: Mapping[str, Any],
    every: Every = USUAL,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    progress: bool = True,
) -> Outcome:
    """Repeat the steps until the stepper has finished; writes the run folder `out` (`pspnb.models.runs.RunFolder`).

    `about` says what is trained (plain values, the architecture among them): it is kept in recipe.json and in every checkpoint, so
    that each can be loaded wherever it lies. SIGTERM and an interrupt end the run after the step in hand with a checkpoint; in a
    notebook that covers the stop button and closing it.

    Raises TrainingDiverged when a loss or a weight is no longer a number (the last good checkpoint stays), PspnbError when
    `out` holds a run and `resume` is False or the run was begun with other options, CheckpointError on a full disk (the
    last checkpoint is intact).
    """
    run = RunFolder(out)
    run.check_new(resume=resume)
    loop = _Loop(stepper, run, about)
    if run.begun():
        run.check_recipe(about)
        loop.load()
    elif stepper.team.is_main:
        run.write_recipe(about)
    recorder = Recorder(stepper, run, callbacks, progress=progress)
    done, stopped = stepper.finished(), False
    with StopRequest() as stop, recorder, closing(stepper):
        while not done and not stopped:
            loop.window.add(stepper.train_step())
            recorder.advance()
            if _due(stepper.step, every.log):
                recorder.log(loop.window.means())
            if _due(stepper.step, every.pictures):
                recorder.pictures()
            if _due(stepper.step, every.validate):
                loop.validate(recorder)
            stopped, done = _agreed(stop, stepper), stepper.finished()
            if _due(stepper.step, every.checkpoint) or stopped or done:
                loop.save()
    return Outcome(stepper.step, done, stepper.best)


class _Loop:
    """A stepper, the sums of its losses since the last line of the log, and the files of its run."""

    def __init__(self, stepper: Stepper, run: RunFolder, about: Mapping[str, Any]) -> None:
        self.stepper, self.run, self.about = stepper, run, {"about": dict(about)}
        self.window = Window(stepper.team)

    def load(self) -> None:
        """Continue from the latest checkpoint. PspnbError, naming the file, when it is of another kind of training."""
        path = self.run.latest
        state = load_checkpoint(path, device=self.stepper.team.device)
        try:
            self.stepper.load_state(state)
            self.window.load_state(state.get("window"))
        except PspnbError as error:
            raise PspnbError(f"{path}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
            raise PspnbError(
                f"{path}: of another kind of training than the one to be continued here; expected another folder"
            ) from error

    def save(self) -> None:
        """The latest checkpoint. TrainingDiverged when it would hold something that is no number."""
        path, stepper = self.run.latest, self.stepper
        if not all(
            (self.window.is_finite(), stepper.is_finite())
        ):  # both are asked: several processes wait for each other
            kept = f"{path} is the last good one" if path.exists() else "no checkpoint was written"
            raise TrainingDiverged(f"a weight is not finite at step {stepper.step}: stopped, {kept}")
        if stepper.team.is_main:
            save_checkpoint(path, stepper.state() | {"window": self.window.state()} | self.about)

    def validate(self, recorder: Recorder) -> None:
        """Validate, and keep the best."""
        record, stepper = self.stepper.validate(), self.stepper
        recorder.validation(record)
        if stepper.best is None or record["val_loss"] < stepper.best:
            stepper.best = record["val_loss"]
            if stepper.team.is_main:
                save_checkpoint(self.run.best, stepper.best_state() | self.about)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _agreed(stop: StopRequest, stepper: Stepper) -> bool:
    if stepper.team.world == 1:
        return stop.requested
    return stepper.step % AGREE_EVERY == 0 and stepper.team.any(stop.requested)
