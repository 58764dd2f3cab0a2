"""Second derivations: the generator in the per-sample-weight form of the paper, with separate up-sampling and blur.

Slow on purpose and written from the equations, not from pspnb.nn: the tests compare the library with it, and
benchmarks/inference.py measures against it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def upfirdn2d_loops(x: Tensor, k: Tensor, up: int, down: int, pad: tuple[int, int]) -> Tensor:
    """The definition, one output at a time: out[i, j] = sum_uv k[u, v] padded[i - u, j - v]."""
    b, c, h, w = x.shape
    p0, p1 = pad
    big = torch.zeros(b, c, h * up + p0 + p1 + 64, w * up + p0 + p1 + 64, dtype=x.dtype)
    rows = torch.arange(h) * up + p0 + 32
    cols = torch.arange(w) * up + p0 + 32
    big[:, :, rows[:, None], cols[None, :]] = x
    big = big[:, :, 32 : 32 + h * up + p0 + p1, 32 : 32 + w * up + p0 + p1]
    kh, kw = k.shape
    oh, ow = (big.shape[2] - kh) // down + 1, (big.shape[3] - kw) // down + 1
    out = torch.zeros(b, c, oh, ow, dtype=x.dtype)
    for u in range(kh):
        for v in range(kw):
            shifted = big[:, :, kh - 1 - u :, kw - 1 - v :]
            out += k[u, v] * shifted[:, :, : (oh - 1) * down + 1 : down, : (ow - 1) * down + 1 : down]
    return out


def blur_zero_insert(x: Tensor, k: Tensor, *, up: int = 1, pad: tuple[int, int]) -> Tensor:
    """Zeros inserted, padded, then a full two-dimensional filter: the native form of the published code."""
    b, c, h, w = x.shape
    x = x.reshape(b * c, 1, h, 1, w, 1)
    x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1]).reshape(b * c, 1, h * up, w * up)
    x = F.pad(x, [pad[0], pad[1], pad[0], pad[1]])
    y = F.conv2d(x, k.flip(0, 1)[None, None])
    return y.reshape(b, c, *y.shape[2:])


def modconv_per_sample(x, weight, style, *, demodulate=True, up=False, kernel=None):
    """w'_b = s_b w (equation 1), w'' = w' / ||w'|| (equation 3), then one grouped convolution, a group per sample."""
    b, c_in, h, w = x.shape
    _, c_out, _, k, _ = weight.shape
    w2 = weight / math.sqrt(c_in * k * k) * style.view(b, 1, c_in, 1, 1)
    if demodulate:
        w2 = w2 * torch.rsqrt(w2.square().sum(dim=(2, 3, 4)) + 1e-8).view(b, c_out, 1, 1, 1)
    x = x.reshape(1, b * c_in, h, w)
    if up:
        w2 = w2.transpose(1, 2).reshape(b * c_in, c_out, k, k)
        y = F.conv_transpose2d(x, w2, stride=2, groups=b)
        y = y.view(b, c_out, *y.shape[2:])
        return blur_zero_insert(y, kernel, pad=(1, 1))
    y = F.conv2d(x, w2.view(b * c_out, c_in, k, k), padding=k // 2, groups=b)
    return y.view(b, c_out, *y.shape[2:])


def linear(sd, key, x, lr_mul=1.0):
    w = sd[key + ".weight"]
    return x @ (w * (lr_mul / math.sqrt(w.shape[1]))).T + sd[key + ".bias"] * lr_mul


def synthesize_per_sample(sd: dict[str, Tensor], w_plus: Tensor) -> Tensor:
    """A whole StyleGAN2 synthesis from a published state dict, noise buffers included."""

    def styled(x, name, w, i, up):
        s = linear(sd, f"{name}.conv.modulation", w)
        y = modconv_per_sample(x, sd[f"{name}.conv.weight"], s, up=up, kernel=sd.get(f"{name}.conv.blur.kernel"))
        y = y + sd[f"{name}.noise.weight"] * sd[f"noises.noise_{i}"] + sd[f"{name}.activate.bias"].view(1, -1, 1, 1)
        return F.leaky_relu(y, 0.2) * math.sqrt(2)

    def to_rgb(x, name, w, skip):
        s = linear(sd, f"{name}.conv.modulation", w)
        y = modconv_per_sample(x, sd[f"{name}.conv.weight"], s, demodulate=False) + sd[f"{name}.bias"]
        return y if skip is None else y + blur_zero_insert(skip, sd[f"{name}.upsample.kernel"], up=2, pad=(2, 1))

    x = sd["input.input"].repeat(w_plus.shape[0], 1, 1, 1)
    x = styled(x, "conv1", w_plus[:, 0], 0, up=False)
    rgb = to_rgb(x, "to_rgb1", w_plus[:, 1], None)
    j = 0
    while f"to_rgbs.{j}.bias" in sd:
        x = styled(x, f"convs.{2 * j}", w_plus[:, 2 * j + 1], 2 * j + 1, up=True)
        x = styled(x, f"convs.{2 * j + 1}", w_plus[:, 2 * j + 2], 2 * j + 2, up=False)
        rgb = to_rgb(x, f"to_rgbs.{j}", w_plus[:, 2 * j + 3], rgb)
        j += 1
    return rgb
