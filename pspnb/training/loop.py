"""The loop around every trainer of this package's small networks: steps, log, samples, checkpoints, a clean shutdown."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.pictures import grid, write_png
from pspnb.files.progress import progress_bar
from pspnb.training.checkpoint import load_checkpoint, save_checkpoint
from pspnb.training.journal import Journal, StopRequest


class TrainingDiverged(PspnbError):
    """A loss or a weight is no longer a number; the last good checkpoint is kept."""


@runtime_checkable
class Steppable(Protocol):
    """What the loop needs of a trainer."""

    step: int
    device: torch.device

    def train_step(self) -> Mapping[str, float | Tensor]:
        """One step; adds 1 to `step`; returns what the log shows of it, which may still lie on the device."""

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""

    def is_finite(self) -> bool:
        """Whether every weight is a number."""

    def samples(self) -> Tensor | None:
        """Images (n, 3, s, s) in [-1, 1] to look at, or None."""


def fit(
    trainer: Steppable,
    out: Path,
    *,
    steps: int,
    batch: int,
    resume: bool = False,
    progress: bool = True,
    log_every: int = 50,
    sample_every: int = 500,
    checkpoint_every: int = 500,
    finished: Callable[[], bool] = lambda: False,
) -> bool:
    """Train to `steps`, writing checkpoint.pt, log.jsonl and samples/ under `out`; returns whether it got there.

    `finished`: asked before every step; a trainer with a budget of time ends earlier with it.

    SIGTERM and SIGINT end the run after the step in hand, with a checkpoint. A loss or weight that is not finite raises
    TrainingDiverged and leaves the checkpoint before it. Raises PspnbError when `out` holds a run and `resume` is False.
    """
    path = out / "checkpoint.pt"
    check_new(out, resume=resume)
    if path.exists():
        load_state_of(trainer, path, device=trainer.device)
    journal, first, started = Journal(out / "log.jsonl", keep_until=trainer.step), trainer.step, time.monotonic()
    with StopRequest() as stop, progress_bar(total=steps, initial=first, wanted=progress, unit="step") as bar:
        while trainer.step < steps and not stop.requested and not finished():
            shown = trainer.train_step()
            bar.update()
            step = trainer.step
            if step % log_every == 0:
                record = check_finite(as_numbers(shown), step)
                seconds = time.monotonic() - started
                rate = round((step - first) * batch / seconds, 2)
                journal.write({"step": step, "images": step * batch, "images_per_s": rate, **record})
                bar.set_postfix({name: f"{value:.3g}" for name, value in list(record.items())[:3]})
            if step % sample_every == 0 and (images := trainer.samples()) is not None:
                write_png(out / "samples" / f"{step:07d}.png", grid(images))
            if step % checkpoint_every == 0:
                _save(trainer, path)
    if trainer.step % checkpoint_every or trainer.step == first:
        _save(trainer, path)
    return trainer.step >= steps or finished()


def check_new(out: Path, *, resume: bool) -> None:
    """PspnbError when the folder holds a run that is not to be resumed."""
    if (path := out / "checkpoint.pt").exists() and not resume:
        raise PspnbError(f"{path} exists: continue it with --resume, or choose another folder")


def as_numbers(record: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Plain numbers; those that lie on a device are read in one piece."""
    tensors = {name: value for name, value in record.items() if isinstance(value, Tensor)}
    read = torch.stack([value.detach().float() for value in tensors.values()]).tolist() if tensors else []
    return {name: float(value) for name, value in {**record, **dict(zip(tensors, read, strict=True))}.items()}


def load_state_of(trainer: Any, path: Path, *, device: torch.device) -> None:
    """Continue from the checkpoint at `path`. PspnbError, naming the file, when it is of another kind of training."""
    state = load_checkpoint(path, device=device)
    try:
        trainer.load_state(state)
    except PspnbError as error:
        raise PspnbError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
        raise PspnbError(
            f"{path}: of another kind of training than the one to be continued here; expected another folder"
        ) from error


def check_finite(record: dict[str, float], step: int) -> dict[str, float]:
    """The record itself; raises TrainingDiverged when one of its values is not finite."""
    for name, value in record.items():
        if value != value or abs(value) == float("inf"):
            raise TrainingDiverged(f"{name} is not finite at step {step}: stopped, the last checkpoint is good")
    return record


def _save(trainer: Steppable, path: Path) -> None:
    if not trainer.is_finite():
        raise TrainingDiverged(f"a weight is not finite at step {trainer.step}: stopped, {path} is the last good one")
    save_checkpoint(path, trainer.state())
