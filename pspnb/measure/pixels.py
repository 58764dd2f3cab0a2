"""Measures of pictures that need no network: error by region, sharpness, power spectrum. Chapter: "StyleGAN2 from the inside"."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mse(
    x: Float[Tensor, " b 3 h w"], y: Float[Tensor, " b 3 h w"], mask: Bool[Tensor, " b 1 h w"]
) -> Float[Tensor, " b"]:
    """Mean squared difference of each pair where `mask` holds; 0 where it holds nowhere."""
    squared = (x - y).square().mean(dim=1, keepdim=True) * mask
    return squared.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1)


def sharpness(x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b"]:
    """Mean absolute Laplacian of each image: |4 x - its four neighbours|, away from the border."""
    inner = x[..., 1:-1, 1:-1]
    around = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
    return (4 * inner - around).abs().mean(dim=(1, 2, 3))


def power_spectrum(x: Float[Tensor, " b c s s"]) -> Float[Tensor, " b f"]:
    """Mean power at 0, 1, ..., s / 2 cycles per image, over all directions; of the mean of the channels.

    A Hann window keeps the jump from one border to the other out of it. Divided by s^4: independent of the size.
    """
    s = x.shape[-1]
    window = torch.hann_window(s, periodic=False, device=x.device)
    grey = x.float().mean(dim=1)
    grey = (grey - grey.mean(dim=(1, 2), keepdim=True)) * window * window[:, None]
    power = torch.fft.fft2(grey).abs().square().flatten(1) / s**4
    cycles = torch.fft.fftfreq(s, 1 / s, device=x.device)
    ring = torch.hypot(cycles[:, None], cycles[None, :]).round().flatten()
    # The corners of the square reach further than any direction does: they are in no ring. A product, not a scatter: on a
    # GPU too the sum then has one order.
    rings = (ring == torch.arange(s // 2 + 1, device=x.device)[:, None]).float()
    return power @ (rings / rings.sum(dim=1, keepdim=True)).T


def blurred(x: Float[Tensor, " b c h w"], times: int = 1) -> Float[Tensor, " b c h w"]:
    """[1 2 1] / 4 in both directions, `times` times over, edges repeated: what a generator that misses detail looks like."""
    row = torch.tensor([1.0, 2.0, 1.0], device=x.device) / 4
    kernel = (row * row[:, None]).expand(x.shape[1], 1, 3, 3)
    for _ in range(times):
        x = F.conv2d(F.pad(x, [1, 1, 1, 1], mode="replicate"), kernel, groups=x.shape[1])
    return x
