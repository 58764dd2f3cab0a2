"""The Feature-Style encoder: one residual backbone, a branch for the codes and a branch for a feature map of the generator.

Source: A Style-Based GAN Encoder for High Fidelity Reconstruction of Images and Videos (Yao et al. 2022), section 3.2 and figure 2.
What the paper leaves open is listed in "The paper, the published code, ours". Chapter: "The Feature-Style encoder".
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.backbones import WIDTHS, Mode, PReLU
from pspnb.nn.encoders import SizedBackbone

Rgb = Literal["w", "none", "predicted"]
PENULTIMATE = 3  # of the maps of `IRBackbone.stages`: stem, four stages


def feature_map(sides: Sequence[int], side: int) -> tuple[int, int]:
    """Which of the backbone's maps (sides of the stem's and the stages' maps, each half the one before) becomes a feature of
    `side` px, and how many times larger it is.

    The paper takes the penultimate stage's. So does this rule where that map is at least as large as the feature; else the deepest
    map that is. ValueError for a feature larger than the image.
    """
    for index in range(PENULTIMATE, -1, -1):
        if sides[index] >= side:
            return index, sides[index] // side
    raise ValueError(
        f"expected a feature of at most {sides[0]} x {sides[0]}, the size of the image that the encoder reads, "
        f"got one of {side} x {side}; choose a smaller k"
    )


class FeatureStyleEncoder(SizedBackbone):
    """Image -> codes (b, n_styles, style_dim), an offset from the mean latent, and the feature F (b, c, h, h) of the generator.

    Input (b, in_channels, s, s), s = `input_size`. `feature_shape` (c, h, h) is that of the generator's output of convolution
    number `k`, counted from 1 (`Generator.feature_shape(k)`; paper: k = 5, 512 x 16 x 16). With k = 0 there is no feature branch
    and no F: the paper's ablation.

    Latent branch: the maps of the four stages, each averaged to `pool` x `pool`, concatenated, flattened; one fully connected layer
    for each style (side by side in one matrix). Feature branch: the map chosen by `feature_map`, averaged to twice the size of F
    if it is larger than that; 3x3 convolution (stride 2 if it is still larger), batch norm, PReLU (`activation`; the paper names
    none), 3x3 convolution. `hidden` is the width between the two convolutions (None: c); below c it is a bottleneck.

    `rgb` says what takes the place of the image that the generator's layers up to k have drawn so far, which the paper leaves open:
    "w" (drawn from the codes), "none" (black) or "predicted" (1x1 convolution of F at half its size).
    """

    def __init__(
        self,
        n_styles: int,
        *,
        k: int = 5,
        feature_shape: Sequence[int] = (512, 16, 16),
        style_dim: int = 512,
        in_channels: int = 3,
        input_size: int = 256,
        depth: int = 50,
        mode: Mode = "ir_se",
        units: Sequence[int] | None = None,
        widths: Sequence[int] = WIDTHS,
        pool: int = 1,
        hidden: int | None = None,
        activation: bool = True,
        rgb: Rgb = "w",
    ):
        if rgb not in ("w", "none", "predicted"):
            raise ValueError(f"expected rgb 'w', 'none' or 'predicted', got {rgb!r}")
        super().__init__(
            input_size=input_size, in_channels=in_channels, depth=depth, mode=mode, units=units, widths=widths
        )
        if not 1 <= pool <= input_size // 16:
            raise ValueError(f"expected pool from 1 to {input_size // 16}, the side of the last map, got {pool}")
        self.n_styles, self.style_dim, self.k, self.pool, self.rgb = n_styles, style_dim, k, pool, rgb
        self.latent = nn.Linear(sum(self.widths[1:]) * pool**2, n_styles * style_dim)
        self.feature_shape = tuple(feature_shape)
        if k:
            self._add_feature_branch(hidden, activation)

    def _add_feature_branch(self, hidden: int | None, activation: bool) -> None:
        channels, side, _ = self.feature_shape
        self.source, factor = feature_map([self.input_size >> i for i in range(5)], side)
        self.hidden = channels if hidden is None else hidden
        self.feature = nn.Sequential(
            *([nn.AvgPool2d(factor // 2)] if factor > 2 else []),
            nn.Conv2d(self.widths[self.source], self.hidden, 3, min(factor, 2), 1, bias=False),
            nn.BatchNorm2d(self.hidden),
            *([PReLU(self.hidden)] if activation else []),
            nn.Conv2d(self.hidden, channels, 3, 1, 1),
        )
        if self.rgb == "predicted" and self.k > 1:
            self.to_rgb = nn.Conv2d(channels, 3, 1)

    @property
    def feature_numbers(self) -> int:
        """How many numbers F is made of: those of the bottleneck where it is narrower."""
        if not self.k:
            return 0
        channels, h, w = self.feature_shape
        return min(channels, self.hidden) * h * w

    def forward(self, x: Float[Tensor, " b c h w"]) -> tuple[Float[Tensor, " b n d"], Float[Tensor, " b f g g"] | None]:
        maps = self.stages(x)
        pooled = torch.cat([F.adaptive_avg_pool2d(m, self.pool) for m in maps[1:]], dim=1)
        codes = rearrange(self.latent(pooled.flatten(1)), "b (n d) -> b n d", n=self.n_styles)
        return codes, self.feature(maps[self.source]) if self.k else None

    def predict_rgb(self, feature: Float[Tensor, " b f g g"]) -> Float[Tensor, " b 3 r r"] | None:
        """The image of the lower layers, from F; None where there is none (k = 1) or none is predicted."""
        return self.to_rgb(F.avg_pool2d(feature, 2)) if self.rgb == "predicted" and self.k > 1 else None
