"""The StyleGAN2 generator: mapping network, synthesis network with RGB skips, truncation, style mixing.

Source: StyleGAN2 (Karras et al. 2020), configuration f; names and state-dict keys are those of the rosinality port, so that
its checkpoints and pSp's load by name. Chapters: "The architecture", "StyleGAN2 from the inside".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.ops import (
    LRELU_GAIN,
    LRELU_SLOPE,
    Blur,
    EqualLinear,
    FusedLeakyReLU,
    PixelNorm,
    Upsample,
    modulated_conv2d,
    widen,
)

NoiseSpec = Literal["const", "random"] | Sequence[Tensor]


def n_styles_for(size: int) -> int:
    """Number of style inputs of a generator of `size` px: 2 log2(size) - 2 (10 at 64 px, 18 at 1024 px)."""
    if size < 8 or size & (size - 1):
        raise ValueError(f"expected a size that is a power of two and at least 8, got {size}")
    return 2 * int(math.log2(size)) - 2


def channel_table(size: int, channel_multiplier: int | float = 2) -> dict[int, int]:
    """Published width at each resolution 4, 8, ..., size: 512 up to 32 px, then 256 m, 128 m, 64 m, 32 m, 16 m."""
    resolutions = [2**i for i in range(2, int(math.log2(size)) + 1)]
    return {r: 512 if r <= 32 else int(16384 * channel_multiplier) // r for r in resolutions}


def noise_shapes(size: int) -> list[tuple[int, int, int, int]]:
    """Shapes of the noise maps in the order in which they are used: 4, 8, 8, 16, 16, ..."""
    return [(1, 1, r, r) for i in range(2 * int(math.log2(size)) - 3) for r in [2 ** ((i + 5) // 2)]]


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style and whose outputs are demodulated; see `modulated_conv2d`.

    `up` doubles the resolution: a transposed convolution, then the blur that removes its checkerboard.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel_size: int, style_dim: int, *, demodulate: bool = True, up: bool = False
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, c_out, c_in, kernel_size, kernel_size))
        if up:
            self.blur = Blur(pad=(1, 1), gain=4.0)
        self.modulation = EqualLinear(style_dim, c_in, bias_init=1.0)
        self.scale = 1 / math.sqrt(c_in * kernel_size**2)
        self.demodulate, self.up = demodulate, up

    def forward(
        self, x: Float[Tensor, " b i h w"], style: Float[Tensor, " b d"], *, gain: float = 1.0
    ) -> Float[Tensor, " b o h2 w2"]:
        y = modulated_conv2d(
            x, self.weight[0] * self.scale, self.modulation(style), demodulate=self.demodulate, up=self.up, gain=gain
        )
        return self.blur(y) if self.up else y

    def extra_repr(self) -> str:
        _, c_out, c_in, k, _ = self.weight.shape
        return f"{c_in} -> {c_out}, {k}x{k}, up={self.up}, demodulate={self.demodulate}"


class NoiseInjection(nn.Module):
    """Strength of the per-pixel noise of one layer: x + weight * noise, one learned number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, " b c h w"], noise: Float[Tensor, " n 1 h w"]) -> Float[Tensor, " b c h w"]:
        return x + (self.weight * noise).to(x.dtype)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    The activation's gain sqrt(2) is moved before the leaky ReLU, which is positively homogeneous, and folded into the
    demodulation, the noise strength and the bias: the same numbers with one pass less over the feature map.
    """

    def __init__(self, c_in: int, c_out: int, style_dim: int, *, up: bool = False, noise: bool = True):
        super().__init__()
        self.conv = ModulatedConv2d(c_in, c_out, 3, style_dim, up=up)
        self.noise = NoiseInjection() if noise else None
        self.activate = FusedLeakyReLU(c_out)

    def forward(
        self,
        x: Float[Tensor, " b i h w"],
        style: Float[Tensor, " b d"],
        noise: Float[Tensor, " n 1 h2 w2"] | None = None,
    ) -> Float[Tensor, " b o h2 w2"]:
        y = self.conv(x, style, gain=LRELU_GAIN)
        offset = (self.activate.bias * LRELU_GAIN).view(1, -1, 1, 1)
        if self.noise is not None and noise is not None:
            y = self.noise(y, noise * LRELU_GAIN)
        y = y + offset.to(y.dtype)
        return F.leaky_relu(y, LRELU_SLOPE)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, without demodulation, added to the up-sampled image so far."""

    def __init__(self, c_in: int, style_dim: int, *, up: bool = True):
        super().__init__()
        if up:
            self.upsample = Upsample()
        self.conv = ModulatedConv2d(c_in, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(
        self,
        x: Float[Tensor, " b i h w"],
        style: Float[Tensor, " b d"],
        skip: Float[Tensor, " b 3 h2 w2"] | None = None,
    ) -> Float[Tensor, " b 3 h w"]:
        rgb = widen(self.conv(x, style)) + self.bias  # the image itself is summed in float32, also under autocast
        return rgb if skip is None else rgb + self.upsample(skip)


class ConstantInput(nn.Module):
    """The learned 4 x 4 constant every image starts from."""

    def __init__(self, channels: int):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Generator(nn.Module):
    """StyleGAN2 generator: z (b, style_dim) -> w -> image (b, 3, size, size), nominally in [-1, 1], unclamped.

    `channels` ({4: c, 8: c, ..., size: c}) replaces the published widths; `n_mlp` is the depth of the mapping network;
    `noise=False` builds a generator without per-pixel noise. `mapping` replaces the published mapping network: a module that
    takes z (b, z_dim) to w (b, style_dim). `latent_avg` (style_dim,) is a buffer that moves with the module but is not part
    of its state dict, whose keys are the published ones.
    """

    latent_avg: Tensor

    def __init__(
        self,
        size: int,
        *,
        style_dim: int = 512,
        n_mlp: int = 8,
        channel_multiplier: int | float = 2,
        channels: Mapping[int, int] | None = None,
        lr_mlp: float = 0.01,
        noise: bool = True,
        mapping: nn.Module | None = None,
        z_dim: int | None = None,
    ):
        super().__init__()
        self.size, self.style_dim, self.n_styles = size, style_dim, n_styles_for(size)
        self.z_dim = style_dim if z_dim is None else z_dim
        if mapping is None and self.z_dim != style_dim:
            raise ValueError(f"expected z_dim={style_dim} (style_dim) for the published mapping, got {z_dim}")
        ch = dict(channels) if channels is not None else channel_table(size, channel_multiplier)
        resolutions = [2**i for i in range(2, int(math.log2(size)) + 1)]
        if missing := [r for r in resolutions if r not in ch]:
            raise ValueError(f"expected a width for each resolution {resolutions}, missing {missing}")
        self.channels = {r: ch[r] for r in resolutions}

        if mapping is None:
            mlp = [EqualLinear(style_dim, style_dim, lr_mul=lr_mlp, activation=True) for _ in range(n_mlp)]
            mapping = nn.Sequential(PixelNorm(), *mlp)
        self.style = mapping
        self.input = ConstantInput(ch[4])
        self.conv1 = StyledConv(ch[4], ch[4], style_dim, noise=noise)
        self.to_rgb1 = ToRGB(ch[4], style_dim, up=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for low, r in zip(resolutions, resolutions[1:], strict=False):
            self.convs.append(StyledConv(ch[low], ch[r], style_dim, up=True, noise=noise))
            self.convs.append(StyledConv(ch[r], ch[r], style_dim, noise=noise))
            self.to_rgbs.append(ToRGB(ch[r], style_dim))
        self.noises = nn.Module()
        self.has_noise = noise
        for i, shape in enumerate(noise_shapes(size) if noise else []):
            self.noises.register_buffer(f"noise_{i}", torch.randn(shape))
        self.register_buffer("latent_avg", torch.zeros(style_dim), persistent=False)

    # ---- latents ---------------------------------------------------------------------------------------------------

    def map(self, z: Float[Tensor, " b k"], *, truncation: float = 1.0) -> Float[Tensor, " b d"]:
        """Mapping network, z -> w; `truncation` psi < 1 pulls w towards `latent_avg`: avg + psi (w - avg)."""
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"expected z of shape (b, {self.z_dim}), got {tuple(z.shape)}")
        return self.truncate(self.style(z), truncation)

    def map_factors(self, factors: Mapping[str, Tensor], *, truncation: float = 1.0) -> Float[Tensor, " b d"]:
        """Named factors of a world -> w, without a z; only where the mapping network knows factors (ValueError elsewhere)."""
        to_w = getattr(self.style, "map_factors", None)
        if to_w is None:
            raise ValueError("expected a generator that was taught factors (world2/generator); this one maps z alone")
        return self.truncate(to_w(factors), truncation)

    @property
    def knows_factors(self) -> bool:
        """Whether its mapping network was taught the factors of a world."""
        return hasattr(self.style, "map_factors")

    def truncate(self, w: Float[Tensor, " *b d"], truncation: float) -> Float[Tensor, " *b d"]:
        """latent_avg + truncation (w - latent_avg)."""
        return w if truncation == 1.0 else self.latent_avg + truncation * (w - self.latent_avg)

    @torch.no_grad()
    def mean_latent(self, n: int = 4096, *, seed: int = 0) -> Float[Tensor, " d"]:
        """Mean of `n` mapped standard normal z, drawn on the CPU from `seed`, so the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(self.style_dim, dtype=torch.float64)
        for start in range(0, n, 4096):
            z = torch.randn(min(4096, n - start), self.z_dim, generator=generator)
            total += self.map(z.to(self.latent_avg)).cpu().double().sum(dim=0)  # Apple's GPUs know no float64
        return (total / n).to(self.latent_avg)

    def to_w_plus(self, w: Float[Tensor, " b d"] | Float[Tensor, " b n d"]) -> Float[Tensor, " b n d"]:
        """Repeat w for every style input; a w+ of the right shape passes through."""
        if w.ndim == 2 and w.shape[1] == self.style_dim:
            return w[:, None].expand(-1, self.n_styles, -1)
        if w.ndim == 3 and w.shape[1:] == (self.n_styles, self.style_dim):
            return w
        raise ValueError(
            f"expected w of shape (b, {self.style_dim}) or w_plus of shape (b, {self.n_styles}, {self.style_dim}) "
            f"for a {self.size} px generator, got {tuple(w.shape)}"
        )

    def mix(self, w_a: Float[Tensor, " b d"], w_b: Float[Tensor, " b d"], crossover: int) -> Float[Tensor, " b n d"]:
        """Style mixing: styles [0, crossover) from `w_a`, the rest from `w_b` (StyleGAN, section 3.1)."""
        if not 0 <= crossover <= self.n_styles:
            raise ValueError(f"expected a crossover in 0..{self.n_styles}, got {crossover}")
        a, b = self.to_w_plus(w_a), self.to_w_plus(w_b)
        return torch.cat([a[:, :crossover], b[:, crossover:]], dim=1)

    # ---- synthesis -------------------------------------------------------------------------------------------------

    def _noise_maps(self, noise: NoiseSpec, like: Tensor, generator: torch.Generator | None) -> list[Tensor | None]:
        n_layers = len(self.convs) + 1
        if not self.has_noise:
            if not isinstance(noise, str):
                raise ValueError("expected noise='const' or 'random': this generator was built without noise layers")
            return [None] * n_layers
        shapes = noise_shapes(self.size)
        if noise == "const":
            return [getattr(self.noises, f"noise_{i}") for i in range(n_layers)]
        if noise == "random":
            device = generator.device if generator is not None else like.device
            b = like.shape[0]
            return [torch.randn(b, *s[1:], generator=generator, device=device).to(like.device) for s in shapes]
        if isinstance(noise, str) or len(noise) != n_layers:
            raise ValueError(f"expected noise 'const', 'random' or a list of {n_layers} maps, got {noise!r:.60}")
        for i, (given, shape) in enumerate(zip(noise, shapes, strict=True)):
            if given.shape[1:] != shape[1:] or given.shape[0] not in (1, like.shape[0]):
                raise ValueError(f"expected noise map {i} of shape {shape}, got {tuple(given.shape)}")
        return list(noise)

    def synthesize(
        self,
        w: Float[Tensor, " b d"] | Float[Tensor, " b n d"],
        *,
        noise: NoiseSpec = "const",
        generator: torch.Generator | None = None,
        start: int = 0,
        feature: Float[Tensor, " b c h h"] | None = None,
        rgb: Float[Tensor, " b 3 r r"] | None = None,
    ) -> Float[Tensor, " b 3 H H"]:
        """Image from w or w+. `noise`: the stored maps, fresh ones (from `generator` if given), or a list of maps.

        `start`: go on behind so many convolutions, from a state as `features` gives it: their output `feature`, and the image
        `rgb` of the lower resolutions (None counts as black). ValueError, with the shapes, for a state of another place.
        """
        w_plus = self.to_w_plus(w)
        maps = self._noise_maps(noise, w_plus, generator)
        self._check_state(start, feature, rgb, w_plus)
        x, rgb = self._advance(w_plus, maps, (feature, rgb), range(start, self.n_convs))
        return self._to_rgb(self.n_convs, x, w_plus, rgb)

    def features(
        self,
        w: Float[Tensor, " b d"] | Float[Tensor, " b n d"],
        *,
        upto: int,
        noise: NoiseSpec = "const",
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, " b c h h"], Float[Tensor, " b 3 r r"] | None]:
        """The state behind `upto` of the `n_convs` convolutions: their output, and the image of the ToRGBs in front of the last
        of them (None behind the first). `synthesize(w, start=upto, feature=..., rgb=...)` makes the same image of it."""
        if not 1 <= upto <= self.n_convs:
            raise ValueError(f"expected upto in 1..{self.n_convs} for a {self.size} px generator, got {upto}")
        w_plus = self.to_w_plus(w)
        maps = self._noise_maps(noise, w_plus, generator)
        return self._advance(w_plus, maps, (None, None), range(upto))

    @property
    def n_convs(self) -> int:
        """Number of 3x3 convolutions: 9 at 64 px, 17 at 1024 px."""
        return len(self.convs) + 1

    def feature_shape(self, upto: int) -> tuple[int, int, int]:
        """(c, h, h) of the output of convolution number `upto`, counted from 1."""
        r = 2 ** (upto // 2 + 2)
        return self.channels[r], r, r

    def rgb_shape(self, upto: int) -> tuple[int, int, int] | None:
        """(3, r, r) of the image that belongs to that feature, half its side; None behind the first convolution."""
        r = 2 ** (upto // 2 + 1)
        return None if upto == 1 else (3, r, r)

    def _check_state(self, start: int, feature: Tensor | None, rgb: Tensor | None, w_plus: Tensor) -> None:
        if start == 0 and feature is None and rgb is None:
            return
        b = w_plus.shape[0]
        if not 1 <= start <= self.n_convs:
            raise ValueError(
                f"expected start in 1..{self.n_convs} with a feature, or 0 without one, for a {self.size} px generator, "
                f"got {start}"
            )
        wanted: list[tuple[str, Tensor | None, tuple[int, ...]]] = [("feature", feature, self.feature_shape(start))]
        if rgb is not None:
            wanted.append(("rgb", rgb, self.rgb_shape(start) or ()))
        for name, given, shape in wanted:
            if given is None or tuple(given.shape) != (b, *shape):
                expected = f"({b}, {', '.join(map(str, shape))})" if shape else "None"
                got = "none" if given is None else str(tuple(given.shape))
                raise ValueError(f"expected {name} of shape {expected} for start={start} and {b} codes, got {got}")

    def _advance(
        self, w_plus: Tensor, maps: Sequence[Tensor | None], state: tuple[Tensor | None, Tensor | None], layers: range
    ) -> tuple[Tensor, Tensor | None]:
        """The state (feature, rgb) behind the convolutions `layers`, counted from 0; convolution k takes style k."""
        x, rgb = state
        if x is None:
            # Dense convolutions are fastest in channels_last on CPU (oneDNN) and, in bf16, on CUDA.
            x = self.input.input.expand(w_plus.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        for k in layers:
            if k % 2:  # behind every second convolution, and behind the first, an image leaves
                rgb = self._to_rgb(k, x, w_plus, rgb)
            conv = self.convs[k - 1] if k else self.conv1
            x = conv(x, w_plus[:, k], maps[k])
        return x, rgb

    def _to_rgb(self, k: int, x: Tensor, w_plus: Tensor, rgb: Tensor | None) -> Tensor:
        """The ToRGB behind `k` convolutions (an odd number), which takes style k."""
        layer = self.to_rgb1 if k == 1 else self.to_rgbs[(k - 3) // 2]
        return layer(x, w_plus[:, k], rgb)

    def forward(
        self, z: Float[Tensor, " b k"], *, truncation: float = 1.0, noise: NoiseSpec = "const"
    ) -> Float[Tensor, " b 3 H H"]:
        """z -> image: `synthesize(map(z))`."""
        return self.synthesize(self.map(z, truncation=truncation), noise=noise)

    def extra_repr(self) -> str:
        return f"size={self.size}, style_dim={self.style_dim}, n_styles={self.n_styles}, channels={self.channels}"
