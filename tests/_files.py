"""Official-format files for the tests, made without the library's own writers: small networks, rule-filled tensors."""

import math
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _golden import fill_module, fill_state, gauss, golden_keys
from _second import blur_zero_insert
from torch import Tensor, nn

from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.ops import make_kernel
from pspnb.nn.stylegan2 import Generator

STYLE_DIM = 32
WIDTHS = (16, 16, 24, 32, 48)
CHANNELS = {4: 24, 8: 20, 16: 16, 32: 12}


def tiny_generator(size: int = 32, **kwargs) -> Generator:
    channels = {r: c for r, c in CHANNELS.items() if r <= size}
    kwargs = {"style_dim": STYLE_DIM, "n_mlp": 3, "channels": channels, **kwargs}
    generator = Generator(size, **kwargs)
    fill_module(generator)
    generator.latent_avg = generator.mean_latent(512)
    return generator


def tiny_encoder(kind: str = "gradual", *, n_styles: int = 8, **kwargs) -> nn.Module:
    kwargs = {"style_dim": STYLE_DIM, "widths": WIDTHS, "units": (1, 2, 1, 1), "input_size": 32, **kwargs}
    if kind == "w":
        return fill_module(WEncoder(**kwargs))
    if kind == "wplus":
        return fill_module(NaiveWPlusEncoder(n_styles, bottleneck=40, pool=2, **kwargs))
    return fill_module(GradualStyleEncoder(n_styles, **kwargs))


def tiny_psp(kind: str = "gradual", **kwargs) -> PSP:
    """A 32 px pSp with random but fixed weights, eval mode."""
    return PSP(tiny_encoder(kind, **kwargs), tiny_generator(), latent_avg=gauss("avg", (8, STYLE_DIM)) * 0.3).eval()


def psp_content(psp: PSP, **extra) -> dict:
    """What the published training saves, without `opts` unless given."""
    state = {f"encoder.{k}": v for k, v in psp.encoder.state_dict().items()}
    state |= {f"decoder.{k}": v for k, v in psp.decoder.state_dict().items()}
    return {"state_dict": state, "latent_avg": psp.latent_avg, **extra}


def published_state(keys: str) -> dict[str, Tensor]:
    """Rule-filled tensors under the published names and shapes; blur kernels by their definition."""
    shapes = {k: tuple(shape) for k, (shape, _) in golden_keys(keys).items()}
    state = fill_state(shapes)
    return {k: state[k] if k in state else make_kernel(gain=4.0) for k in shapes}


# ---- NVIDIA pickles -----------------------------------------------------------------------------------------------


class _Persistent:
    """Pickles as those files do: a function of another module, called with the attributes of the object."""

    def __init__(self, class_name: str, state: dict):
        self.meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": class_name}
        self.meta["state"] = state

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (_easydict(self.meta),)


def _easydict(values: dict):
    return sys.modules["dnnlib.util"].EasyDict(values)


def _module(class_name: str, tensors: dict[str, Tensor], **attributes) -> _Persistent:
    """Nested modules from dotted names."""
    own = {k: v for k, v in tensors.items() if "." not in k}
    groups: dict[str, dict] = {}
    for key, value in tensors.items():
        if "." in key:
            head, rest = key.split(".", 1)
            groups.setdefault(head, {})[rest] = value
    is_buffer = lambda k: k in ("w_avg", "noise_const", "resample_filter")  # noqa: E731
    extra = {"fc0": {"weight_gain": np.float64(0.01 / math.sqrt(STYLE_DIM)), "activation": "lrelu"}}
    state = {
        "training": False,
        "_parameters": {k: nn.Parameter(v) for k, v in own.items() if not is_buffer(k)},
        "_buffers": {k: v for k, v in own.items() if is_buffer(k)},
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": {},
        "_modules": {name: _module("Layer", below, **extra.get(name, {})) for name, below in groups.items()},
        "_init_kwargs": _easydict({"act_gain": np.sqrt(2)}),
        **attributes,
    }
    return _Persistent(class_name, state)


def write_ada(
    path: Path,
    tensors: dict[str, Tensor],
    *,
    protocol: int = 3,
    name: str = "G_ema",
    discriminator: dict[str, Tensor] | None = None,
    extra: dict | None = None,
    bare: Callable[[object, Path], object] | None = None,
) -> None:
    """A StyleGAN2-ADA snapshot: a discriminator and a generator. Its Python modules exist only while it is written.

    `bare`: what writes the generator alone instead, such as `torch.save`.
    """

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the file's own function must never be called")

    class EasyDict(dict):
        pass

    fakes = {n: types.ModuleType(n) for n in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")}
    for owner, thing in (("torch_utils.persistence", _reconstruct_persistent_obj), ("dnnlib.util", EasyDict)):
        thing.__module__, thing.__qualname__ = owner, thing.__name__
        setattr(fakes[owner], thing.__name__, thing)
    sys.modules.update(fakes)
    try:
        other = _module("Discriminator", discriminator or {"b4.conv.weight": torch.ones(3, 3)})
        if bare is not None:
            bare(_module("Generator", tensors), path)
            return
        content = {"D": other, name: _module("Generator", tensors), "training_set_kwargs": {"path": "x"}}
        path.write_bytes(pickle.dumps({**content, **(extra or {})}, protocol=protocol))
    finally:
        for n in fakes:
            del sys.modules[n]


def ada_tensors(size: int = 32, n_mlp: int = 3) -> dict[str, Tensor]:
    """The tensors of a StyleGAN2-ADA generator under its own names, with random values."""
    d = STYLE_DIM
    shapes: dict[str, tuple] = {"mapping.w_avg": (d,), "synthesis.b4.const": (CHANNELS[4], 4, 4)}
    for i in range(n_mlp):
        shapes |= {f"mapping.fc{i}.weight": (d, d), f"mapping.fc{i}.bias": (d,)}
    r = 4
    while r <= size:
        c = CHANNELS[r]
        layers = [("conv1", c, c, 3), ("torgb", c, 3, 1)] + ([("conv0", CHANNELS[r // 2], c, 3)] if r > 4 else [])
        for name, c_in, c_out, k in layers:
            base = f"synthesis.b{r}.{name}"
            shapes |= {f"{base}.weight": (c_out, c_in, k, k), f"{base}.bias": (c_out,)}
            shapes |= {f"{base}.affine.weight": (c_in, d), f"{base}.affine.bias": (c_in,)}
            if k == 3:
                shapes |= {f"{base}.noise_const": (r, r), f"{base}.noise_strength": ()}
        r *= 2
    tensors = {
        key: gauss("ada" + key, shape) if shape else gauss("ada" + key, (1,))[0] for key, shape in shapes.items()
    }
    for key, value in tensors.items():
        if key.endswith("affine.bias"):
            tensors[key] = 1 + 0.1 * value
        elif key.startswith("mapping.fc"):
            tensors[key] = value * (100 if key.endswith("weight") else 5)
        elif key.endswith("bias"):
            tensors[key] = value * 0.1
    for r in (2**i for i in range(2, int(math.log2(size)) + 1)):
        tensors[f"synthesis.b{r}.resample_filter"] = make_kernel()
        tensors[f"synthesis.b{r}.conv1.resample_filter"] = make_kernel()
    return tensors


def ada_forward(tensors: dict[str, Tensor], z: Tensor, *, n_mlp: int = 3) -> Tensor:
    """StyleGAN2-ADA from its definitions, in float64: true convolutions of zero-stuffed images, unscaled weights.

    Up-sampling layers filter first and convolve afterwards (the library does it the other way round).
    """
    p = {k: v.double() for k, v in tensors.items()}
    act = lambda x: torch.where(x < 0, 0.2 * x, x) * math.sqrt(2)  # noqa: E731
    w = z.double() / (z.double().square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for i in range(n_mlp):
        weight = p[f"mapping.fc{i}.weight"] * (0.01 / math.sqrt(w.shape[1]))
        w = act(w @ weight.T + 0.01 * p[f"mapping.fc{i}.bias"])

    def styles(base):
        return w @ (p[f"{base}.affine.weight"] / math.sqrt(w.shape[1])).T + p[f"{base}.affine.bias"]

    def layer(x, base, up):
        out = []
        for sample, s in zip(x, styles(base), strict=True):
            weight = p[f"{base}.weight"] * s[None, :, None, None]
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
            if up:  # filter with margins (3, 2): 2h + 2 samples, of which a valid 3 x 3 convolution leaves 2h
                y = blur_zero_insert(sample[None], make_kernel().double() * 4, up=2, pad=(3, 2))
                y = F.conv2d(y, weight.flip(2, 3))  # flipped: a true convolution
            else:
                y = F.conv2d(sample[None], weight, padding=1)  # not flipped: a correlation
            out.append(y)
        noise = p[f"{base}.noise_const"] * p[f"{base}.noise_strength"]
        return act(torch.cat(out) + noise + p[f"{base}.bias"].view(1, -1, 1, 1))

    x = p["synthesis.b4.const"].expand(len(z), -1, -1, -1)
    image, r = None, 4
    while f"synthesis.b{r}.conv1.weight" in p:
        if r > 4:
            x = layer(x, f"synthesis.b{r}.conv0", up=True)
            image = blur_zero_insert(image, make_kernel().double() * 4, up=2, pad=(2, 1))
        x = layer(x, f"synthesis.b{r}.conv1", up=False)
        base = f"synthesis.b{r}.torgb"
        s = styles(base) / math.sqrt(x.shape[1])
        rgb = torch.einsum("bihw,oi->bohw", x * s[:, :, None, None], p[f"{base}.weight"][:, :, 0, 0])
        rgb = rgb + p[f"{base}.bias"].view(1, 3, 1, 1)
        image = rgb if image is None else image + rgb
        r *= 2
    return image
