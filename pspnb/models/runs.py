"""The folder of a training run: which files it holds, and what they say it is. Training writes it, `pspnb.models.load` reads it.

    checkpoint.pt   the latest state: everything needed to go on
    best.pt         the network with the lowest validation loss, where there is a validation
    recipe.json     what was trained: kind, architecture, for an encoder its task and where its generator came from
    log.jsonl       losses and validations, a line each
    pictures/       sheets, named by the step

Every checkpoint holds the content of recipe.json as `about`, so that it can be loaded wherever it lies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pspnb.errors import LoadError, PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.reading import read_json
from pspnb.models.official.reading import glance

# What a resumed run must have been begun as; the rest of a recipe says where and how.
_BEGUN_AS = ("task", "variant", "scale", "init")


class RunFolder:
    """The files of a run by name."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.latest, self.best = self.path / "checkpoint.pt", self.path / "best.pt"
        self.recipe, self.log = self.path / "recipe.json", self.path / "log.jsonl"

    def pictures(self, step: int) -> Path:
        """The sheet of a step."""
        return self.path / "pictures" / f"{step:07d}.png"

    def begun(self) -> bool:
        """Whether there is something to continue."""
        return self.latest.exists()

    def check_new(self, *, resume: bool) -> None:
        """PspnbError when the folder holds a run that is not to be resumed."""
        if self.begun() and not resume:
            raise PspnbError(
                f"{self.latest} exists: continue it with resume (--resume), or choose another folder for a new run"
            )

    def to_use(self) -> Path:
        """The checkpoint to use: the best, else the latest. LoadError when there is neither."""
        for path in (self.best, self.latest):
            if path.is_file():
                return path
        raise LoadError(f"{self.path}: expected the folder of a run, with {self.best.name} or {self.latest.name} in it")

    def read_recipe(self) -> dict[str, Any]:
        """What was trained; empty for other folders."""
        return read_json(self.recipe) if self.recipe.is_file() else {}

    def write_recipe(self, about: Mapping[str, Any]) -> None:
        """recipe.json of a new run."""
        write_json(self.recipe, dict(about))

    def check_recipe(self, about: Mapping[str, Any]) -> None:
        """PspnbError when the folder holds the run of an encoder of another recipe."""
        before, now = ([str(recipe[k]) for k in _BEGUN_AS if k in recipe] for recipe in (self.read_recipe(), about))
        if before and now and before != now:
            raise PspnbError(f"{self.path} is a run of {' '.join(before)}, not of {' '.join(now)}")


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
    return RunFolder(run).to_use() if Path(run).is_dir() else Path(run)


def about_run(checkpoint: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a run says of itself: in the checkpoint, else in recipe.json beside it; empty where neither does."""
    if isinstance(state.get("about"), Mapping):
        return dict(state["about"])
    return RunFolder(checkpoint.parent).read_recipe()


def fingerprint(module: nn.Module) -> str:
    """A hash of a network's tensors and their names: an encoder is worth nothing with another generator."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
