"""The one loader: a shipped name, an official file, or a run of `pspnb train`, of any scale, as a network in eval mode.

`pspnb.load` and every command that takes a model call it. Chapter: "Using pspnb".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pspnb.device import placed
from pspnb.errors import LoadError
from pspnb.models import official, zoo
from pspnb.models.architectures import generator_architecture
from pspnb.models.base import Translator
from pspnb.models.feature_style import FeatureStyle
from pspnb.models.official import architecture
from pspnb.models.official.reading import read_torch
from pspnb.models.psp import PSP
from pspnb.models.runs import about_run, checkpoint_of, fingerprint, is_run, kind_of_state
from pspnb.nn.feature_style import FeatureStyleEncoder
from pspnb.nn.stylegan2 import Generator

Source = str | os.PathLike


def load(
    source: Source,
    *,
    device: str | torch.device = "cpu",
    generator: Source | Generator | None = None,
    start_from_latent_avg: bool | None = None,
) -> nn.Module:
    """A shipped model by name, a pSp checkpoint by path, or a run by its folder (the best weights) or one of its checkpoints.

    `generator`: of an encoder's run, where it isn't any more where training found it. `start_from_latent_avg`: of a
    checkpoint that doesn't say. Raises LoadError with one line that says what was expected.
    """
    opened = _shipped_or_run(source, device, generator)
    if opened is None and generator is None:
        return official.load_psp(source, device=device, start_from_latent_avg=start_from_latent_avg)
    if opened is None or (generator is not None and not _names_a_run(source)):
        raise LoadError(f"{source}: only the run of an encoder takes a generator; other models bring their own")
    if start_from_latent_avg is not None:
        raise LoadError(f"{source} says itself whether codes start from the mean latent; expected no other word")
    return opened


def load_translator(
    source: Source, *, device: str | torch.device = "cpu", generator: Source | Generator | None = None
) -> Translator:
    """`load`, for a model that translates images. Raises LoadError for a generator or an instrument."""
    model = load(source, device=device, generator=generator)
    if not isinstance(model, Translator):
        raise LoadError(f"expected a model that translates images, {source} is a {type(model).__name__}")
    return model


def load_generator(source: Source, *, device: str | torch.device = "cpu") -> Generator:
    """A generator: shipped, a rosinality or NVIDIA file, a run; also that of an encoder. Raises LoadError."""
    opened = _shipped_or_run(source, device)
    if opened is None:
        return official.load_generator(source, device=device)
    if isinstance(opened, Translator):
        return opened.decoder
    if not isinstance(opened, Generator):
        raise LoadError(f"expected a generator, but {source} is a {type(opened).__name__}")
    return opened


def load_identity(source: Source, *, device: str | torch.device = "cpu") -> nn.Module:
    """A face-recognition network with unit-length embeddings: shipped, a published file, or the run of one."""
    opened = _shipped_or_run(source, device)
    return opened if opened is not None else official.load_identity(source, device=device)


def load_run(
    run: Source, *, device: str | torch.device = "cpu", generator: Source | Generator | None = None
) -> nn.Module:
    """The network of a run, by its folder or one of its checkpoint files: an encoder on its generator (`PSP`, `FeatureStyle`), the
    averaged generator, or an instrument.

    Raises LoadError, one line, for other files, or for another generator than the one an encoder was trained on.
    """
    path = checkpoint_of(run)
    state = read_torch(path)
    kind = kind_of_state(state) if isinstance(state, Mapping) else None
    if kind is None:
        raise LoadError(f"{path}: expected a checkpoint of a training run")
    if generator is not None and kind != "encoder":
        raise LoadError(f"{path}: the run of a network that needs no generator; expected none")
    about = about_run(path, state)
    try:
        if kind == "encoder":
            module: nn.Module = _translator(about, state, generator)
        else:
            module = average_of(state) if kind == "generator" else _built(about, state["network"], "instrument")
    except LoadError as error:
        raise LoadError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise LoadError(f"{path}: a damaged checkpoint, or one of another version ({type(error).__name__})") from error
    return placed(module.eval(), device)


def _shipped_or_run(
    source: Source, device: str | torch.device, generator: Source | Generator | None = None
) -> nn.Module | None:
    """The module of a shipped name or of a training run; None for everything else, which is a published file."""
    if str(source) in zoo.available():
        return zoo.load_shipped(str(source), device=str(device))
    return load_run(source, device=device, generator=generator) if _names_a_run(source) else None


def _names_a_run(source: Source) -> bool:
    return bool(os.fspath(source)) and is_run(source)


def _built(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], name: str) -> nn.Module:
    """A network of the architecture that the run describes, with these tensors."""
    if "architecture" not in about:
        raise LoadError("the run does not say what it trained (no architecture); expected one of this version of pspnb")
    with torch.random.fork_rng(devices=[]):  # random weights that are replaced at once
        module = zoo.build(about["architecture"])
    return architecture.fill(module, tensors, name)


def _translator(about: Mapping[str, Any], state: Mapping[str, Any], generator: Source | Generator | None) -> Translator:
    decoder = _generator_of(about, state, generator)
    encoder = _built(about, encoder_tensors(state), "encoder")
    start = bool(about.get("start_from_latent_avg", True))
    kind: Any = FeatureStyle if isinstance(encoder, FeatureStyleEncoder) else PSP
    model: Translator = kind(encoder, decoder, latent_avg=state["latent_avg"], start_from_latent_avg=start)
    model.task = about.get("task", state["identity"].get("task"))
    return model


def encoder_tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The encoder to use of a checkpoint: with the averaged weights where there are any."""
    tensors = dict(state["encoder"])
    if isinstance(state.get("average"), Mapping):  # a latest checkpoint; best.pt holds the averaged weights already
        tensors |= state["average"]
    return tensors


def _generator_of(about: Mapping[str, Any], state: Mapping[str, Any], given: Source | Generator | None) -> Generator:
    """The generator the encoder was trained on, recognised by its fingerprint."""
    where = given if given is not None else about.get("generator")
    if where is None:
        raise LoadError("the run does not say where its generator is; expected --generator FILE")
    try:
        decoder = where if isinstance(where, Generator) else load_generator(str(where))
    except LoadError as error:
        if given is not None:
            raise
        raise LoadError(f"its generator cannot be opened ({error}); expected --generator FILE") from error
    if state["identity"].get("generator") != fingerprint(decoder):
        named = "the one given" if isinstance(where, Generator) else where
        raise LoadError(f"trained on another generator than {named}; an encoder is of use with its own only")
    return decoder


def average_of(state: Mapping[str, Any]) -> Generator:
    """The averaged generator of the checkpoint of a generator's run, in eval mode, with its mean latent."""
    described = state.get("about", {}).get("architecture") or generator_architecture(state["config"])
    with torch.random.fork_rng(devices=[]):
        generator = zoo.build(described)
    if not isinstance(generator, Generator):
        raise LoadError(f"expected the run of a generator, this one describes a {type(generator).__name__}")
    architecture.fill(generator, state["average"], "generator")
    generator.latent_avg.copy_(generator.mean_latent(100_000, seed=0))
    return generator.eval()
