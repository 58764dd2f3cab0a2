"""From the folder of a training run to the network it trained, of any scale: what `pspnb.load` does with a run.

A run is a folder with `checkpoint.pt` (the latest state) and, where it was validated, `best.pt`. An encoder's run says in
`recipe.json`, and in every checkpoint, what it is: task, architecture, and where its generator came from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pspnb.errors import LoadError
from pspnb.files.reading import read_json
from pspnb.models.official import architecture
from pspnb.models.official.load import generator_from, placed
from pspnb.models.official.reading import glance, read_torch
from pspnb.models.psp import PSP
from pspnb.nn.stylegan2 import Generator

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
    """Whether `load_run` is the one to open this: a folder, or a checkpoint of a run. Looks at the keys only."""
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
    """What an encoder's run says of itself: in the checkpoint, else in recipe.json beside it; empty in early runs."""
    if isinstance(state.get("about"), Mapping):
        return dict(state["about"])
    path = checkpoint.parent / RECIPE
    return read_json(path) if path.is_file() else {}


def load_run(
    run: str | os.PathLike,
    *,
    device: str | torch.device = "cpu",
    generator: str | os.PathLike | Generator | None = None,
) -> nn.Module:
    """The network of a run, by its folder (the best weights) or one of its checkpoint files, in eval mode.

    A PSP, the averaged generator, or an instrument. `generator`: name, file or module of the generator an encoder was
    trained on; default: where the run found it. Raises LoadError, one line, for other files, or for another generator.
    """
    path = checkpoint_of(run)
    state = read_torch(path)
    kind = kind_of_state(state) if isinstance(state, Mapping) else None
    if kind is None:
        raise LoadError(f"{path}: expected a checkpoint of a training run")
    if generator is not None and kind != "encoder":
        raise LoadError(f"{path}: the run of a network that needs no generator; expected none")
    try:
        if kind == "encoder":
            module: nn.Module = _psp(path, state, generator)
        else:
            module = _generator(state) if kind == "generator" else _instrument(state)
    except LoadError as error:
        raise LoadError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise LoadError(f"{path}: a damaged checkpoint, or one of another version ({type(error).__name__})") from error
    return placed(module.eval(), device)


def _psp(path: Path, state: Mapping[str, Any], generator: str | os.PathLike | Generator | None) -> PSP:
    from pspnb.models.zoo import build

    about = about_run(path, state)
    decoder = _generator_of(about, state, generator)
    described = about.get("architecture") or _early_architecture(about, state, decoder)
    with torch.random.fork_rng(devices=[]):  # random weights that are replaced at once
        encoder = build(described)
    tensors = dict(state["encoder"])
    if isinstance(state.get("average"), list):  # a latest checkpoint; best.pt holds the averaged weights already
        names = [name for name, _ in encoder.named_parameters()]
        tensors |= dict(zip(names, state["average"], strict=True))
    architecture.fill(encoder, tensors, "encoder")
    start = about.get("start_from_latent_avg", about.get("variant") != "from_zero")
    psp = PSP(encoder, decoder, latent_avg=state["latent_avg"], start_from_latent_avg=bool(start))
    psp.task = about.get("task", state["identity"].get("task"))
    return psp


def _generator_of(
    about: Mapping[str, Any], state: Mapping[str, Any], given: str | os.PathLike | Generator | None
) -> Generator:
    """The generator the encoder was trained on, recognised by its fingerprint."""
    import pspnb
    from pspnb.training.run import fingerprint

    where = given if given is not None else about.get("generator")
    if where is None and about.get("scale", "facets64") == "facets64":
        where = "facets64/generator"
    if where is None:
        raise LoadError("the run does not say where its generator is; expected --generator FILE")
    try:
        decoder = where if isinstance(where, Generator) else pspnb.load_generator(str(where))
    except LoadError as error:
        if given is not None:
            raise
        raise LoadError(f"its generator cannot be opened ({error}); expected --generator FILE") from error
    if state["identity"].get("generator") != fingerprint(decoder):
        named = "the one given" if isinstance(where, Generator) else where
        raise LoadError(f"trained on another generator than {named}; an encoder is of use with its own only")
    return decoder


def _early_architecture(about: Mapping[str, Any], state: Mapping[str, Any], decoder: Generator) -> dict[str, Any]:
    """Of runs that did not write it down: by the recipe of their variant."""
    from pspnb.recipes.encoders import encoder_architecture, variant_named
    from pspnb.tasks import task_named

    task = task_named(about.get("task", state["identity"]["task"]))
    variant = variant_named(about.get("variant", "psp"))
    return encoder_architecture(task, variant, scale=about.get("scale", "facets64"), generator=decoder)


def _generator(state: Mapping[str, Any]) -> Generator:
    """The averaged generator, of a run with a teacher or without."""
    if "w_mean" not in state:
        return generator_from(state["average"])
    from pspnb.training.imitation import average_of

    return average_of(state)


def _instrument(state: Mapping[str, Any]) -> nn.Module:
    from pspnb.models.zoo import build
    from pspnb.training.instruments import architecture as of_instrument

    with torch.random.fork_rng(devices=[]):
        module = build(of_instrument(state["config"]["name"]))
    tensors: Mapping[str, Tensor] = state["network"]
    return architecture.fill(module, tensors, "instrument")
