"""Arithmetic for implicit surfaces.

Only + - * / sqrt, comparisons and rounding are used on pixels: IEEE 754 fixes their results, so a picture is equal to
the bit for every batch size, thread count and vector width, and on a GPU. Sines and bumps are polynomials for that reason.
Constants multiply (never divide): torch divides by a constant through its reciprocal on CUDA only.
"""

import torch
from torch import Tensor

Scalar = Tensor | float


def sin_turns(x: Tensor) -> Tensor:
    """sin(2 pi x) for x in turns, by two parabolas; error below 0.0012."""
    f = (x - torch.floor(x)).sub_(0.5)
    s = f.abs().mul_(16.0).sub_(8.0).mul_(f)  # the sign of sin(2 pi (f + 0.5)) = -sin(2 pi f) is folded in
    return s.abs().mul_(0.225).add_(0.775).mul_(s)


def ramp(x: Tensor, low: Scalar, high: Scalar) -> Tensor:
    """0 below `low`, 1 above `high`, a smooth cubic between (`low` may exceed `high`: then it falls)."""
    if isinstance(low, float) and isinstance(high, float):
        t = (x - low).mul_(1.0 / (high - low)).clamp_(0.0, 1.0)
    else:
        t = ((x - low) / (high - low)).clamp_(0.0, 1.0)
    return (t * -2.0).add_(3.0).mul_(t).mul_(t)


def bump(q: Tensor) -> Tensor:
    """A bell of the squared radius q: 1 at 0, 0 with zero slope from q = 1."""
    t = (1.0 - q).clamp_(min=0.0)
    return t.mul_(t)


def smin(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Smooth minimum (union) that blends over a distance k."""
    h = (a - b).abs_().neg_().add_(k).clamp_(min=0.0)
    return torch.minimum(a, b).sub_(h.mul_(h).mul_(0.25 / k))


def smax(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Smooth maximum (intersection) that blends over a distance k."""
    h = (a - b).abs_().neg_().add_(k).clamp_(min=0.0)
    return torch.maximum(a, b).add_(h.mul_(h).mul_(0.25 / k))


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, inv: tuple[Scalar, Scalar, Scalar], scale: Scalar) -> Tensor:
    """Approximate distance to a centred ellipsoid with inverse radii `inv`; `scale` is its smallest radius or so."""
    a, b, c = x * inv[0], y * inv[1], z * inv[2]
    return a.mul_(a).add_(b.mul_(b)).add_(c.mul_(c)).sqrt_().sub_(1.0).mul_(scale)


def mix(a: Tensor, b: Tensor, w: Scalar) -> Tensor:
    """a where w = 0, b where w = 1."""
    return a + (b - a) * w


def hash01(i: Tensor, j: Tensor, seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three uniform numbers for every integer cell (i, j) (given as whole floats) of a per-pixel seed."""
    h = (i.long() * 73856093) ^ (j.long() * 19349663) ^ seed
    h = (h ^ ((h >> 15) & 0x1FFFFFFFFFFFF)) * 668265263
    h = (h ^ ((h >> 13) & 0x7FFFFFFFFFFFF)) * 374761393
    h = h ^ ((h >> 16) & 0xFFFFFFFFFFFF)
    unit = 1.0 / 1024.0
    return (h & 1023).float() * unit, ((h >> 10) & 1023).float() * unit, ((h >> 20) & 1023).float() * unit
