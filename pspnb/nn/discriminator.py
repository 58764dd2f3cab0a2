"""The StyleGAN2 discriminator: residual, with the minibatch standard deviation; keys of the rosinality port.

Source: StyleGAN2 (Karras et al. 2020), section 4.1 and appendix B.
"""

import math
from collections.abc import Mapping

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.ops import Blur, EqualConv2d, EqualLinear, FusedLeakyReLU, widen
from pspnb.nn.stylegan2 import channel_table


def conv_layer(c_in: int, c_out: int, kernel_size: int, *, down: bool = False, activate: bool = True) -> nn.Sequential:
    """[Blur +] convolution [+ leaky ReLU]; `down` halves the resolution after a blur."""
    layers: list[nn.Module] = []
    if down:
        total = 4 - 2 + (kernel_size - 1)  # blur length 4, stride 2
        layers.append(Blur(pad=((total + 1) // 2, total // 2)))
    stride, padding = (2, 0) if down else (1, kernel_size // 2)
    layers.append(EqualConv2d(c_in, c_out, kernel_size, stride=stride, padding=padding, bias=False))
    if activate:
        layers.append(FusedLeakyReLU(c_out))
    return nn.Sequential(*layers)


class ResBlock(nn.Module):
    """Two 3x3 convolutions, the second down-sampling, and a 1x1 skip; the sum is divided by sqrt(2)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = conv_layer(c_in, c_in, 3)
        self.conv2 = conv_layer(c_in, c_out, 3, down=True)
        self.skip = conv_layer(c_in, c_out, 1, down=True, activate=False)

    def forward(self, x: Float[Tensor, " b i h w"]) -> Float[Tensor, " b o h2 w2"]:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


def minibatch_stddev(x: Float[Tensor, " b c h w"], group: int = 4) -> Float[Tensor, " b c+1 h w"]:
    """Append one channel: the standard deviation over groups of `group` images, averaged over channels and pixels.

    A batch that `group` does not divide is one group (the published code would fail). At least float32 throughout.
    """
    b, _, h, w = x.shape
    g = group if b % group == 0 else b
    y = rearrange(widen(x), "(g n) c h w -> g n c h w", g=g)
    std = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # n
    return torch.cat([x, repeat(std, "n -> (g n) 1 h w", g=g, h=h, w=w).to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """Image (b, 3, size, size) in [-1, 1] -> logits (b, 1); widths as in `Generator`."""

    def __init__(self, size: int, *, channel_multiplier: int | float = 2, channels: Mapping[int, int] | None = None):
        super().__init__()
        ch = dict(channels) if channels is not None else channel_table(size, channel_multiplier)
        self.size = size
        blocks: list[nn.Module] = [conv_layer(3, ch[size], 1)]
        r = size
        while r > 4:
            blocks.append(ResBlock(ch[r], ch[r // 2]))
            r //= 2
        self.convs = nn.Sequential(*blocks)
        self.final_conv = conv_layer(ch[4] + 1, ch[4], 3)
        self.final_linear = nn.Sequential(EqualLinear(ch[4] * 16, ch[4], activation=True), EqualLinear(ch[4], 1))

    def append_statistic(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c+1 h w"]:
        """The channel that compares an image with its batch."""
        return minibatch_stddev(x)

    def forward(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b 1"]:
        if x.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"expected images of shape (b, 3, {self.size}, {self.size}), got {tuple(x.shape)}")
        y = self.convs(x.contiguous(memory_format=torch.channels_last))
        y = self.final_conv(self.append_statistic(y))
        return widen(self.final_linear(y.flatten(1)))
