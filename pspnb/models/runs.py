"""The folder of a training run: which files it holds, and what they say it is. Training writes it, `pspnb.models.load` reads it.

A run is a folder with `checkpoint.pt` (the latest state) and, where it was validated, `best.pt`. Every checkpoint holds `about`:
what was trained, the architecture as a card has it, and for an encoder its task and where its generator came from.
`recipe.json` beside them holds the same for people.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pspnb.errors import LoadError
from pspnb.files.reading import read_json
from pspnb.models.official.reading import glance

BEST, LATEST, RECIPE = "best.pt", "checkpoint.pt", "recipe.json"


def kind_of_state(state: Mapping[str, Any]) -> str | None:
    """ "encoder", "generator" or "instrument": what kind of run wrote a checkpoint; None for other files."""
    if "step" not in state:
        return None
    if isinstance(state.get("encoder"), Mapping) and isinstance(state.get("identity"), Mapping):
        return "encoder"
    if isinstance(state.get("average"), Mapping) and "discriminator" in state:
        return "generator"
    return "instrument" if isinstance(state.get("network"), Mapping) and "config" in state else None


def is_run(path: str | os.PathLike) -> bool:
    """Whether this is a folder, or a checkpoint of a run. Looks at the keys only."""
    path = Path(path)
    return path.is_dir() or (path.is_file() and kind_of_state(glance(path)) is not None)


def checkpoint_of(run: str | os.PathLike) -> Path:
    """The file to use: the best of a folder, else its latest; a file is itself. LoadError when there is none."""
    run = Path(run)
    if not run.is_dir():
        return run
    for name in (BEST, LATEST):
        if (run / name).is_file():
            return run / name
    raise LoadError(f"{run}: expected the folder of a run, with {BEST} or {LATEST} in it")


def about_run(checkpoint: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a run says of itself: in the checkpoint, else in recipe.json beside it; empty where neither does."""
    if isinstance(state.get("about"), Mapping):
        return dict(state["about"])
    path = checkpoint.parent / RECIPE
    return read_json(path) if path.is_file() else {}


def fingerprint(module: nn.Module) -> str:
    """A hash of a network's tensors and their names: an encoder is worth nothing with another generator."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
