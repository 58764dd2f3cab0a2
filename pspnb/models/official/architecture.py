"""What network a state dict belongs to, read from the names and shapes of its tensors alone.

Stored options are not believed: old checkpoints lack some, and some hold strings. Modules are built on the meta device,
which allocates nothing, and take the file's own tensors: loading needs no second copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pspnb.errors import LoadError
from pspnb.models.prior_mapping import PriorMapping
from pspnb.nn.backbones import UNITS, FaceEmbedder
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.ops import make_kernel
from pspnb.nn.stylegan2 import Generator, noise_shapes
from pspnb.world2.prior import Z_DIM

Tensors = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)
# Of the encoders of facets64, whose stages 3 and 4 have one width.
SMALL_UNITS = (1, 1, 2, 1)
# What reading sizes out of arbitrary tensors, and building a network of those sizes, may raise.
_UNREADABLE = (KeyError, IndexError, ValueError, TypeError, ArithmeticError, RuntimeError)


def part(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix`, which is removed from their names."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def describe(tensors: Tensors) -> str:
    """One phrase for what a state dict seems to be, for error messages."""
    keys = set(tensors)
    if any(key.startswith("encoder.") for key in keys) and any(key.startswith("decoder.") for key in keys):
        return "a pSp checkpoint (open it with pspnb.load)"
    if {"input.input", "conv1.conv.weight"} <= keys:
        return "a StyleGAN2 generator (open it with pspnb.load_generator)"
    if "output_layer.3.weight" in keys and "body.0.res_layer.1.weight" in keys:
        return "a face-recognition network (open it with pspnb.load_identity)"
    if "body.0.res_layer.1.weight" in keys:
        return "an encoder without its generator"
    if any(key.startswith("final_linear.") for key in keys):
        return "a StyleGAN2 discriminator"
    if any(key.startswith("synthesis.b4.") for key in keys):
        return "a generator of NVIDIA's (open it with pspnb.load_generator)"
    return f"unknown (its first tensors are {', '.join(sorted(keys)[:3])})" if keys else "empty"


# ---- generator -----------------------------------------------------------------------------------------------------


def generator_arguments(tensors: Tensors) -> dict[str, Any]:
    """Constructor arguments of the `Generator` these tensors belong to. Raises KeyError where one is missing."""
    n_stages = _count(tensors, "to_rgbs.{}.conv.weight")
    channels = {4: tensors["conv1.conv.weight"].shape[1]}
    for j in range(n_stages):
        channels[8 * 2**j] = tensors[f"convs.{2 * j}.conv.weight"].shape[1]
    return {
        "size": 4 * 2**n_stages,
        "style_dim": tensors["conv1.conv.modulation.weight"].shape[1],
        "n_mlp": _count(tensors, "style.{}.weight", start=1) or _count(tensors, "style.layers.{}.weight"),
        "channels": channels,
        "noise": "conv1.noise.weight" in tensors,
    }


def generator(tensors: Tensors, *, lr_mlp: float = 0.01) -> Generator:
    """The generator with these tensors. Raises LoadError when they are not exactly those of one."""
    try:
        arguments = generator_arguments(tensors)
        with torch.device("meta"):
            module = Generator(**arguments, lr_mlp=lr_mlp, **_prior_mapping(tensors, lr_mlp))
    except LoadError:
        raise
    except _UNREADABLE as error:
        raise LoadError(f"expected a StyleGAN2 generator (rosinality names); found {describe(tensors)}") from error
    return fill(module, {**_constants(arguments, tensors), **tensors}, "generator")


def _prior_mapping(tensors: Tensors, lr_mlp: float) -> dict[str, Any]:
    """The mapping network of a generator with an answer key, whose tensors have other names; {} for the published one."""
    if "style.layers.0.weight" not in tensors:
        return {}
    hidden, n_numbers = tensors["style.layers.0.weight"].shape
    n_mlp = _count(tensors, "style.layers.{}.weight")
    style_dim = tensors[f"style.layers.{n_mlp - 1}.weight"].shape[0]
    try:
        mapping = PriorMapping(style_dim=style_dim, hidden=hidden, n_mlp=n_mlp, lr_mlp=lr_mlp, n_numbers=n_numbers)
    except ValueError as error:  # of another version of Facets
        raise LoadError(str(error)) from error
    return {"mapping": mapping, "z_dim": Z_DIM}


def _constants(arguments: Mapping[str, Any], tensors: Tensors) -> dict[str, Tensor]:
    """Buffers that early files lack: the blur kernels, which are always the same, and the noise maps, which are random.

    Raises LoadError when a file has blur kernels of its own: the network would not compute what it was trained for.
    """
    kernel = make_kernel(gain=4.0)
    names = [f"convs.{2 * j}.conv.blur.kernel" for j in range(_count(tensors, "to_rgbs.{}.conv.weight"))]
    names += [f"to_rgbs.{j}.upsample.kernel" for j in range(len(names))]
    for name in names:
        if name in tensors and not (tensors[name].shape == (4, 4) and torch.allclose(tensors[name].float(), kernel)):
            raise LoadError(f"expected the (1, 3, 3, 1) blur in {name}; this generator uses another filter")
    found = {name: kernel.clone() for name in names}
    if arguments["noise"] and "noises.noise_0" not in tensors:
        rng = torch.Generator().manual_seed(0)
        for i, shape in enumerate(noise_shapes(arguments["size"])):
            found[f"noises.noise_{i}"] = torch.randn(shape, generator=rng)
    return found


# ---- encoders ------------------------------------------------------------------------------------------------------


def encoder(tensors: Tensors, *, style_dim: int, hints: Mapping[str, Any] | None = None) -> nn.Module:
    """The encoder with these tensors, any of the three kinds. Raises LoadError when they are not those of one.

    `hints`: stored options. Two things that no shape tells are taken from there: "units" (of four stages of residual
    units, where neighbours have one width) and "input_size" (of encoders that pool; default: the published 256).
    """
    try:
        with torch.device("meta"):
            module = _empty_encoder(tensors, style_dim, hints or {})
    except _UNREADABLE as error:
        raise LoadError(f"expected a pSp encoder; found {describe(tensors)}") from error
    return fill(module, tensors, "encoder")


def _empty_encoder(tensors: Tensors, style_dim: int, hints: Mapping[str, Any]) -> nn.Module:
    body = _backbone_arguments(tensors, _numbers(hints.get("units")))
    body["in_channels"] = tensors["input_layer.0.weight"].shape[1]
    if "styles.0.linear.weight" in tensors:
        n_styles = _count(tensors, "styles.{}.linear.weight")
        halvings = [_count(tensors, f"styles.{i}.convs.{{}}.weight", step=2) for i in range(n_styles)]
        return GradualStyleEncoder(
            n_styles,
            style_dim=tensors["styles.0.linear.weight"].shape[0],
            # From the longest head: a coarse one may have a single convolution, its last.
            head_channels=tensors[f"styles.{halvings.index(max(halvings))}.convs.0.weight"].shape[0],
            last_channels=tensors["styles.0.linear.weight"].shape[1],
            # The coarse heads halve the smallest map, a sixteenth of the image, down to one pixel.
            input_size=16 * 2 ** min(halvings),
            maps=[n - min(halvings) for n in halvings],
            **body,
        )
    body["input_size"] = next(iter(_numbers(hints.get("input_size")) or ()), 256)
    if "output_layer_2.3.weight" in tensors:
        bottleneck, pooled = tensors["output_layer_2.3.weight"].shape
        return NaiveWPlusEncoder(
            tensors["linear.weight"].shape[0] // style_dim,
            style_dim=style_dim,
            bottleneck=bottleneck,
            pool=round((pooled / body["widths"][-1]) ** 0.5),
            **body,
        )
    return WEncoder(style_dim=tensors["linear.weight"].shape[0], **body)


def face_embedder(tensors: Tensors) -> FaceEmbedder:
    """The recognition network with these tensors. Raises LoadError when they are not exactly those of one."""
    try:
        body = _backbone_arguments(tensors)
        dim, inputs = tensors["output_layer.3.weight"].shape
        with torch.device("meta"):
            module = FaceEmbedder(
                input_size=16 * round((inputs / body["widths"][-1]) ** 0.5),
                embedding_dim=dim,
                affine="output_layer.4.weight" in tensors,
                **body,
            )
    except _UNREADABLE as error:
        raise LoadError(f"expected a face-recognition network (IR or IR-SE); found {describe(tensors)}") from error
    return fill(module, tensors, "face-recognition network")


def _numbers(value: Any) -> tuple[int, ...] | None:
    """Whole numbers above 0 from a stored option (one, several, or their text); None for anything else."""
    if isinstance(value, str):
        value = re.findall(r"\d+", value)
    values = value if isinstance(value, (list, tuple)) else [value]
    try:
        numbers = tuple(int(v) for v in values)
    except (TypeError, ValueError):
        return None
    return numbers if numbers and min(numbers) > 0 else None


def _backbone_arguments(tensors: Tensors, units_hint: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Widths, units per stage and kind of an IR backbone. Raises KeyError or ValueError where they cannot be read."""
    n_units = _count(tensors, "body.{}.res_layer.1.weight")
    shapes = [tensors[f"body.{i}.res_layer.1.weight"].shape for i in range(n_units)]
    starts = [i for i, (c_out, c_in, _, _) in enumerate(shapes) if i == 0 or c_in != c_out]
    published: dict[int, tuple[int, ...]] = {sum(units): units for units in (*UNITS.values(), SMALL_UNITS)}
    if units_hint is not None and len(units_hint) == 4 and sum(units_hint) == n_units:
        units: tuple[int, ...] = units_hint
        starts = [sum(units[:i]) for i in range(4)]
    elif len(starts) == 4:
        units = tuple(end - start for start, end in zip(starts, [*starts[1:], n_units], strict=True))
    elif n_units in published:  # stages of equal width cannot be told apart by their shapes
        units = published[n_units]
        starts = [sum(units[:i]) for i in range(4)]
    else:
        raise ValueError(f"expected four stages of residual units, found {n_units} units in {len(starts)} stages")
    return {
        "widths": (tensors["input_layer.0.weight"].shape[0], *(shapes[i][0] for i in starts)),
        "units": units,
        "mode": "ir_se" if "body.0.res_layer.5.fc1.weight" in tensors else "ir",
    }


# ---- filling -------------------------------------------------------------------------------------------------------


def fill(module: M, tensors: Tensors, what: str) -> M:
    """Give a module built on the meta device the tensors themselves. Raises LoadError at the first that is wrong."""
    wanted = module.state_dict()
    # BatchNorm's counter came with PyTorch 0.4.1 and has no effect on what a network computes.
    counters = {key: torch.zeros((), dtype=torch.long) for key in wanted if key.endswith(".num_batches_tracked")}
    tensors = {**counters, **tensors}
    for key, target in wanted.items():
        if key not in tensors:
            raise LoadError(f"expected the {what} tensor {key}; the file lacks it")
        if tensors[key].shape != target.shape:
            found = tuple(tensors[key].shape)
            raise LoadError(f"expected the {what} tensor {key} of shape {tuple(target.shape)}, found {found}")
    if extra := sorted(set(tensors) - set(wanted)):
        raise LoadError(f"the {what} has {len(extra)} tensors that belong to another architecture, such as {extra[0]}")
    module.load_state_dict({key: _as_float32(tensors[key]) for key in wanted}, strict=True, assign=True)
    return module


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def _count(tensors: Tensors, pattern: str, *, start: int = 0, step: int = 1) -> int:
    """How many of pattern.format(start), pattern.format(start + step), ... there are without a gap."""
    n = 0
    while pattern.format(start + n * step) in tensors:
        n += 1
    return n
