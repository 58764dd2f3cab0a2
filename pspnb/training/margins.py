"""Margin softmax losses of face recognition: ArcFace (Deng et al. 2019) and CurricularFace (Huang et al. 2020)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def _cosine(e: Float[Tensor, " b d"], weight: Float[Tensor, " k d"]) -> Float[Tensor, " b k"]:
    """In float32 even under autocast: bf16 cannot tell an angle of 0.06 from 0."""
    with torch.autocast(e.device.type, enabled=False):
        return F.linear(F.normalize(e.float()), F.normalize(weight)).clamp(-1 + 1e-6, 1 - 1e-6)


def _target_with_margin(cosine: Float[Tensor, " b 1"], margin: float) -> Float[Tensor, " b 1"]:
    """cos(theta + m); past theta = pi - m, where that would rise again, the straight line cos(theta) - m sin(m)."""
    sine = (1 - cosine.square()).clamp(min=0).sqrt()
    shifted = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > math.cos(math.pi - margin), shifted, cosine - margin * math.sin(margin))


class ArcFace(nn.Module):
    """Cross entropy over s cos(theta), with s cos(theta_y + m) for the right identity y (ArcFace, equation 3)."""

    def __init__(self, dim: int, n_classes: int, *, scale: float = 24.0, margin: float = 0.3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_classes, dim) * 0.01)
        self.scale, self.margin = scale, margin

    def forward(self, e: Float[Tensor, " b d"], identity: Int[Tensor, " b"], *, ease: float = 1.0) -> Float[Tensor, ""]:
        """`e` need not be normalised; `ease` in [0, 1] scales the margin, for a gentle start."""
        cosine = _cosine(e, self.weight)
        target = _target_with_margin(cosine.gather(1, identity[:, None]), self.margin * ease)
        return F.cross_entropy(self.scale * cosine.scatter(1, identity[:, None], target), identity)


class CurricularFace(nn.Module):
    """ArcFace that stresses hard negatives as training goes on (CurricularFace, equations 7 to 10).

    A negative whose cosine exceeds the margin-shifted target cosine becomes cosine (t + cosine); t follows the mean target cosine.
    """

    t: Tensor

    def __init__(self, dim: int, n_classes: int, *, scale: float = 24.0, margin: float = 0.3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_classes, dim) * 0.01)
        self.register_buffer("t", torch.zeros(()))
        self.scale, self.margin = scale, margin

    def forward(self, e: Float[Tensor, " b d"], identity: Int[Tensor, " b"], *, ease: float = 1.0) -> Float[Tensor, ""]:
        """`e` need not be normalised; `ease` in [0, 1] scales the margin, for a gentle start."""
        cosine = _cosine(e, self.weight)
        own = cosine.gather(1, identity[:, None])
        target = _target_with_margin(own, self.margin * ease)
        if self.training:
            self.t.lerp_(own.detach().mean(), 0.01)
        logits = torch.where(cosine > target, cosine * (self.t + cosine), cosine)
        return F.cross_entropy(self.scale * logits.scatter(1, identity[:, None], target), identity)
