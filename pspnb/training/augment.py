"""Adaptive discriminator augmentation: invertible changes shown to D alone, real and fake alike (Karras et al. 2020, ADA).

Each change is applied to an image with probability p, and p is steered so that the share of real images with a positive
logit, r_t = E[sign(D(x))], stays near a target. Small set of our own: flips, whole-pixel shifts, quarter-turn-free scaling and
rotation, brightness, contrast and hue. Chapter: "StyleGAN2 from the inside".
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def augment(
    images: Float[Tensor, " b 3 h w"], p: float, *, generator: torch.Generator | None = None
) -> Float[Tensor, " b 3 h w"]:
    """Each of the changes with probability `p`, independently per image; differentiable in the images; p = 0 changes nothing."""
    if p <= 0:
        return images
    b = images.shape[0]

    def normal(n: int) -> Tensor:
        return torch.randn(b, n, generator=generator).to(images)

    def chosen() -> Tensor:
        return (torch.rand(b, 1, generator=generator) < p).to(images)

    return _colour(_geometry(images, normal, chosen), normal, chosen)


def _geometry(images: Tensor, normal, chosen) -> Tensor:
    """Mirror, scale (sd 0.2 in log2), rotate (sd 12 degrees), shift (sd an eighth of the side); edges are reflected."""
    flip = 1 - 2 * chosen() * (normal(1) > 0)
    scale = torch.exp2(0.2 * normal(1) * chosen())
    angle = math.radians(12) * normal(1) * chosen()
    shift = 0.125 * normal(2) * chosen()
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    theta = torch.stack(
        [torch.cat([flip * cos, -sin, shift[:, :1]], 1), torch.cat([flip * sin, cos, shift[:, 1:]], 1)], 1
    )
    where = F.affine_grid(theta.float(), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), where, padding_mode="reflection", align_corners=False).to(images.dtype)


def _colour(images: Tensor, normal, chosen) -> Tensor:
    """Brightness (sd 0.2), contrast (sd 0.5 in log2) and a rotation of the colours around the grey axis."""
    images = (
        images * torch.exp2(0.5 * normal(1) * chosen())[..., None, None] + (0.2 * normal(1) * chosen())[..., None, None]
    )
    angle = (math.pi * normal(1) * chosen())[:, 0]
    cos, sin = torch.cos(angle), torch.sin(angle)
    grey = (1 - cos) / 3
    plus, minus = grey + sin / math.sqrt(3), grey - sin / math.sqrt(3)
    rows = [[cos + grey, minus, plus], [plus, cos + grey, minus], [minus, plus, cos + grey]]
    rotation = torch.stack([torch.stack(row, 1) for row in rows], 1)  # b 3 3
    return torch.einsum("bij,bjhw->bihw", rotation, images)


class AdaptiveStrength:
    """The feedback loop of ADA: moves p by `batch / (speed * 1000)` towards r_t = target, once per call."""

    def __init__(self, *, target: float = 0.6, speed_kimg: float = 100.0, p: float = 0.0):
        self.target, self.speed_kimg, self.p = target, speed_kimg, p

    def update(self, real_sign_mean: float, images: int) -> float:
        """`real_sign_mean`: mean sign of the logits of the last `images` real images, in [-1, 1]; returns the new p."""
        step = images / (self.speed_kimg * 1000)
        self.p = min(max(self.p + math.copysign(step, real_sign_mean - self.target), 0.0), 0.9)
        return self.p
