"""IR and IR-SE residual networks: the body of every pSp encoder and of the face-recognition network of the identity loss.

Sources: ArcFace (Deng et al. 2019) for the IR unit, squeeze-and-excitation (Hu et al. 2018); pSp appendix A. Stage outputs have
names here (c1, c2, c3), where the published code taps fixed indices of a flat list. Chapter: "The pSp encoder".
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Mode = Literal["ir", "ir_se"]

UNITS: dict[int, tuple[int, int, int, int]] = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 64, 128, 256, 512)  # stem, then the four stages


class Features(NamedTuple):
    """Outputs of the last three stages of a backbone on an image of side s: c1 at s / 4, c2 at s / 8, c3 at s / 16."""

    c1: Tensor
    c2: Tensor
    c3: Tensor


class SqueezeExcite(nn.Module):
    """Scale each channel by a number in (0, 1) computed from the global average of all channels."""

    def __init__(self, channels: int, *, reduction: int = 16):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c h w"]:
        scale = self.fc2(self.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(scale)


class PReLU(nn.PReLU):
    """`nn.PReLU`, from two ReLUs where a CPU needs gradients: equal to the bit (its slope at 0 is 0), 3 x as fast."""

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c h w"]:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        return torch.relu(x) - self.weight.to(x.dtype).view(-1, 1, 1) * torch.relu(-x)


class IRUnit(nn.Module):
    """Residual unit: BN, 3x3, PReLU, 3x3 with the stride, BN [, squeeze-excite], plus a shortcut; no activation after the sum."""

    def __init__(self, c_in: int, c_out: int, *, stride: int, mode: Mode):
        super().__init__()
        if c_in == c_out:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)  # pure subsampling
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        layers = [
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c_out, 3, 1, 1, bias=False),
            PReLU(c_out),
            nn.Conv2d(c_out, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        if mode == "ir_se":
            layers.append(SqueezeExcite(c_out))
        self.res_layer = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, " b i h w"]) -> Float[Tensor, " b o h2 w2"]:
        return self.res_layer(x) + self.shortcut_layer(x)


class IRBackbone(nn.Module):
    """Stem and four stages, each halving the resolution in its first unit.

    `depth` 50, 100 or 152 selects the published numbers of units; `units` and `widths` (stem and four stages) replace
    them, which is how the same class serves 64 px.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        depth: int = 50,
        mode: Mode = "ir_se",
        units: Sequence[int] | None = None,
        widths: Sequence[int] = WIDTHS,
    ):
        super().__init__()
        if units is None and depth not in UNITS:
            raise ValueError(f"expected depth in {sorted(UNITS)} or explicit units, got {depth}")
        if mode not in ("ir", "ir_se"):
            raise ValueError(f"expected mode 'ir' or 'ir_se', got {mode!r}")
        self.in_channels, self.mode = in_channels, mode
        self.units = tuple(units if units is not None else UNITS[depth])
        self.widths = tuple(widths)
        if len(self.units) != 4 or len(self.widths) != 5:
            raise ValueError(f"expected 4 units and 5 widths (stem, stages), got {self.units} and {self.widths}")
        self.input_layer = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), PReLU(widths[0])
        )
        self._add_heads_before_body()
        body = []
        for n, c_in, c_out in zip(self.units, self.widths, self.widths[1:], strict=False):
            body += [IRUnit(c_in if i == 0 else c_out, c_out, stride=2 if i == 0 else 1, mode=mode) for i in range(n)]
        self.body = nn.Sequential(*body)

    def _add_heads_before_body(self) -> None:
        """Hook for sub-classes whose published state dict lists the output layers before the body."""

    def stages(self, x: Float[Tensor, " b c h w"]) -> list[Tensor]:
        """Outputs of the stem, at the size of the image, and of the four stages, each half as large as the one before."""
        x = self.input_layer(x.contiguous(memory_format=torch.channels_last))
        ends, start = [x], 0
        for n in self.units:
            x = self.body[start : start + n](x)
            ends.append(x)
            start += n
        return ends

    def features(self, x: Float[Tensor, " b c h w"]) -> Features:
        """Outputs of stages 2, 3 and 4."""
        return Features(*self.stages(x)[2:])


class FaceEmbedder(IRBackbone):
    """Face recognition network (ArcFace IR-SE50, CurricularFace IR-101): the R of the identity loss.

    Input (b, 3, s, s) in [-1, 1] with s = `input_size` (112 or 224); output (b, embedding_dim), unit length.
    """

    def __init__(
        self,
        *,
        input_size: int = 112,
        depth: int = 50,
        mode: Mode = "ir_se",
        dropout: float = 0.6,
        affine: bool = True,
        embedding_dim: int = 512,
        units: Sequence[int] | None = None,
        widths: Sequence[int] = WIDTHS,
    ):
        if input_size % 16:
            raise ValueError(f"expected an input_size divisible by 16, got {input_size}")
        self._head = (input_size, dropout, affine, embedding_dim, widths[-1])
        super().__init__(depth=depth, mode=mode, units=units, widths=widths)
        self.input_size = input_size

    def _add_heads_before_body(self) -> None:
        size, dropout, affine, dim, width = self._head
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(width * (size // 16) ** 2, dim),
            nn.BatchNorm1d(dim, affine=affine),
        )

    def taps(self, x: Float[Tensor, " b 3 h w"]) -> list[Tensor]:
        """Five depths of the network: the four stages' maps and the embedding before normalisation."""
        if x.shape[-2:] != (self.input_size, self.input_size):
            expected = f"(b, 3, {self.input_size}, {self.input_size})"
            raise ValueError(f"expected face crops of shape {expected}, got {tuple(x.shape)}")
        maps = self.stages(x)[1:]
        # The linear layer reads the map in (c, h, w) order, so the memory format must be the plain one here.
        return [*maps, self.output_layer(maps[-1].contiguous())]

    def embed_raw(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b e"]:
        """Embedding before normalisation."""
        return self.taps(x)[-1]

    def forward(self, x: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b e"]:
        e = self.embed_raw(x)
        return e / e.norm(dim=1, keepdim=True)
