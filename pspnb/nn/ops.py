"""The few operations StyleGAN2 is made of, in plain PyTorch: equalised layers, blurs, modulated convolution.

Sources: StyleGAN2 (Karras et al. 2020, section 2 and appendix B); behaviour of the rosinality port that pSp builds on.
Chapter: "The architecture".
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

BLUR_TAPS = (1.0, 3.0, 3.0, 1.0)
LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0)  # keeps the variance through a leaky ReLU of slope 0.2 close to one


def widen(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are. For what must not be summed in half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def make_kernel(taps: tuple[float, ...] = BLUR_TAPS, gain: float = 1.0) -> Float[Tensor, " k k"]:
    """Outer product of a 1-D filter with itself, summing to `gain`."""
    k = torch.tensor(taps, dtype=torch.float32)
    k2 = torch.outer(k, k)
    return k2 * (gain / k2.sum())


def upfirdn2d(
    x: Float[Tensor, " b c h w"],
    kernel: Float[Tensor, " kh kw"],
    *,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int] = (0, 0),
) -> Float[Tensor, " b c h2 w2"]:
    """Insert `up - 1` zeros after each sample, pad, convolve every channel with `kernel`, keep each `down`-th sample.

    `pad` is (before, after), the same for rows and columns; negative values crop. The convolution is a true one (the
    kernel is flipped before PyTorch's cross-correlation). Output size: floor((h * up + before + after - kh) / down) + 1.
    """
    b, c, h, w = x.shape
    if up > 1:
        y = x.new_zeros(b, c, h * up, w * up)
        y[:, :, ::up, ::up] = x
        x = y
    before, after = pad
    if before < 0 or after < 0:
        x = F.pad(x, [before, after, before, after])
        before = after = 0
    if before == after:
        margin = before
    else:
        x, margin = F.pad(x, [before, after, before, after]), 0
    taps = kernel.flip(0, 1).to(x.dtype).expand(c, 1, *kernel.shape)
    return F.conv2d(x, taps, stride=down, padding=margin, groups=c)


class Blur(nn.Module):
    """Low-pass filter (1, 3, 3, 1) x (1, 3, 3, 1) after an up- or before a down-sampling; the kernel is a stored buffer."""

    kernel: Tensor

    def __init__(self, *, pad: tuple[int, int], gain: float = 1.0):
        super().__init__()
        self.register_buffer("kernel", make_kernel(gain=gain))
        self.pad = pad

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c h2 w2"]:
        return upfirdn2d(x, self.kernel, pad=self.pad)

    def extra_repr(self) -> str:
        return f"taps={tuple(int(t) for t in BLUR_TAPS)}, pad={self.pad}"


class Upsample(nn.Module):
    """Double the resolution of the RGB skip: zeros inserted, then the blur with gain 4. Equal to one transposed convolution."""

    kernel: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", make_kernel(gain=4.0))

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c 2*h 2*w"]:
        c = x.shape[1]
        return F.conv_transpose2d(x, self.kernel.to(x.dtype).expand(c, 1, 4, 4), stride=2, padding=1, groups=c)


class PixelNorm(nn.Module):
    """z / rms(z) over axis 1: puts z on a sphere before the mapping network."""

    def forward(self, z: Float[Tensor, " b d"]) -> Float[Tensor, " b d"]:
        return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate: weights are stored at unit variance and scaled when used.

    y = x (lr_mul / sqrt(n_in) W)^T + lr_mul b; with `activation`, leaky ReLU (slope 0.2) times sqrt(2) follows.
    """

    def __init__(self, n_in: int, n_out: int, *, lr_mul: float = 1.0, bias_init: float = 0.0, activation: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr_mul)
        self.bias = nn.Parameter(torch.full((n_out,), float(bias_init)))
        self.scale = lr_mul / math.sqrt(n_in)
        self.lr_mul = lr_mul
        self.activation = activation

    def forward(self, x: Float[Tensor, " b i"]) -> Float[Tensor, " b o"]:
        y = F.linear(x, self.weight * self.scale, self.bias * self.lr_mul)
        return F.leaky_relu(y, LRELU_SLOPE) * LRELU_GAIN if self.activation else y

    def extra_repr(self) -> str:
        n_out, n_in = self.weight.shape
        return f"{n_in} -> {n_out}, lr_mul={self.lr_mul}" + (", leaky ReLU" if self.activation else "")


class FusedLeakyReLU(nn.Module):
    """Bias per channel (axis 1), leaky ReLU with slope 0.2, times sqrt(2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, " b c ..."]) -> Float[Tensor, " b c ..."]:
        bias = self.bias.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
        return F.leaky_relu(x + bias, LRELU_SLOPE) * LRELU_GAIN


class EqualConv2d(nn.Module):
    """Convolution with equalised learning rate, as in the discriminator."""

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int, *, stride: int = 1, padding: int = 0, bias: bool = True
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.scale = 1 / math.sqrt(c_in * kernel_size**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Float[Tensor, " b i h w"]) -> Float[Tensor, " b o h2 w2"]:
        return F.conv2d(x, self.weight * self.scale, self.bias, stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        c_out, c_in, k, _ = self.weight.shape
        return f"{c_in} -> {c_out}, {k}x{k}, stride={self.stride}, padding={self.padding}"


def modulated_conv2d(
    x: Float[Tensor, " b i h w"],
    weight: Float[Tensor, " o i k k"],  # shared by the whole batch, already scaled by 1 / sqrt(i k k)
    style: Float[Tensor, " b i"],  # one scale per input channel, s_i
    *,
    demodulate: bool = True,
    up: bool = False,  # transposed convolution with stride 2, without the blur: (h, w) -> (2h + 1, 2w + 1)
    gain: float = 1.0,  # multiplies the output; folded into the demodulation, so it costs no pass over the image
) -> Float[Tensor, " b o h2 w2"]:
    """Modulated convolution with scaled activations (StyleGAN2, equations 1 and 3, rearranged).

    The paper scales the weights, w' = s_i w, and divides each output channel by ||w'||. A convolution is linear, so s_i can
    scale the input channels and 1 / ||w'|| the output channels: the same numbers from one ordinary convolution that the
    whole batch shares, with no per-sample weights, no grouped convolution and no weight gradient through the style.
    """
    y = x * style[:, :, None, None].to(x.dtype)
    k = weight.shape[-1]
    if up:
        y = F.conv_transpose2d(y, weight.transpose(0, 1), stride=2)  # i o k k
    else:
        y = F.conv2d(y, weight, padding=k // 2)
    if demodulate:
        sigma2 = widen(style).square() @ widen(weight).square().sum(dim=(2, 3)).T  # ||w'||^2 per sample and output: b o
        demod = torch.rsqrt(sigma2 + 1e-8) * gain
        y = y * demod[:, :, None, None].to(y.dtype)
    elif gain != 1.0:
        y = y * gain
    return y
