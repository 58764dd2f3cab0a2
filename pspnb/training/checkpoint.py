"""Checkpoints that survive a kill at any moment, a full disk, and a stranger's file.

A checkpoint is written beside its final name and renamed into place only when every byte is on the disk, so that the
file at `path` is always a whole checkpoint: the new one or the one before. Taught in the chapter on training.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_atomically


class CheckpointError(PspnbError):
    """A checkpoint could not be written or read; the message is one line that says what to do."""


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write `state` (tensors and plain Python containers) to `path`, all of it or nothing.

    Raises CheckpointError when the disk is full or not writable; the previous file at `path` is then untouched.
    """
    try:
        write_atomically(path, lambda stream: torch.save(dict(state), stream))
    except (PspnbError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        raise CheckpointError(_failure(Path(path), error)) from error


def load_checkpoint(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint written by `save_checkpoint`; refuses anything that would need to run code (weights_only).

    Raises CheckpointError when there is no such file, when it is cut short, or when it holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: expected a file written by `pspnb train`")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd pickles: they are refused below, with a reason
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} is not a whole checkpoint of plain tensors: {first_line[:160]}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, expected a dict written by `pspnb train`")
    return state


def random_states(**generators: torch.Generator) -> dict[str, Any]:
    """The state of torch's global generators (CPU, and every CUDA device in use) and of each named generator."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    named = {name: generator.get_state() for name, generator in generators.items()}
    return {"torch": torch.get_rng_state(), "cuda": cuda, "named": named}


def restore_random_states(states: Mapping[str, Any], **generators: torch.Generator) -> None:
    """The inverse of `random_states`; raises CheckpointError when a named generator was not saved."""
    missing = sorted(set(generators) - set(states["named"]))
    if missing:
        raise CheckpointError(f"the checkpoint has no random state for {', '.join(missing)}: is it of another trainer?")
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) and torch.cuda.is_available() and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
    for name, generator in generators.items():
        generator.set_state(states["named"][name].cpu())


def _failure(path: Path, error: Exception) -> str:
    kept = "the last checkpoint is intact" if path.exists() else "no checkpoint was written"
    return f"could not write {path} (disk full or not writable?): {kept} [{' '.join(str(error).split())[:120]}]"
