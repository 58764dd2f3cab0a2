"""A coded world for the gate: pictures from which stub instruments read exactly what was written into them.

Channel 0 holds the label of each pixel, the first row of channel 1 the factors, so that an error put into a generated picture is
known to the last digit, and nothing is rendered or trained.
"""

import torch
from torch import Tensor, nn

from pspnb.measure.answer_key import AnswerKey
from pspnb.measure.pairs import Instruments
from pspnb.nn.instruments import FactorNet, ParsingNet, PlainEmbedder, UnitMapDistance
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import BY_NAME, CLASSES, Factors, Style, render, sample_factors
from pspnb.world2.prior import Z_DIM, factors_of

READ = ("yaw", "glasses", "hat", "background_pattern", "cloth_pattern", "hair_style", "smile", "glasses_colour")
SIZE = 64
K = len(CLASSES)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- pictures as code --------------------------------------------------------------------------------------------------


def coded(labels: Tensor, factors: Factors) -> Tensor:
    """Pictures in [-1, 1] from which the stub instruments read these labels and factors."""
    x = torch.zeros(len(labels), 3, SIZE, SIZE)
    x[:, 0] = labels.float() / (K - 1) * 2 - 1
    for column, name in enumerate(READ):
        x[:, 1, 0, column] = factors[name].float() / 64
    x[:, 2] = torch.rand(len(labels), 1, 1, generator=gen(3)) * 2 - 1  # who it is
    return x


def coded_key(n: int = 120) -> AnswerKey:
    """Random blocks of labels, all 19 classes in every picture."""
    factors = sample_factors(5, n)
    blocks = torch.stack([torch.randperm(64, generator=gen(i)) % K for i in range(n)]).view(n, 8, 8)
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)
    return AnswerKey(coded(labels, factors), labels, factors)


class CodedParsing(ParsingNet):
    """Logits 10 for the class written into the pixel, 0 for the others."""

    def __init__(self):
        nn.Module.__init__(self)
        self.n_classes = K

    def forward(self, x: Tensor) -> Tensor:
        written = ((x[:, 0] + 1) / 2 * (K - 1)).round().long().clamp(0, K - 1)
        return 10 * nn.functional.one_hot(written, K).permute(0, 3, 1, 2).float()


class CodedFactors(FactorNet):
    def __init__(self):
        nn.Module.__init__(self)

    def features(self, x: Tensor) -> Tensor:
        return x[:, 2, ::8, ::8].flatten(1)[:, :4] + x[:, 1, 0, :4]

    def predict(self, x: Tensor) -> dict[str, Tensor]:
        read = {name: x[:, 1, 0, i] * 64 for i, name in enumerate(READ)}
        return {n: v.round().long() if BY_NAME[n].kind == "categorical" else v for n, v in read.items()}


class CodedIdentity(PlainEmbedder):
    """Two numbers, on the unit circle."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, x: Tensor) -> Tensor:
        angle = x[:, 2].mean(dim=(1, 2)) * 1.5
        return torch.stack([angle.cos(), angle.sin()], dim=1)


class MeanDifference(UnitMapDistance):
    """A distance whose value is known: the mean absolute difference."""

    def features(self, images: Tensor) -> list[Tensor]:
        return [images]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return (a[0] - b[0]).abs().mean(dim=(1, 2, 3))


def coded_instruments() -> Instruments:
    return Instruments(MeanDifference(), CodedParsing(), CodedFactors(), CodedIdentity(), MeanDifference())


# ---- a generator without an error --------------------------------------------------------------------------------------


class Renderer(Generator):
    """Draws its own answer key: w is z. Of a mixture it draws what the coarse styles say."""

    def __init__(self, size: int = SIZE, style: Style = "photo"):
        nn.Module.__init__(self)
        self.drawn = style
        self.size, self.style_dim, self.n_styles, self.z_dim = size, Z_DIM, 10, Z_DIM
        self.register_buffer("latent_avg", torch.full((Z_DIM,), 0.3))

    def map(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        return self.truncate(z, truncation)

    def synthesize(self, w: Tensor, **_) -> Tensor:
        return render(factors_of(w[:, 0] if w.ndim == 3 else w), self.size, style=self.drawn).image
