"""NVIDIA's StyleGAN2-ADA pickles: the generator's tensors, under the names of the rosinality port, without running them.

Such a file pickles whole modules together with the source text that would rebuild them. Here a restricted unpickler
reads it: containers, numbers and tensors are rebuilt; modules become dicts of their attributes; any other request is
refused by name, and nothing from the file is ever executed. Chapter: "Using pspnb".

How the tensors correspond, with the reason (tests/test_checkpoints.py holds an independent forward of the left side):

* dense and affine layers, mapping: the same equalised form, weights at unit variance / lr_mul; copied.
* affine bias: it starts at 1 and is stored so, like rosinality's modulation bias (TensorFlow files store it minus 1).
* convolutions: (o, i, k, k) -> (1, o, i, k, k). rosinality scales by 1 / sqrt(i k k) at run time and NVIDIA does not, but
  demodulation divides by the norm and takes the factor out again (up to its epsilon, 1e-8). The RGB layers, which do not
  demodulate, have the same factor on both sides.
* up-sampling convolutions: NVIDIA defines them as a true convolution of the zero-stuffed input, which is what a
  transposed convolution with the same weights computes; so they are copied, not flipped. (Files converted from
  TensorFlow are flipped, because there the operation is a correlation.)
* noise_const (r, r) -> (1, 1, r, r); noise_strength () -> (1); RGB bias (3) -> (1, 3, 1, 1); w_avg -> latent_avg.

Not carried over: clamping of activations at +-256 (a guard for half precision). Refused: class-conditional generators,
residual and original synthesis architectures, StyleGAN3, TensorFlow pickles.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pspnb.errors import LoadError


class _Refused(Exception):
    """The pickle asks for something that reading weights does not need."""


@dataclass(frozen=True)
class _Storage:
    """The bytes of one tensor storage, still as the file holds them; decoding waits until it is known to be needed."""

    data: bytes


@dataclass(frozen=True)
class _Lazy:
    """A tensor whose storage is not decoded yet."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> Tensor:
        storage = torch.load(io.BytesIO(self.storage.data), map_location="cpu", weights_only=True)
        values = torch.empty(0, dtype=storage.dtype).set_(storage)
        if math.prod(self.size) > values.numel():
            raise _Refused("a tensor larger than its storage")
        return values.as_strided(self.size, self.stride, self.offset).clone()


@dataclass(frozen=True)
class _Ready:
    """A tensor that needs no decoding, with the face of a `_Lazy` one."""

    value: Tensor

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def load(self) -> Tensor:
        return self.value


class _Module(dict):
    """The attributes of a pickled module; `kind` is its class name in the source that is not run."""

    kind = ""


class _Plain(dict):
    """A dict that could also be read by attribute, as a dict."""


def _module(meta: Any, *_: Any) -> _Module:
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise _Refused("a module without its attributes")
    module = _Module(meta["state"])
    module.kind = str(meta.get("class_name", ""))
    return module


def _storage(data: Any) -> _Storage:
    if not isinstance(data, bytes):
        raise _Refused("a tensor whose storage is not bytes")
    return _Storage(data)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Lazy:
    if not isinstance(storage, _Storage):
        raise _Refused("a tensor without storage")
    return _Lazy(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


class _NumberType:
    """A NumPy number type: its code, and the byte order that the pickle sets afterwards."""

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not re.fullmatch(r"[fiu][248]|b1|i1|u1", code):
            raise _Refused(f"the NumPy type {code!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: Any, data: Any) -> float | int:
    """A NumPy scalar as a Python number: layer gains are stored so."""
    import numpy as np

    if not isinstance(kind, _NumberType) or not isinstance(data, (bytes, str)):
        raise _Refused("a NumPy object")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype=np.dtype(kind.order + kind.code))[0].item()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes as protocols before 3 write them."""
    if encoding != "latin1":
        raise _Refused(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("dnnlib.util", "EasyDict"): _Plain,
    ("dnnlib", "EasyDict"): _Plain,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("numpy", "dtype"): _NumberType,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object outside the file")


def read_generator(path: Path) -> dict[str, Any]:
    """{"g_ema": tensors with rosinality names, "latent_avg": (d,), "lr_mlp": number} of a StyleGAN2-ADA `.pkl`.

    Raises LoadError, one line, when the file is damaged, asks for code, or holds another kind of network.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except _Refused as error:
        if str(error).startswith("dnnlib.tflib"):
            expected = "expected one of the PyTorch version of StyleGAN2-ADA"
            raise LoadError(f"{path}: a TensorFlow pickle; {expected}") from error
        reason = f"refused: the file asks for {error}, and weights need no code; nothing of it was run"
        raise LoadError(f"{path}: {reason}") from error
    except Exception as error:  # a damaged pickle may raise anything
        first = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise LoadError(f"{path}: damaged or truncated pickle ({first})") from error
    network = content
    if isinstance(content, dict) and not isinstance(content, _Module):  # a snapshot; else the network alone
        network = content.get("G_ema", content.get("G"))
    if not isinstance(network, _Module):
        raise LoadError(f"{path}: expected a StyleGAN2-ADA pickle with a network called G_ema")
    del content  # the other networks of the file are not decoded
    try:
        return _converted(network)
    except LoadError as error:
        raise LoadError(f"{path}: {error}") from error
    except Exception as error:
        raise LoadError(f"{path}: damaged pickle ({type(error).__name__} while reading its tensors)") from error


def is_state_dict(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a network of NVIDIA's, by their names."""
    return "synthesis.b4.const" in tensors or "synthesis.input.freqs" in tensors


def from_state_dict(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """As `read_generator`, from `G.state_dict()`. The mapping's learning-rate multiplier, which isn't in it, is taken as
    the published 0.01. Raises LoadError when they are of another network."""
    return _convert({name: _Ready(value) for name, value in tensors.items()}, _Module())


def _tensors(module: dict, prefix: str = "") -> dict[str, _Lazy]:
    """Every parameter and buffer below a module by its dotted name."""
    found = {}
    for group in ("_parameters", "_buffers"):
        found.update(
            {prefix + name: value for name, value in module.get(group, {}).items() if isinstance(value, _Lazy)}
        )
    for name, child in module.get("_modules", {}).items():
        if isinstance(child, dict):
            found.update(_tensors(child, f"{prefix}{name}."))
    return found


def _child(module: dict, *names: str) -> dict:
    for name in names:
        module = module.get("_modules", {}).get(name) or {}
    return module


def _converted(network: _Module) -> dict[str, Any]:
    return _convert(_tensors(network), network)


def _convert(lazy: Mapping[str, _Lazy | _Ready], network: _Module) -> dict[str, Any]:
    resolutions = sorted({int(m[1]) for m in (re.match(r"synthesis\.b(\d+)\.", key) for key in lazy) if m})
    _refuse_other_networks(network, lazy, resolutions)
    names = _names(resolutions, n_mlp=sum(re.fullmatch(r"mapping\.fc\d+\.weight", key) is not None for key in lazy))
    filters = [key for key in lazy if key.endswith("resample_filter")]
    if unknown := sorted(set(lazy) - set(names) - set(filters)):
        raise LoadError(f"expected a plain StyleGAN2 generator; found the tensor {unknown[0]}")
    if not any(key.endswith(".noise_strength") for key in lazy):  # trained with use_noise=False
        names = {key: value for key, value in names.items() if ".noise_" not in key}
    if missing := sorted(set(names) - set(lazy) - {"mapping.w_avg"}):
        raise LoadError(f"expected the generator tensor {missing[0]}; the file lacks it")
    _check_filters([lazy[key].load() for key in filters])
    tensors = {}
    for theirs, (ours, shape) in names.items():
        if theirs in lazy:
            value = lazy[theirs].load().float()
            tensors[ours] = value.reshape(shape(value)) if shape else value
    average = tensors.pop("latent_avg", None)
    return {"g_ema": tensors, "latent_avg": average, "lr_mlp": _learning_rate_multiplier(network)}


def _names(resolutions: list[int], *, n_mlp: int) -> dict[str, tuple[str, Any]]:
    """Their name -> (our name, how to reshape, None for as it is)."""
    conv = lambda t: (1, *t.shape)  # noqa: E731
    rgb_bias = lambda t: (1, 3, 1, 1)  # noqa: E731
    noise_map = lambda t: (1, 1, *t.shape)  # noqa: E731
    one = lambda t: (1,)  # noqa: E731
    names: dict[str, tuple[str, Any]] = {"mapping.w_avg": ("latent_avg", None)}
    for i in range(n_mlp):
        names |= {f"mapping.fc{i}.{leaf}": (f"style.{i + 1}.{leaf}", None) for leaf in ("weight", "bias")}
    names["synthesis.b4.const"] = ("input.input", conv)
    for j, r in enumerate(resolutions):
        first = [] if j == 0 else [("conv0", f"convs.{2 * j - 2}", 2 * j - 1)]
        for theirs, ours, noise in [*first, ("conv1", "conv1" if j == 0 else f"convs.{2 * j - 1}", 2 * j)]:
            base = f"synthesis.b{r}.{theirs}"
            names |= {
                f"{base}.weight": (f"{ours}.conv.weight", conv),
                f"{base}.affine.weight": (f"{ours}.conv.modulation.weight", None),
                f"{base}.affine.bias": (f"{ours}.conv.modulation.bias", None),
                f"{base}.noise_strength": (f"{ours}.noise.weight", one),
                f"{base}.noise_const": (f"noises.noise_{noise}", noise_map),
                f"{base}.bias": (f"{ours}.activate.bias", None),
            }
        base, ours = f"synthesis.b{r}.torgb", "to_rgb1" if j == 0 else f"to_rgbs.{j - 1}"
        names |= {
            f"{base}.weight": (f"{ours}.conv.weight", conv),
            f"{base}.affine.weight": (f"{ours}.conv.modulation.weight", None),
            f"{base}.affine.bias": (f"{ours}.conv.modulation.bias", None),
            f"{base}.bias": (f"{ours}.bias", rgb_bias),
        }
    return names


def _refuse_other_networks(network: _Module, lazy: Mapping[str, _Lazy | _Ready], resolutions: list[int]) -> None:
    if "synthesis.b4.const" not in lazy or resolutions != [4 * 2**i for i in range(len(resolutions))]:
        named = f"a network of class {network.kind!r}" if network.kind else "another network of NVIDIA's"
        kind = "a StyleGAN3 generator" if "synthesis.input.freqs" in lazy else named
        raise LoadError(f"expected a StyleGAN2 generator, found {kind}")
    if "mapping.embed.weight" in lazy:
        raise LoadError("expected an unconditional generator; this one needs class labels")
    if f"synthesis.b{resolutions[-1]}.skip.weight" in lazy or "synthesis.b4.torgb.weight" not in lazy:
        raise LoadError("expected the skip architecture of StyleGAN2; this is its residual or original form")
    colours = lazy["synthesis.b4.torgb.weight"].size[0]
    if colours != 3:
        raise LoadError(f"expected a generator of 3 colour channels, found {colours}")


def _check_filters(filters: list[Tensor]) -> None:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if any(f.shape != (4, 4) or not torch.allclose(f.float(), torch.outer(taps, taps)) for f in filters):
        raise LoadError("expected the (1, 3, 3, 1) resampling filter; this generator uses another one")


def _learning_rate_multiplier(network: _Module) -> float:
    """Mapping layers keep lr_mul / sqrt(n_in) as a plain attribute; 0.01 is what every published configuration uses."""
    layer = _child(network, "mapping", "fc0")
    gain, weight = layer.get("weight_gain"), layer.get("_parameters", {}).get("weight")
    return 0.01 if gain is None else float(gain) * math.sqrt(weight.size[1])
