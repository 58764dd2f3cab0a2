"""The same networks, faster on a CPU when nothing is trained: `for_inference`.

What is gained, and where (shares are of a 1024 px inversion on one thread, `benchmarks/inference.py`):
  * styles and demodulation are multiplied into the weights where these are smaller than the feature map, the bias is added by
    the convolution, noise and leaky ReLU work in place: two passes over each feature map of the generator instead of six;
  * large 3x3 convolutions take Winograd's form (`winograd`), a quarter of the multiplications;
  * weights that never change are laid out for oneDNN once (in the second call, so that a single image doesn't wait for it),
    where the ordinary layer does it in every call; batch norms behind a convolution become part of it; the last convolution
    of a map2style network, of whose nine taps five see only the padding, is a linear layer.
The numbers are the same up to the order of sums. Chapter: "The architecture".
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.backbones import IRUnit, SqueezeExcite
from pspnb.nn.encoders import Map2Style
from pspnb.nn.ops import LRELU_GAIN, LRELU_SLOPE, Upsample
from pspnb.nn.stylegan2 import ModulatedConv2d, StyledConv, ToRGB
from pspnb.nn.winograd import Winograd, has_onednn

Net = TypeVar("Net", bound=nn.Module)

# Where Winograd's form is faster on one thread; measured between 128 and 512 channels, 16 and 256 px.
WINOGRAD_CHANNELS, WINOGRAD_PIXELS = 256, 32 * 32


@torch.no_grad()
def for_inference(net: Net) -> Net:
    """A network that computes what `net` computes in eval mode, without gradients, in less time on a CPU.

    `net` is a `PSP`, a `Generator`, an encoder or a `FaceEmbedder`, in float32 on a CPU; it is left as it is and shares its
    parameters with the result, which has the same class and is called in the same way, but can't be trained or saved.
    Changes of the weights of `net` show in the result only in part: prepare again. From the second call on it needs as
    much memory again as the encoder's weights. ValueError for other devices and number formats.
    """
    for name, p in net.named_parameters():
        if p.device.type != "cpu" or p.dtype != torch.float32:
            raise ValueError(f"expected float32 weights on a CPU, got {p.dtype} on {p.device} for {name}")
    return cast(Net, _replaced(net))


def _replaced(module: nn.Module) -> nn.Module:
    """A copy with shared parameters, in eval mode, in which the layers of `_FASTER` stand in for the ordinary ones."""
    twin = copy.copy(module)
    twin.training = False
    twin._modules = {name: None if child is None else _replaced(child) for name, child in module._modules.items()}
    faster = _FASTER.get(type(module))
    return twin if faster is None else faster(twin).eval()


class PackedConv(nn.Module):
    """Convolution with fixed weights in oneDNN's own layout (where PyTorch has it), bias and leaky ReLU included.

    `slope` is that of the leaky ReLU (None: no activation). The batch norm behind the convolution becomes part of it.
    """

    def __init__(self, conv: nn.Conv2d, *, norm: nn.BatchNorm2d | None = None, slope: float | None = None):
        super().__init__()
        weight, bias = conv.weight.detach(), conv.bias
        bias = torch.zeros(len(weight)) if bias is None else bias.detach()
        if norm is not None:
            mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            scale = norm.weight.detach() * torch.rsqrt(variance + norm.eps)
            weight, bias = weight * scale[:, None, None, None], (bias - mean) * scale + norm.bias.detach()
        self.stride, self.padding, self.slope = list(conv.stride), list(cast(tuple, conv.padding)), slope
        self.weight, self.bias = weight, bias  # plain attributes: not part of any state dict
        self.suits_winograd = _suits_winograd(conv)
        self.used = self.packed = False
        self.winograd: Winograd | None = None

    def forward(self, x: Float[Tensor, " b i h w"]) -> Float[Tensor, " b o h2 w2"]:
        if self.used and not self.packed and self.winograd is None:
            self._lay_out(_worth_winograd(x))
        self.used = True
        if self.winograd is not None and _worth_winograd(x):
            parts = [self.winograd(x[i : i + 1]) for i in range(len(x))]
            y = (parts[0] if len(parts) == 1 else torch.cat(parts)).add_(self.bias[:, None, None])
            return y if self.slope is None else F.leaky_relu_(y, self.slope)
        if self.packed:
            activation = ("none", []) if self.slope is None else ("leaky_relu", [self.slope])
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, self.padding, self.stride, [1, 1], 1, *activation, ""
            )
        y = F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)
        return y if self.slope is None else F.leaky_relu_(y, self.slope)

    def _lay_out(self, many_tiles: bool) -> None:
        if self.suits_winograd and many_tiles:
            self.winograd = Winograd(self.weight)
        elif has_onednn():
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, self.stride, [1, 1], 1, None
            )
            self.packed = True


def _suits_winograd(conv: nn.Conv2d) -> bool:
    """A 3x3 convolution that keeps the resolution, of enough channels for Winograd's form to be the faster one."""
    fits = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1)
    return fits and conv.in_channels >= WINOGRAD_CHANNELS


def _worth_winograd(x: Float[Tensor, " b i h w"]) -> bool:
    """Whether there are enough tiles of 4 x 4 for the 36 matrices of weights to be worth their reading."""
    h, w = x.shape[2:]
    return h % 4 == 0 and w % 4 == 0 and h * w >= WINOGRAD_PIXELS


class FastIRUnit(nn.Module):
    """`IRUnit` with the batch norm behind its second convolution folded, squeeze-excite and shortcut in one pass."""

    def __init__(self, unit: IRUnit):
        super().__init__()
        norm, first, prelu, second, last, *rest = cast(Any, unit.res_layer)
        self.norm, self.prelu = norm, prelu
        self.first, self.second = PackedConv(first), PackedConv(second, norm=last)
        self.excite: SqueezeExcite | None = rest[0] if rest else None
        shortcut = unit.shortcut_layer
        if isinstance(shortcut, nn.Sequential):
            shortcut = PackedConv(cast(nn.Conv2d, shortcut[0]), norm=cast(nn.BatchNorm2d, shortcut[1]))
        self.shortcut = shortcut

    def forward(self, x: Float[Tensor, " b i h w"]) -> Float[Tensor, " b o h2 w2"]:
        y = self.second(self.prelu(self.first(self.norm(x))))
        if self.excite is None:
            return y.add_(self.shortcut(x))
        hidden = self.excite.relu(self.excite.fc1(y.mean(dim=(2, 3), keepdim=True)))
        return torch.addcmul(self.shortcut(x), y, torch.sigmoid(self.excite.fc2(hidden)))


class FastMap2Style(nn.Module):
    """`Map2Style` with packed weights; the last convolution, 2 x 2 -> 1 x 1, reads only four of its nine taps."""

    def __init__(self, head: Map2Style):
        super().__init__()
        *convs, last = [layer for layer in head.convs if isinstance(layer, nn.Conv2d)]
        self.slope = 0.01
        self.convs = nn.Sequential(*[PackedConv(conv, slope=self.slope) for conv in convs])
        # With stride 2 and a padding of 1, taps (1, 1) ... (2, 2) lie on the four pixels. Channels last, as the map is stored.
        self.last_weight = last.weight.detach()[:, :, 1:, 1:].permute(0, 2, 3, 1).flatten(1).contiguous()
        self.last_bias, self.linear = last.bias, head.linear

    def forward(self, x: Float[Tensor, " b c s s"]) -> Float[Tensor, " b d"]:
        four = self.convs(x).permute(0, 2, 3, 1).flatten(1)
        return self.linear(F.leaky_relu_(F.linear(four, self.last_weight, self.last_bias), self.slope))


class _FastModulated(nn.Module):
    """What both kinds of modulated convolution share: the layer from w to styles, and fixed weights that are scaled once."""

    def __init__(self, conv: ModulatedConv2d):
        super().__init__()
        self.modulation = conv.modulation
        self.scaled = (conv.weight.detach()[0] * conv.scale).contiguous()  # o i k k


class FastStyledConv(_FastModulated):
    """`StyledConv`, sample by sample: on a CPU a batch gains nothing, and one sample's styles can be part of its weights."""

    def __init__(self, layer: StyledConv):
        super().__init__(layer.conv)
        self.up = layer.conv.up
        self.squares = self.scaled.square().sum(dim=(2, 3)).T.contiguous()  # i o, for the demodulation
        self.strength = None if layer.noise is None else layer.noise.weight.detach() * LRELU_GAIN
        self.bias = layer.activate.bias.detach() * LRELU_GAIN
        if self.up:
            kernel = layer.conv.blur.kernel.flip(0, 1)
            self.blur, self.pad = kernel.expand(len(self.bias), 1, *kernel.shape).contiguous(), layer.conv.blur.pad[0]
            self.scaled = self.scaled.transpose(0, 1).contiguous()  # i o k k
        self.winograd = None if self.up or self.scaled.shape[1] < WINOGRAD_CHANNELS else Winograd(self.scaled)

    def forward(
        self,
        x: Float[Tensor, " b i h w"],
        style: Float[Tensor, " b d"],
        noise: Float[Tensor, " n 1 h2 w2"] | None = None,
    ) -> Float[Tensor, " b o h2 w2"]:
        s = self.modulation(style)
        demod = torch.rsqrt(s.square() @ self.squares + 1e-8) * LRELU_GAIN
        maps: Sequence[Tensor | None] = [None] * len(x)
        if noise is not None and self.strength is not None:
            maps = list((noise * self.strength).expand(len(x), -1, -1, -1))
        parts = [self._one(x[i : i + 1], s[i], demod[i], maps[i]) for i in range(len(x))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _one(self, x: Tensor, s: Tensor, demod: Tensor, noise: Tensor | None) -> Tensor:
        winograd = self.winograd if _worth_winograd(x) else None
        in_weights = winograd is None and self.scaled.numel() <= x.numel()
        weight = self.scaled
        if in_weights:
            inner, outer = (s[:, None], demod) if self.up else (s, demod[:, None])
            weight = weight * (inner * outer)[..., None, None]
        else:
            x = x * s[:, None, None]
        if self.up:
            y = F.conv_transpose2d(x, weight, stride=2)
        elif winograd is not None:
            y = winograd(x)
        else:
            y = F.conv2d(x, weight, self.bias if in_weights else None, padding=1)
        if not in_weights:
            y.mul_(demod[:, None, None])
        if self.up:
            y = F.conv2d(y, self.blur, self.bias, padding=self.pad, groups=len(self.bias))
        elif not in_weights:
            y.add_(self.bias[:, None, None])
        if noise is not None:
            y.add_(noise)
        return F.leaky_relu_(y, LRELU_SLOPE)


class FastToRGB(_FastModulated):
    """`ToRGB` with the styles in its few weights."""

    def __init__(self, layer: ToRGB):
        super().__init__(layer.conv)
        self.bias = layer.bias.detach().flatten()
        self.upsample: Upsample | None = getattr(layer, "upsample", None)

    def forward(
        self,
        x: Float[Tensor, " b i h w"],
        style: Float[Tensor, " b d"],
        skip: Float[Tensor, " b 3 h2 w2"] | None = None,
    ) -> Float[Tensor, " b 3 h w"]:
        s = self.modulation(style)
        rgb = torch.cat([F.conv2d(x[i : i + 1], self.scaled * s[i, :, None, None], self.bias) for i in range(len(x))])
        return rgb if skip is None or self.upsample is None else rgb.add_(self.upsample(skip))


_FASTER: dict[type, Callable[[Any], nn.Module]] = {
    IRUnit: FastIRUnit,
    Map2Style: FastMap2Style,
    StyledConv: FastStyledConv,
    ToRGB: FastToRGB,
}
