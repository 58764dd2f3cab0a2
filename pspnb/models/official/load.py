"""The published file formats, in and out: pSp `.pt`, rosinality generators, face-recognition networks.

Source: the checkpoints of pixel2style2pixel and stylegan2-pytorch. Chapter: "Using pspnb".
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pspnb.device import placed
from pspnb.errors import LoadError, PspnbError
from pspnb.files.atomic import write_atomically
from pspnb.files.sniff import kind_of
from pspnb.models import zoo
from pspnb.models.official import architecture, nvidia
from pspnb.models.official.reading import existing_file, read_torch
from pspnb.models.psp import PSP
from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.ops import EqualLinear
from pspnb.nn.stylegan2 import Generator
from pspnb.tasks import task_named

logger = logging.getLogger("pspnb")

ENCODER_TYPES: dict[str, type[nn.Module]] = {
    "GradualStyleEncoder": GradualStyleEncoder,
    "BackboneEncoderUsingLastLayerIntoW": WEncoder,
    "BackboneEncoderUsingLastLayerIntoWPlus": NaiveWPlusEncoder,
}
# For files without an average. The standard error of the mean is then 1 % of the standard deviation of w.
AVERAGE_SAMPLES = 10_000


def load_psp(
    path: str | os.PathLike, *, device: str | torch.device = "cpu", start_from_latent_avg: bool | None = None
) -> PSP:
    """A pSp model from an official checkpoint, in eval mode; encoder kind, sizes and channels come from its tensors.

    `latent_avg` may be (n_styles, d), (1, n_styles, d), (1, d), (d,) or absent. Absent, the stored options say whether the
    encoder's output is the code itself or starts from the average, which is then computed from the mapping network; where
    they don't, `start_from_latent_avg` must. Raises LoadError, one line, when the file is missing, damaged, unsafe, of
    another kind, or says neither.
    """
    path = found(path)
    content = read_torch(path)
    tensors = _state_dict(content, path)
    options = _options(content)
    try:
        _refuse_other_encoders(options)
        decoder_tensors = architecture.part(tensors, "decoder.")
        encoder_tensors = architecture.part(tensors, "encoder.")
        if not decoder_tensors or not encoder_tensors:
            described = architecture.describe(tensors)
            raise LoadError(f"expected a pSp checkpoint (encoder.* and decoder.* tensors); found {described}")
        decoder = architecture.generator(decoder_tensors, lr_mlp=_rate(options.get("lr_mlp")))
        encoder = architecture.encoder(encoder_tensors, style_dim=decoder.style_dim, hints=options)
        _check_styles(encoder, decoder)
        average = _average(content.get("latent_avg", tensors.get("latent_avg")), decoder)
        start_from_average = _starts_from_average(options, average, start_from_latent_avg)
        _set_average(decoder, average)
        if average is None and start_from_average:
            logger.warning("%s has no latent_avg: computed from %d samples, seed 0", path, AVERAGE_SAMPLES)
    except LoadError as error:
        raise LoadError(f"{path}: {error}") from error
    psp = PSP(encoder, decoder, latent_avg=average, start_from_latent_avg=start_from_average)
    psp.task = _task(options, encoder)
    return placed(psp.eval(), device)


def load_generator(path: str | os.PathLike, *, device: str | torch.device = "cpu") -> Generator:
    """A StyleGAN2 generator, in eval mode, from a rosinality `.pt`, an NVIDIA StyleGAN2-ADA `.pkl` (or the state dict of one)
    or a pSp checkpoint.

    Without a stored average, `latent_avg` is computed from samples with a fixed seed. Raises LoadError, one line.
    """
    path = found(path)
    if kind_of(existing_file(path)) == "pickle":
        content: Mapping[str, Any] = nvidia.read_generator(path)
    else:
        content = read_torch(path)
    tensors = _state_dict(content, path, keys=("g_ema", "G_ema", "state_dict", "g", "G"))
    try:
        if nvidia.is_state_dict(tensors):
            content = nvidia.from_state_dict(tensors)
            tensors = content["g_ema"]
        tensors = architecture.part(tensors, "decoder.") or tensors
        module = generator_from(tensors, lr_mlp=_rate(content.get("lr_mlp")), average=content.get("latent_avg"))
    except LoadError as error:
        raise LoadError(f"{path}: {error}") from error
    return placed(module, device)


def generator_from(tensors: Mapping[str, Tensor], *, lr_mlp: float = 0.01, average: Any = None) -> Generator:
    """The generator with these tensors, in eval mode, with its mean latent (`average`, or that of samples with seed 0).

    Raises LoadError when they are not those of a generator.
    """
    module = architecture.generator(tensors, lr_mlp=lr_mlp)
    _set_average(module, _average(average, module))
    return module.eval()


def load_identity(path: str | os.PathLike, *, device: str | torch.device = "cpu") -> FaceEmbedder:
    """A face-recognition network, in eval mode, from an IR-SE50 (ArcFace) or IR-101 (CurricularFace) state dict.

    Raises LoadError, one line.
    """
    path = found(path)
    tensors = _state_dict(read_torch(path), path)
    try:
        module = architecture.face_embedder(tensors)
    except LoadError as error:
        raise LoadError(f"{path}: {error}") from error
    return placed(module.eval(), device)


def save_psp(psp: PSP, path: str | os.PathLike, *, options: Mapping[str, Any] | None = None) -> None:
    """Write a model as the published training does: `state_dict`, `opts`, and `latent_avg` if codes start from it.

    `opts` also holds what its tensors don't tell: the encoder's units and input size.
    """
    names = {kind: name for name, kind in ENCODER_TYPES.items()}
    opts = {
        "encoder_type": names[type(psp.encoder)],
        "input_nc": psp.encoder.in_channels,
        "output_size": psp.decoder.size,
        "start_from_latent_avg": psp.start_from_latent_avg,
        "learn_in_w": isinstance(psp.encoder, WEncoder),
        "units": list(psp.encoder.units),  # type: ignore[arg-type]
        "input_size": psp.input_size,
        "lr_mlp": _lr_mlp(psp.decoder),
        **({"dataset_type": psp.task} if psp.task else {}),
        **(options or {}),
    }
    state = {key: value for key, value in psp.state_dict().items() if key != "latent_avg"}
    content: dict[str, Any] = {"state_dict": state, "opts": opts}
    if psp.start_from_latent_avg:
        content["latent_avg"] = psp.latent_avg[:1].clone() if opts["learn_in_w"] else psp.latent_avg
    _save(content, path)


def save_generator(generator: Generator, path: str | os.PathLike) -> None:
    """Write a generator in the rosinality format: {"g_ema": state dict, "latent_avg": (d,)}, and the factor of its mapping
    network's learning rate, which no tensor tells."""
    content = {"g_ema": generator.state_dict(), "latent_avg": generator.latent_avg, "lr_mlp": _lr_mlp(generator)}
    _save(content, path)


# ---- helpers -------------------------------------------------------------------------------------------------------


def found(path: str | os.PathLike) -> Path:
    """The path as it is, or an error that names the shipped models and, for an official file, where it is published."""
    if os.fspath(path) == "":
        raise LoadError("expected the name or the file of a model, got an empty path")
    path = Path(path)
    if path.exists():
        return path
    official = zoo.OFFICIAL.get(path.name)
    if official is not None:
        raise LoadError(f"{path}: no such file; its authors publish it at {official.url}")
    raise LoadError(f"{path}: no such file, and no shipped model of that name; {zoo.what_there_is()}")


def _state_dict(content: Any, path: Path, *, keys: tuple[str, ...] = ("state_dict",)) -> dict[str, Tensor]:
    """The tensors by name, wherever the file keeps them; names lose the "module" of multi-GPU training, also inside."""
    if not isinstance(content, Mapping):
        raise LoadError(f"{path}: expected a dict of tensors, found {type(content).__name__}")
    state = next((content[key] for key in keys if isinstance(content.get(key), Mapping)), content)
    tensors = {_without_module(str(key)): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys_found = ", ".join(map(str, content))[:80]
        raise LoadError(f"{path}: expected a dict of tensors, found a dict with the keys {keys_found or '(none)'}")
    return tensors


def _lr_mlp(generator: Generator) -> float:
    """The learning-rate factor of the mapping network: it scales weights and biases at run time."""
    return next((layer.lr_mul for layer in generator.style.modules() if isinstance(layer, EqualLinear)), 0.01)


def _rate(value: Any) -> float:
    """A stored learning-rate factor; the published 0.01 where there is none."""
    try:
        return float(value) if value is not None and 0 < float(value) <= 1 else 0.01
    except (TypeError, ValueError):
        return 0.01


def _without_module(name: str) -> str:
    """ "encoder.module.body.0" -> "encoder.body.0": DataParallel wraps the whole, or each part."""
    return ".".join(part for part in name.split(".") if part != "module")


def _options(content: Mapping[str, Any]) -> dict[str, Any]:
    options = content.get("opts", {})
    if isinstance(options, argparse.Namespace):
        options = vars(options)
    return dict(options) if isinstance(options, Mapping) else {}


def _flag(value: Any, *, default: bool) -> bool:
    """Options are sometimes stored as strings."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes")
    return default if value is None else bool(value)


def _starts_from_average(options: Mapping[str, Any], average: Tensor | None, asked: bool | None) -> bool:
    """Whether codes start from the average: as asked, as stored, or because there is one. LoadError where nothing says."""
    stored = options.get("start_from_latent_avg")
    if asked is None and stored is None and average is None:
        raise LoadError(
            "neither latent_avg nor opts.start_from_latent_avg is in the file, so nothing says whether codes start from the "
            "mean latent; expected pspnb.load(file, start_from_latent_avg=True), as published, or =False"
        )
    return asked if asked is not None else _flag(stored, default=True)


def _task(options: Mapping[str, Any], encoder: nn.Module) -> str | None:
    """The task that the file names, where it is one of ours that reads as many channels."""
    try:
        task = task_named(str(options.get("dataset_type")))
    except ValueError:
        return None
    return task.name if task.in_channels == encoder.in_channels else None


def _refuse_other_encoders(options: Mapping[str, Any]) -> None:
    """Later methods keep pSp's tensor names but mean something else by them, which no shape would betray."""
    kind = options.get("encoder_type")
    if kind is not None and kind not in ENCODER_TYPES:
        raise LoadError(f"expected an encoder_type of {', '.join(ENCODER_TYPES)}; the file says {kind!r}")


def _check_styles(encoder: nn.Module, decoder: Generator) -> None:
    n_styles = getattr(encoder, "n_styles", decoder.n_styles)
    if n_styles != decoder.n_styles:
        raise LoadError(
            f"expected {decoder.n_styles} styles for a {decoder.size} px generator; the encoder makes {n_styles}"
        )
    if encoder.style_dim != decoder.style_dim:
        raise LoadError(f"expected styles of {decoder.style_dim} numbers; the encoder makes {encoder.style_dim}")


def _average(average: Any, decoder: Generator) -> Tensor | None:
    """The stored average as float32, of one of the published shapes; a leading batch axis of one is taken off."""
    if average is None:
        return None
    n, d = decoder.n_styles, decoder.style_dim
    if isinstance(average, Tensor) and tuple(average.shape) == (1, n, d):
        average = average[0]
    if not isinstance(average, Tensor) or tuple(average.shape) not in {(n, d), (1, d), (d,)}:
        shape = tuple(average.shape) if isinstance(average, Tensor) else type(average).__name__
        raise LoadError(f"expected a latent_avg of shape ({n}, {d}), (1, {d}) or ({d},), found {shape}")
    return average.detach().float()


@torch.no_grad()
def _set_average(decoder: Generator, average: Tensor | None) -> None:
    """Give the generator its own (d,) average: the stored one when all styles share it, else the mean of samples."""
    rows = None if average is None else average.reshape(-1, decoder.style_dim)
    decoder.latent_avg = torch.zeros(decoder.style_dim)
    if rows is not None and bool((rows == rows[0]).all()):
        decoder.latent_avg = rows[0].clone()
    else:
        decoder.latent_avg = decoder.mean_latent(AVERAGE_SAMPLES, seed=0)


def _save(content: Mapping[str, Any], path: str | os.PathLike) -> None:
    def write(stream: Any) -> None:
        try:
            torch.save(dict(content), stream)
        except RuntimeError as error:  # torch reports a failed write in its own words
            raise PspnbError(f"{path}: cannot write: {str(error).splitlines()[0][:120]}") from error

    write_atomically(path, write)
