"""The instruments of Facets: small networks that measure images of the embedded world, each with a known error.

`PlainEmbedder` (identity_eval), `ParsingNet`, `FactorNet`, `PerceptualNet` and `PerceptualJudge` (perceptual_eval); `identity` is
the paper's own architecture, `pspnb.nn.backbones.FaceEmbedder`, at small widths. All take images in [-1, 1]. They are trained by
`pspnb.training.instruments`; their errors are in the chapter "The world of Facets" and on their cards.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def conv_bn(c_in: int, c_out: int, *, stride: int = 1, groups: int = 1, kernel_size: int = 3) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU."""
    conv = nn.Conv2d(c_in, c_out, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class ResidualUnit(nn.Module):
    """x + two 3x3 convolutions; the first may halve the resolution, the shortcut then pools and projects."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1):
        super().__init__()
        self.first = conv_bn(c_in, c_out, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Float[Tensor, " b i h w"]) -> Float[Tensor, " b o h2 w2"]:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class PlainEmbedder(nn.Module):
    """Face recognition without residuals or squeeze-excitation: plain convolutions, then a weighted sum over positions.

    Deliberately unlike `FaceEmbedder`, so that a generator that fools the identity loss doesn't fool its judge.
    Input (b, 3, s, s) with s = `input_size`; output (b, embedding_dim) of unit length.
    """

    def __init__(
        self,
        *,
        input_size: int = 64,
        widths: Sequence[int] = (32, 64, 96, 144),
        depth: int = 2,
        embedding_dim: int = 128,
    ):
        """`depth`: convolutions a stage, the first of them with stride 2."""
        super().__init__()
        self.input_size = input_size
        layers: list[nn.Module] = [conv_bn(3, widths[0], stride=2, kernel_size=5)]
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            layers += [conv_bn(c_in, c_out, stride=2), *(conv_bn(c_out, c_out) for _ in range(depth - 1))]
        side = input_size // 2 ** len(widths)
        pool = nn.Conv2d(widths[-1], widths[-1], side, groups=widths[-1], bias=False)  # a learned weight per position
        layers += [pool, nn.BatchNorm2d(widths[-1]), nn.Flatten(), nn.Linear(widths[-1], embedding_dim, bias=False)]
        layers += [nn.BatchNorm1d(embedding_dim)]
        self.layers = nn.Sequential(*layers)

    def embed_raw(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b e"]:
        """Embedding before normalisation."""
        if x.shape[-2:] != (self.input_size, self.input_size):
            raise ValueError(
                f"expected images of shape (b, 3, {self.input_size}, {self.input_size}), got {tuple(x.shape)}"
            )
        return self.layers(x.contiguous(memory_format=torch.channels_last)).float()

    def forward(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b e"]:
        return F.normalize(self.embed_raw(x), dim=1)


class ParsingNet(nn.Module):
    """A U-Net: image (b, 3, s, s) -> class logits (b, n_classes, s, s); s divisible by 2^(len(widths) - 1).

    `refine`: further convolutions at full resolution behind the last one, where thin things (a chain, a hoop) are decided.
    """

    def __init__(self, *, n_classes: int = 19, widths: Sequence[int] = (24, 48, 96, 128), refine: int = 0):
        super().__init__()
        self.n_classes = n_classes
        self.down = nn.ModuleList([nn.Sequential(conv_bn(3, widths[0]), conv_bn(widths[0], widths[0]))])
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            self.down.append(nn.Sequential(conv_bn(c_in, c_out, stride=2), conv_bn(c_out, c_out)))
        self.up = nn.ModuleList(
            conv_bn(low + high, high) for high, low in reversed(list(zip(widths, widths[1:], strict=False)))
        )
        self.refine = nn.Sequential(*(conv_bn(widths[0], widths[0]) for _ in range(refine)))
        self.head = nn.Conv2d(widths[0], n_classes, 1)

    def taps(self, x: Float[Tensor, " b 3 h w"]) -> list[Tensor]:
        """The maps of the contracting path (four at the shipped widths), each half as large as the one before, and the logits."""
        maps = [x.contiguous(memory_format=torch.channels_last)]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        y = maps[-1]
        for stage, beside in zip(self.up, maps[-2:0:-1], strict=True):
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
            y = stage(torch.cat([y, beside], dim=1))
        return [*maps[1:], self.head(self.refine(y)).float()]

    def forward(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b k h w"]:
        return self.taps(x)[-1]

    @torch.no_grad()
    def labels(self, x: Float[Tensor, " b 3 h w"]) -> Int[Tensor, " b h w"]:
        """The most likely class of each pixel."""
        return self(x).argmax(dim=1)


class FactorNet(nn.Module):
    """Reads the factors of an image: a number for a continuous factor, else logits.

    `heads`: factor name -> number of outputs (1: continuous). `ranges`: name -> (low, high) of the continuous factors, in their
    own units; the raw output maps this range to [-1, 1]. `features` gives the vector (b, feature_dim) in front of the heads,
    which the Frechet distance uses.
    """

    def __init__(
        self,
        *,
        heads: Mapping[str, int],
        ranges: Mapping[str, Sequence[float]],
        input_size: int = 64,
        widths: Sequence[int] = (24, 48, 80, 112, 128),
        feature_dim: int = 160,
    ):
        super().__init__()
        self.heads, self.ranges = dict(heads), {name: tuple(pair) for name, pair in ranges.items()}
        self.input_size = input_size
        units: list[nn.Module] = [conv_bn(3, widths[0])]
        units += [ResidualUnit(a, b, stride=2) for a, b in zip(widths, widths[1:], strict=False)]
        side = input_size // 2 ** (len(widths) - 1)
        self.trunk = nn.Sequential(*units)
        self.project = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * side**2, feature_dim, bias=False),
            nn.BatchNorm1d(feature_dim),
            nn.ReLU(),
        )
        self.head = nn.Linear(feature_dim, sum(self.heads.values()))

    def features(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b f"]:
        """The last hidden layer."""
        if x.shape[-2:] != (self.input_size, self.input_size):
            raise ValueError(
                f"expected images of shape (b, 3, {self.input_size}, {self.input_size}), got {tuple(x.shape)}"
            )
        return self.project(self.trunk(x.contiguous(memory_format=torch.channels_last)).contiguous()).float()

    def outputs(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b k"]:
        """All outputs side by side, in the order of `heads`."""
        return self.head(self.features(x)).float()

    def forward(self, x: Float[Tensor, " b 3 h w"]) -> dict[str, Tensor]:
        """Raw outputs: name -> (b,) in [-1, 1] units, or (b, k) logits."""
        parts = self.outputs(x).split(list(self.heads.values()), dim=1)
        return {n: p[:, 0] if n in self.ranges else p for n, p in zip(self.heads, parts, strict=True)}

    @torch.no_grad()
    def predict(self, x: Float[Tensor, " b 3 h w"]) -> dict[str, Tensor]:
        """Factors in their own units: name -> (b,) float (degrees for the pose), or (b,) class ids."""
        out = {}
        for name, raw in self(x).items():
            if name in self.ranges:
                low, high = self.ranges[name]
                out[name] = low + (raw.clamp(-1, 1) + 1) * (high - low) / 2
            else:
                out[name] = raw.argmax(dim=1)
        return out


class UnitMapDistance(nn.Module):
    """The LPIPS form (Zhang et al. 2018) over whatever `maps` a trunk gives.

    Every map is scaled to unit length over the channels; the distance is the squared difference, averaged over positions,
    summed over channels and averaged over the maps. They weigh the same: unlike LPIPS there are no human judgements here
    to fit weights to.
    """

    def maps(self, x: Float[Tensor, " b 3 h w"]) -> list[Tensor]:
        """The stages' outputs, not normalised."""
        raise NotImplementedError

    def features(self, images: Float[Tensor, " b 3 h w"]) -> list[Tensor]:
        """The unit-normalised maps; keep a target's to use them again."""
        return [
            m / (torch.linalg.vector_norm(m, dim=1, keepdim=True) + 1e-6)
            for m in (m.float() for m in self.maps(images))
        ]

    def distance(
        self, a: list[Tensor], b: list[Tensor], weight: Float[Tensor, " b 1 h w"] | None = None
    ) -> Float[Tensor, " b"]:
        """Distance of each pair, from two lists of `features`; 0 for equal images, at most 4.

        `weight`: how much each pixel counts in the averages over positions (default: all the same).
        """
        squares = [(p - q).square() for p, q in zip(a, b, strict=True)]
        if weight is None:
            return torch.stack([s.mean(dim=(2, 3)).sum(dim=1) for s in squares]).mean(dim=0)
        maps = [s.sum(dim=1, keepdim=True) for s in squares]
        shares = [F.adaptive_avg_pool2d(weight, (m.shape[2], m.shape[3])) for m in maps]
        return torch.stack(
            [(m * s).sum(dim=(1, 2, 3)) / s.sum(dim=(1, 2, 3)) for m, s in zip(maps, shares, strict=True)]
        ).mean(dim=0)

    def forward(
        self,
        x: Float[Tensor, " b 3 h w"],
        y: Float[Tensor, " b 3 h w"],
        weight: Float[Tensor, " b 1 h w"] | None = None,
    ) -> Float[Tensor, " b"]:
        """Distance of each pair of images; no gradient reaches `y`. `weight`: see `distance`."""
        with torch.no_grad():
            target = self.features(y)
        return self.distance(self.features(x), target, weight)


class PerceptualNet(UnitMapDistance):
    """`perceptual`, a loss: a small VGG-like trunk (plain 3x3 convolutions, batch normalisation, average pooling)."""

    def __init__(self, *, widths: Sequence[int] = (24, 48, 80, 112, 128)):
        super().__init__()
        self.stages = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(zip((3, *widths), widths, strict=False)):
            pool: list[nn.Module] = [nn.AvgPool2d(2)] if i else []
            self.stages.append(nn.Sequential(*pool, conv_bn(c_in, c_out), conv_bn(c_out, c_out)))

    def maps(self, x: Float[Tensor, " b 3 h w"]) -> list[Tensor]:
        """The outputs of the stages, at full size and each half as large as the one before."""
        maps = [x.contiguous(memory_format=torch.channels_last)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class NormFreeUnit(nn.Module):
    """x + a f(x), f of two 3x3 convolutions behind SiLUs and `a` learned from 0 (SkipInit, De and Smith 2020): no normalisation."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c h w"]:
        return x + self.gain * self.second(F.silu(self.first(F.silu(x))))


class PerceptualJudge(UnitMapDistance):
    """`perceptual_eval`, for judging only: a residual trunk without normalisation, 5x5 stem, strided 2x2 convolutions, SiLU.

    Deliberately unlike `PerceptualNet`, so that a generator that fools the loss doesn't fool its judge.
    """

    def __init__(self, *, widths: Sequence[int] = (24, 48, 88, 128), depth: Sequence[int] = (1, 1, 2, 2)):
        """`depth`: residual units a stage."""
        super().__init__()
        self.stages = nn.ModuleList()
        for i, (c_in, c_out, n) in enumerate(zip((3, *widths), widths, depth, strict=False)):
            enter = nn.Conv2d(c_in, c_out, 2, 2) if i else nn.Conv2d(3, c_out, 5, 1, 2)
            self.stages.append(nn.Sequential(enter, *(NormFreeUnit(c_out) for _ in range(n))))

    def maps(self, x: Float[Tensor, " b 3 h w"]) -> list[Tensor]:
        """The activated outputs of the stages, at full size and each half as large as the one before."""
        x, maps = x.contiguous(memory_format=torch.channels_last), []
        for stage in self.stages:
            x = stage(x)
            maps.append(F.silu(x))
        return maps
