"""The same steps on batches of float tensors, on any device, differentiable: what training uses (paper section 4).

Small tensors go to the device with `non_blocking=True`, so that no step of training waits for it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def random_flips(n: int, *, generator: torch.Generator, p: float = 0.5) -> Bool[Tensor, " n"]:
    """Which of n images to mirror, on the generator's device."""
    return torch.rand(n, generator=generator, device=generator.device) < p


def hflip_where(images: Float[Tensor, " b c h w"], flips: Bool[Tensor, " b"]) -> Float[Tensor, " b c h w"]:
    """The batch with the chosen images mirrored left to right."""
    return torch.where(flips.to(images.device, non_blocking=True)[:, None, None, None], images.flip(-1), images)


def bicubic_kernel(factor: int) -> Float[Tensor, " taps"]:
    """Taps of the published down-sampling filter: Keys' cubic (a = -0.5) stretched by `factor`, sum 1, 4 x factor taps."""
    if factor < 1:
        raise ValueError(f"expected a down-sampling factor of at least 1, got {factor}")
    a = -0.5
    x = ((torch.arange(4 * factor, dtype=torch.float64) - 2 * factor + 0.5) / factor).abs()
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    taps = torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
    return (taps / taps.sum()).float()


def downsample(images: Float[Tensor, " b c h w"], factor: int) -> Float[Tensor, " b c h2 w2"]:
    """Shrink by an integer factor with `bicubic_kernel`, rows first, borders reflected; values may overshoot the range.

    As published, factor 1 filters as well: its four taps lie half a pixel off, which is a slight blur and not the identity.
    ValueError if the side isn't a multiple of the factor, or is too small to reflect.
    """
    if factor < 1:
        raise ValueError(f"expected a down-sampling factor of at least 1, got {factor}")
    height, width = images.shape[-2:]
    padding = 3 * factor
    before, after = padding // 2, padding - padding // 2
    if height % factor or width % factor or after >= min(height, width):
        raise ValueError(
            f"expected sides that are a multiple of the factor and above {after} px for factor {factor}, "
            f"got {height} x {width}"
        )
    channels = images.shape[1]
    taps = bicubic_kernel(factor).to(images, non_blocking=True)
    for axis in (2, 3):
        shape, stride, pads = [1, 1, 1, 1], [1, 1], [0, 0, 0, 0]
        shape[axis], stride[axis - 2] = len(taps), factor
        pads[2 * (3 - axis) : 2 * (3 - axis) + 2] = [before, after]  # F.pad counts axes from the last
        kernel = taps.reshape(shape).expand(channels, -1, -1, -1)
        images = F.conv2d(F.pad(images, pads, mode="reflect"), kernel, stride=tuple(stride), groups=channels)
    return images


def low_resolution(images: Float[Tensor, " b c h w"], factors: list[int]) -> Float[Tensor, " b c h w"]:
    """Each image in [-1, 1] shrunk by its own factor and enlarged again bilinearly: the source of super-resolution.

    The published path rounds to 8 bits after each of the two steps; this one doesn't and stays differentiable. They
    differ by up to two levels of 255.
    """
    if len(factors) != len(images):
        raise ValueError(f"expected one factor for each of {len(images)} images, got {len(factors)}")
    out = torch.empty_like(images)
    for factor in sorted(set(factors)):
        rows = torch.tensor([i for i, f in enumerate(factors) if f == factor])
        chosen = rows.to(images.device, non_blocking=True)
        small = downsample((images[chosen] + 1) / 2, factor).clamp(0, 1)
        out[chosen] = F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False) * 2 - 1
    return out


def pencil_sketch(images: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b 1 h w"]:
    """Dark lines on white paper, in [0, 1], from images in [-1, 1]: the "pencil sketch" filter of paper section 4.3.1.

    Grey, 3 x 3 Gaussian, rising and falling Sobel edges, blended 0.75 + 0.75 and inverted. Where the published script
    joins the two directions of an 8-bit Sobel by a bitwise OR, this takes their maximum. The sketch simplification that
    follows in the paper is a pretrained network, and not part of this function.
    """
    luma = torch.tensor([0.299, 0.587, 0.114]).to(images, non_blocking=True).reshape(1, 3, 1, 1)
    smooth = torch.tensor([1.0, 2.0, 1.0]).to(images, non_blocking=True)
    slope = torch.tensor([-1.0, 0.0, 1.0]).to(images, non_blocking=True)
    gaussian = torch.outer(smooth, smooth) / 16
    sobel = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]

    shade = ((images + 1) / 2 * luma).sum(1, keepdim=True)
    shade = F.conv2d(F.pad(shade, (1, 1, 1, 1), mode="reflect"), gaussian[None, None])
    edges = F.conv2d(F.pad(shade, (1, 1, 1, 1), mode="reflect"), sobel)
    rising, falling = (e.clamp(0, 1).amax(1, keepdim=True) for e in (edges, -edges))
    return 1 - (0.75 * rising + 0.75 * falling).clamp(0, 1)
