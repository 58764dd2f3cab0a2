"""The answer key of an imitating generator: what the renderer draws for the factors that a z stands for.

Imitative learning (DiscoFaceGAN, Deng et al. 2020) fixes a prior z -> factors, so each generated image has a true one beside it:
its picture, its label map, its factors. Chapter: "StyleGAN2 from the inside".
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import CLASS_ID, Factors, Style, render
from pspnb.world2.prior import Z_DIM, factors_of

SURROUNDINGS = (CLASS_ID["background"], CLASS_ID["cloth"])
"""Wall and cloth; "head" is every other class, of the true labels."""
INSTRUMENT_SIZE = 64
"""Side of the images that the instruments read; larger ones are pooled to it."""


@dataclass(frozen=True)
class AnswerKey:
    """True images in [-1, 1], label ids 0..18 and factors, all on one device."""

    images: Float[Tensor, " n 3 s s"]
    labels: UInt8[Tensor, " n s s"]
    factors: Factors

    @property
    def head(self) -> Bool[Tensor, " n 1 s s"]:
        """Where the truth shows neither wall nor cloth."""
        return torch.stack([self.labels != i for i in SURROUNDINGS]).all(dim=0)[:, None]


def draw_z(generator: Generator, n: int, *, seed: int) -> Float[Tensor, " n k"]:
    """`n` standard normal z of the generator's width, drawn on the CPU: the same on every device."""
    return torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(seed))


def has_answers(generator: Generator) -> bool:
    """Whether the prior of Facets knows the generator's z."""
    return generator.z_dim == Z_DIM


def check_has_answers(generator: Generator) -> None:
    """PspnbError for a generator whose z the prior of Facets does not know."""
    if not has_answers(generator):
        raise PspnbError(
            f"expected a generator that imitates Facets, with z of {Z_DIM} numbers (pspnb.world2.prior), "
            f"got one with z of {generator.z_dim}: it has no answer key"
        )


def batch_size(device: str | torch.device) -> int:
    """Images worked on at once: few fit a CPU's caches (16 cost a quarter less than 96 there), a GPU wants many."""
    return 16 if torch.device(device).type == "cpu" else 1000


@torch.no_grad()
def answer_key(
    z: Float[Tensor, " n k"], size: int, device: str | torch.device = "cpu", *, style: Style = "photo"
) -> AnswerKey:
    """What a generator of `size` px, taught in `style`, should draw for each z. ValueError for a z of another width."""
    factors = factors_of(z.cpu())
    pictures, labels = [], []
    for start in range(0, len(z), batch_size(device)):
        rows = slice(start, start + batch_size(device))
        out = render({name: value[rows] for name, value in factors.items()}, size, device=device, style=style)
        pictures.append(out.image)
        labels.append(out.labels)
    return AnswerKey(torch.cat(pictures), torch.cat(labels), {n: v.to(device) for n, v in factors.items()})


@torch.no_grad()
def synthesize(generator: Generator, codes: Tensor) -> Float[Tensor, " n 3 s s"]:
    """Images of w (n, d) or w+ (n, k, d), in batches, clamped to [-1, 1] as a stored picture is."""
    parts = codes.split(batch_size(codes.device))
    return torch.cat([generator.synthesize(part).float().clamp(-1, 1) for part in parts])


def pooled(images: Float[Tensor, " n 3 s s"]) -> Float[Tensor, " n 3 t t"]:
    """Images at the size that the instruments read."""
    factor = images.shape[-1] // INSTRUMENT_SIZE
    return F.avg_pool2d(images, factor) if factor > 1 else images


def pooled_labels(labels: UInt8[Tensor, " n s s"]) -> UInt8[Tensor, " n t t"]:
    """Label maps at that size: the class of most of a cell's pixels, the lower id of a tie."""
    factor = labels.shape[-1] // INSTRUMENT_SIZE
    if factor <= 1:
        return labels
    votes = F.avg_pool2d(F.one_hot(labels.long(), len(CLASS_ID)).permute(0, 3, 1, 2).float(), factor)
    return votes.argmax(dim=1).to(labels.dtype)
