"""A pSp, losses and data small enough that a training step costs milliseconds."""

import torch
from torch import nn

from pspnb.losses import IdentityLoss, LossWeights, LPIPSLoss, build_terms
from pspnb.models.feature_style import FeatureStyle
from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.feature_style import FeatureStyleEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.tasks import TASKS
from pspnb.training.data import Batches, PairArrays

SIZE = 64
# Multiples of 8: oneDNN (issue 6035) writes past its buffer in the backward pass of a strided 1 x 1 convolution of fewer
# input channels, on CPUs without AVX-512.
WIDTHS = (8, 8, 8, 16, 16)


def tiny_psp(seed: int = 0, *, in_channels: int = 3, noise: bool = True) -> PSP:
    """64 px in and out, n_styles 10; the same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = GradualStyleEncoder(
            10, style_dim=8, in_channels=in_channels, input_size=SIZE, units=(1, 1, 1, 1), widths=WIDTHS
        )
        generator = Generator(
            SIZE, style_dim=8, n_mlp=2, channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 4}, noise=noise
        ).requires_grad_(False)
        for name, parameter in generator.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(0.05)
        psp = PSP(encoder, generator, latent_avg=generator.mean_latent(256))
        psp.decoder.requires_grad_(True)  # the trainer has to freeze it
    return psp


def tiny_feature_style(k: int = 3, *, seed: int = 0, noise: bool = True, **options) -> FeatureStyle:
    """On the generator of `tiny_psp`; `options` of the encoder."""
    decoder = tiny_psp(seed, noise=noise).decoder
    decoder.latent_avg.copy_(decoder.mean_latent(256))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = FeatureStyleEncoder(
            10,
            k=k,
            feature_shape=decoder.feature_shape(k),
            style_dim=8,
            input_size=SIZE,
            units=(1, 1, 1, 1),
            widths=WIDTHS,
            **options,
        )
    return FeatureStyle(encoder, decoder)


class TinyEncoder(nn.Module):
    """Two BatchNorms only: between processes every one of them costs two messages per pass."""

    input_size = SIZE

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.body = nn.Sequential(
                *(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.Tanh()),
                *(nn.Conv2d(8, 16, 4, 4), nn.BatchNorm2d(16), nn.Tanh(), nn.Flatten(), nn.Linear(256, 80)),
            )

    def forward(self, x):
        return self.body(x).reshape(-1, 10, 8)


def tiny_arrays(n: int = 12, *, seed: int = 0, labels: int | None = None, paired: bool = False) -> PairArrays:
    """Smooth random pictures, so that a tiny generator can come near them; `paired`: beside their negatives."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=draw)
    images = nn.functional.interpolate(coarse, size=SIZE, mode="bilinear").mul(255).byte()
    if labels is None:
        return PairArrays(images, 255 - images if paired else None)
    blocks = torch.randint(0, labels, (n, 4, 4), generator=draw, dtype=torch.uint8)
    return PairArrays(images, blocks.repeat_interleave(16, 1).repeat_interleave(16, 2))


def tiny_batches(task: str = "inversion", *, n: int = 12, batch: int = 4, seed: int = 0) -> Batches:
    classes = TASKS[task].source.n_classes or None
    return Batches(tiny_arrays(n, labels=classes, paired=TASKS[task].paired), TASKS[task], batch=batch, seed=seed)


class TinyFace(nn.Module):
    """A face network in name only."""

    input_size = 16

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, 6)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x))).mean((2, 3)))


def l2_terms(psp: PSP):
    return build_terms(LossWeights(l2=1.0, w_norm=0.001), latent_avg=psp.latent_avg)


def all_terms(psp: PSP, weights: LossWeights):
    return build_terms(
        weights, lpips=LPIPSLoss(random_trunk=True), identity=IdentityLoss(TinyFace()), latent_avg=psp.latent_avg
    )


def encoder_tensors(state: dict) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def equal(a: dict, b: dict) -> bool:
    """Two state dicts, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
