"""The three encoders of the pSp paper: the feature pyramid into W+ (pSp), and the W and naive W+ baselines of its Table 1.

Source: pSp, section 3 and figure 2; Table 1 for the baselines. State-dict keys are the published ones.
Chapter: "The pSp encoder".
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.backbones import WIDTHS, IRBackbone, Mode
from pspnb.nn.ops import EqualLinear


def style_groups(n_styles: int) -> tuple[range, range, range]:
    """Indices of the coarse, middle and fine styles, read from the smallest, middle and largest map.

    Published: 0-2, 3-6 and 7 onwards, whatever the number of styles (8 or more). Smaller generators get the same shares.
    """
    coarse, middle = (3, 7) if n_styles >= 8 else (math.ceil(0.3 * n_styles), math.ceil(0.6 * n_styles))
    return range(coarse), range(coarse, middle), range(middle, n_styles)


class Map2Style(nn.Module):
    """One style from one feature map: 3x3 convolutions of stride 2 until 1 x 1, then an equalised linear layer (pSp figure 2).

    `c_hidden` is the width of the convolutions but the last, `c_last` of that (None: the same).
    """

    def __init__(self, c_in: int, c_hidden: int, style_dim: int, spatial: int, c_last: int | None = None):
        super().__init__()
        n, c_last = int(math.log2(spatial)), c_last or c_hidden
        widths = [c_in, *[c_hidden] * (n - 1), c_last]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(c_last, style_dim)

    def forward(self, x: Float[Tensor, " b c s s"]) -> Float[Tensor, " b d"]:
        return self.linear(rearrange(self.convs(x), "b c 1 1 -> b c"))


class SizedBackbone(IRBackbone):
    """A backbone that knows its input size and refuses any other."""

    def __init__(self, *, input_size: int, **backbone):
        if input_size < 32 or input_size & (input_size - 1):
            raise ValueError(f"expected an input_size that is a power of two and at least 32, got {input_size}")
        self._input_size = input_size
        super().__init__(**backbone)

    @property
    def input_size(self) -> int:
        return self._input_size

    def stages(self, x: Float[Tensor, " b c h w"]) -> list[Tensor]:
        expected = (self.in_channels, self.input_size, self.input_size)
        if tuple(x.shape[1:]) != expected:
            shape = f"(b, {', '.join(map(str, expected))})"
            raise ValueError(f"expected encoder input of shape {shape}, got {tuple(x.shape)}; resize the images first")
        return super().stages(x)


class GradualStyleEncoder(SizedBackbone):
    """pSp: a three-level feature pyramid on an IR-SE backbone, and one map2style network per style.

    Input (b, in_channels, s, s), s = `input_size`; output (b, n_styles, style_dim), an offset from the mean latent.
    `head_channels` is the width inside map2style (published: style_dim), `last_channels` that of its last convolution
    (None: head_channels). `maps` chooses the pyramid level of every style, 0 the smallest (None: the published grouping of
    `style_groups`), for the ablations of the paper's section 3.
    """

    def __init__(
        self,
        n_styles: int,
        *,
        style_dim: int = 512,
        in_channels: int = 3,
        input_size: int = 256,
        depth: int = 50,
        mode: Mode = "ir_se",
        units: Sequence[int] | None = None,
        widths: Sequence[int] = WIDTHS,
        head_channels: int | None = None,
        last_channels: int | None = None,
        maps: Sequence[int] | None = None,
    ):
        super().__init__(
            input_size=input_size, in_channels=in_channels, depth=depth, mode=mode, units=units, widths=widths
        )
        self.n_styles, self.style_dim = n_styles, style_dim
        if maps is None:
            maps = [level for level, group in enumerate(style_groups(n_styles)) for _ in group]
        if len(maps) != n_styles or not set(maps) <= {0, 1, 2}:
            raise ValueError(f"expected {n_styles} pyramid levels in 0..2, got {list(maps)}")
        self.maps = tuple(maps)
        width = widths[-1]  # of the pyramid
        sizes = (input_size // 16, input_size // 8, input_size // 4)
        self.styles = nn.ModuleList(
            Map2Style(width, head_channels or style_dim, style_dim, sizes[level], last_channels) for level in self.maps
        )
        self.latlayer1 = nn.Conv2d(widths[-2], width, 1)
        self.latlayer2 = nn.Conv2d(widths[-3], width, 1)

    def pyramid(self, x: Float[Tensor, " b c h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps (c3, p2, p1), smallest first: p = bilinear(coarser map) + 1x1 lateral convolution of the finer."""
        c1, c2, c3 = self.features(x)
        p2 = _upsample_like(c3, c2) + self.latlayer1(c2)
        p1 = _upsample_like(p2, c1) + self.latlayer2(c1)
        return c3, p2, p1

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b n d"]:
        levels = self.pyramid(x)
        return torch.stack([head(levels[level]) for head, level in zip(self.styles, self.maps, strict=True)], dim=1)


def _upsample_like(x: Float[Tensor, " b c h w"], target: Tensor) -> Float[Tensor, " b c h2 w2"]:
    return F.interpolate(x, size=target.shape[-2:], mode="bilinear", align_corners=True)


class WEncoder(SizedBackbone):
    """Baseline of Table 1, "naive W": average pool of the last map and a linear layer -> one style (b, style_dim)."""

    def __init__(
        self,
        *,
        style_dim: int = 512,
        in_channels: int = 3,
        input_size: int = 256,
        depth: int = 50,
        mode: Mode = "ir_se",
        units: Sequence[int] | None = None,
        widths: Sequence[int] = WIDTHS,
    ):
        self._style_dim = style_dim
        super().__init__(
            input_size=input_size, in_channels=in_channels, depth=depth, mode=mode, units=units, widths=widths
        )
        self.style_dim = style_dim

    def _add_heads_before_body(self) -> None:
        self.linear = EqualLinear(self.widths[-1], self._style_dim)

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b d"]:
        return self.linear(self.features(x).c3.mean(dim=(2, 3)))


class NaiveWPlusEncoder(SizedBackbone):
    """Baseline of Table 1, "naive W+": one 512-number bottleneck, then a linear layer to all styles (b, n_styles, style_dim)."""

    def __init__(
        self,
        n_styles: int,
        *,
        style_dim: int = 512,
        in_channels: int = 3,
        input_size: int = 256,
        depth: int = 50,
        mode: Mode = "ir_se",
        units: Sequence[int] | None = None,
        widths: Sequence[int] = WIDTHS,
        bottleneck: int = 512,
        pool: int = 7,
    ):
        self._heads = (n_styles, style_dim, bottleneck, pool)
        super().__init__(
            input_size=input_size, in_channels=in_channels, depth=depth, mode=mode, units=units, widths=widths
        )
        self.n_styles, self.style_dim = n_styles, style_dim

    def _add_heads_before_body(self) -> None:
        n_styles, style_dim, bottleneck, pool = self._heads
        width = self.widths[-1]
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.Linear(width * pool**2, bottleneck)
        )
        self.linear = EqualLinear(bottleneck, style_dim * n_styles)

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b n d"]:
        w = self.linear(self.output_layer_2(self.features(x).c3.contiguous()))
        return rearrange(w, "b (n d) -> b n d", n=self.n_styles)
