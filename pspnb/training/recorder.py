"""What a run says of itself while it goes on: log file, progress bar, sheets of pictures, callbacks. In the main process only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pspnb.errors import PspnbError
from pspnb.files.pictures import write_png
from pspnb.files.progress import progress_bar
from pspnb.models.runs import RunFolder
from pspnb.training.callbacks import Callback
from pspnb.training.journal import Journal

if TYPE_CHECKING:
    from pspnb.training.loop import Stepper


class TrainingDiverged(PspnbError):
    """A loss or a weight is no longer a number; the last good checkpoint is kept."""


class Recorder:
    """A context around the steps that writes the log and closes what watches."""

    def __init__(self, stepper: Stepper, run: RunFolder, callbacks: Sequence[Callback], *, progress: bool) -> None:
        main = stepper.team.is_main
        self.stepper, self.run, self.callbacks = stepper, run, callbacks if main else ()
        self.journal = Journal(run.log, keep_until=stepper.step) if main else None
        self.bar = progress_bar(total=stepper.steps, initial=stepper.step, wanted=progress and main, unit="step")
        self._since = (stepper.step, time.monotonic())

    def __enter__(self) -> Recorder:
        for callback in self.callbacks:
            callback.start(self.stepper.step)
        return self

    def __exit__(self, *_: object) -> None:
        for callback in self.callbacks:
            callback.end(self.stepper.step)
        self.bar.close()

    def advance(self) -> None:
        """One step more."""
        self.bar.update()

    def log(self, means: dict[str, float]) -> None:
        """Mean losses since the last time, with the rate. TrainingDiverged if one isn't finite."""
        step, (then, started) = self.stepper.step, self._since
        self._since = (step, time.monotonic())
        check_finite(means, step)
        rate = (step - then) * self.stepper.batch / (time.monotonic() - started)
        record = means | {"lr": self.stepper.learning_rate(), "images_per_s": round(rate, 2)}
        self._write(record)
        for callback in self.callbacks:
            callback.log(step, record)
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in list(means.items())[-1:]})

    def validation(self, record: dict[str, float]) -> None:
        """A line of validation losses."""
        self._write(record)
        for callback in self.callbacks:
            callback.validation(self.stepper.step, record)

    def pictures(self) -> None:
        """The stepper's sheet, on disk and to the callbacks."""
        if self.journal is None or (sheet := self.stepper.sheet()) is None:
            return
        with _on_disk(self.run.path):
            write_png(self.run.pictures(self.stepper.step), sheet)
        for callback in self.callbacks:
            callback.pictures(self.stepper.step, torch.from_numpy(sheet).permute(2, 0, 1))

    def _write(self, record: dict[str, float]) -> None:
        if self.journal is not None:
            step = self.stepper.step
            with _on_disk(self.run.path):
                self.journal.write({"step": step, "images": step * self.stepper.batch, **record})


def check_finite(record: dict[str, float], step: int) -> dict[str, float]:
    """The record itself; raises TrainingDiverged when one of its values is not finite."""
    for name, value in record.items():
        if not abs(value) < float("inf"):
            raise TrainingDiverged(f"{name} is not finite by step {step}: stopped, the last checkpoint is good")
    return record


@contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PspnbError(f"could not write into {folder} ({reason}); the last checkpoint is intact") from error
