"""The prior of the world: which factors a z ~ N(0, I) stands for, and which z stands for given factors.

A generator that imitates the renderer needs a teacher's answer for every z, so the factors are a fixed function of z (imitative
learning, DiscoFaceGAN, Deng et al. 2020, section 3.1): a continuous factor is a quantile of one normal, a categorical one the
largest of as many normals as it has choices, each biased to its frequency. `numbers` turns factors into what a mapping network
reads. Chapter: "StyleGAN2 from the inside".
"""

import math
from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.world2.factors import TABLE, Factor, Factors
from pspnb.world2.sampling import validate

PAIRED_EARRINGS: Final = 0.8
"""Share of the draws in which the right earring copies the left one, as in `sample_free`."""
_EDGE: Final = 1e-6  # quantiles stay this far from 0 and 1, whose normals are infinite
_INSIDE: Final = 0.999  # a drawn quantile keeps away from the edge of its choice, which float32 might cross
_ROOT_HALF: Final = math.sqrt(0.5)


def _width(factor: Factor) -> int:
    return len(factor.weights) if factor.kind == "categorical" else 1


def _slots() -> tuple[dict[str, slice], int]:
    slots, start = {}, 0
    for factor in TABLE:
        slots[factor.name] = slice(start, start + _width(factor))
        start += _width(factor)
    slots["earring_pair"] = slice(start, start + 1)
    return slots, start + 1


SLOTS, Z_DIM = _slots()
"""Which numbers of a z decide which factor (`earring_pair`: whether both earrings are alike), and how many there are."""


@lru_cache(maxsize=64)
def category_bias(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Biases b for which argmax(z + b) of normals z has the frequencies `weights`, mean zero.

    P(k) = integral of phi(t - b_k) prod_{j != k} Phi(t - b_j) dt, evaluated on a grid and solved by damped fixed-point steps.
    """
    t = torch.linspace(-9.0, 9.0, 1801, dtype=torch.float64)
    wanted = torch.tensor(weights, dtype=torch.float64)
    b = wanted.log() * 0.5
    b = b - b.mean()
    for _ in range(300):
        below = torch.special.log_ndtr(t[:, None] - b)
        density = -0.5 * (t[:, None] - b).square()
        share = (density + below.sum(1, keepdim=True) - below).exp().sum(0)
        share = share / share.sum()
        step = 0.6 * (wanted.log() - share.log())
        b = b + step
        b = b - b.mean()
        if float(step.abs().max()) < 1e-10:
            break
    return tuple(b.tolist())


def _check_z(z: Tensor) -> None:
    if z.ndim != 2 or z.shape[1] != Z_DIM:
        raise ValueError(f"expected z of shape (b, {Z_DIM}), got {tuple(z.shape)}")


def factors_of(z: Float[Tensor, " b k"]) -> Factors:
    """The factors that each z stands for, k = `Z_DIM`; on the device of z. ValueError for another width."""
    _check_z(z)
    z = z.double()
    out: Factors = {}
    for factor in TABLE:
        part = z[:, SLOTS[factor.name]]
        if factor.kind == "categorical":
            bias = torch.tensor(category_bias(factor.weights), dtype=torch.float64, device=z.device)
            out[factor.name] = (part + bias).argmax(1)
        else:
            u = 0.5 * (1.0 + torch.erf(part[:, 0] * _ROOT_HALF))
            out[factor.name] = _from_quantile(factor, u).float().clamp(factor.low, factor.high)
    paired = z[:, SLOTS["earring_pair"].start] < _normal(PAIRED_EARRINGS)
    out["earring_right"] = torch.where(paired, out["earring_left"], out["earring_right"])
    return out


def z_of(factors: Factors, *, seed: int = 0) -> Float[Tensor, " b k"]:
    """A z that stands for exactly these factors (continuous ones to float32 rounding and 1e-6 of their range).

    What the factors leave open (the losers of a choice) is drawn from `seed`. ValueError for factors
    that are missing, misshapen or out of range.
    """
    n = validate(factors)
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(n, Z_DIM, generator=random, dtype=torch.float64)
    for factor in TABLE:
        slot, value = SLOTS[factor.name], factors[factor.name].detach().cpu()
        if factor.kind == "categorical":
            z[:, slot] = _choose(z[:, slot], value.long(), category_bias(factor.weights))
        else:
            spare = torch.rand(n, generator=random, dtype=torch.float64)
            u = _to_quantile(factor, value.double(), spare).clamp(_EDGE, 1 - _EDGE)
            z[:, slot.start] = torch.special.ndtri(u)
    left, right = (factors[f"earring_{side}"].detach().cpu() for side in ("left", "right"))
    u = torch.rand(n, generator=random, dtype=torch.float64)
    apart = 1 - (1 - PAIRED_EARRINGS) * u * _INSIDE
    u = torch.where(left == right, PAIRED_EARRINGS * u * _INSIDE, apart)
    z[:, SLOTS["earring_pair"].start] = torch.special.ndtri(u.clamp(_EDGE, 1 - _EDGE))
    return z.float()


def _choose(z: Tensor, wanted: Tensor, bias: tuple[float, ...]) -> Tensor:
    """The normals with the winner and the wanted choice exchanged, so that `wanted` wins."""
    y = z + torch.tensor(bias, dtype=z.dtype)
    rows, winner = torch.arange(len(y)), y.argmax(1)
    best, other = y[rows, winner].clone(), y[rows, wanted].clone()
    y[rows, winner] = other
    y[rows, wanted] = best + 1e-5  # a tie would fall to the first
    return y - torch.tensor(bias, dtype=z.dtype)


def _normal(u: float) -> float:
    return float(torch.special.ndtri(torch.tensor(u, dtype=torch.float64)))


def _from_quantile(factor: Factor, u: Tensor) -> Tensor:
    """The value below which a share u of the draws lies."""
    low, span = factor.low, factor.high - factor.low
    if factor.distribution == "bell":
        return low + span * _bell_quantile(u)
    if factor.distribution == "often_zero":
        zero = factor.weights[0]
        return torch.where(u < zero, torch.zeros_like(u), low + span * (u - zero) / (1 - zero))
    return low + span * u


def _to_quantile(factor: Factor, value: Tensor, spare: Tensor) -> Tensor:
    """The inverse of `_from_quantile`; among the quantiles that give zero, `spare` in [0, 1) chooses."""
    v = (value - factor.low) / (factor.high - factor.low)
    if factor.distribution == "bell":
        return _bell_share(v)
    if factor.distribution == "often_zero":
        zero = factor.weights[0]
        return torch.where(value == 0, zero * spare * _INSIDE, zero + (1 - zero) * v)
    return v


def _bell_share(v: Tensor) -> Tensor:
    """Distribution function of the mean of three uniforms, piecewise cubic."""
    s = 3.0 * v
    t = s - 1.5
    middle = 0.5 + 0.75 * t - t.pow(3) / 3
    return torch.where(s < 1, s.pow(3) / 6, torch.where(s > 2, 1 - (3 - s).pow(3) / 6, middle))


def _bell_quantile(u: Tensor) -> Tensor:
    """Its inverse: roots of three cubics, the middle one by Viete's formula for t^3 - 9/4 t + 3 (u - 1/2) = 0."""
    tail = torch.minimum(u, 1 - u).clamp(min=0.0)
    outer = (6 * tail).pow(1 / 3)
    outer = torch.where(u < 0.5, outer, 3 - outer)
    angle = torch.arccos((-4 / math.sqrt(3) * (u - 0.5)).clamp(-1, 1))
    middle = 1.5 + math.sqrt(3) * torch.cos(angle / 3 - 2 * math.pi / 3)
    return torch.where(tail < 1 / 6, outer, middle) / 3


# ---- what a mapping network reads --------------------------------------------------------------------------------------


def _n_numbers(factor: Factor) -> int:
    if factor.kind == "categorical":
        return len(factor.weights)
    return 1 + (factor.distribution == "often_zero") + 2 * (factor.unit == "degrees")


N_NUMBERS: Final = sum(_n_numbers(f) for f in TABLE)


def numbers(factors: Factors) -> Float[Tensor, " b m"]:
    """Factors as numbers of about unit variance, m = `N_NUMBERS`: scaled values, a mark for "not zero", sines and cosines of
    angles, standardised one-hot choices."""
    columns: list[Tensor] = []
    for factor in TABLE:
        value = factors[factor.name]
        if factor.kind == "categorical":
            p = torch.tensor(factor.weights, device=value.device)
            chosen = torch.nn.functional.one_hot(value.long(), len(p)).float()
            columns.append((chosen - p) / (p * (1 - p)).sqrt().clamp(min=0.25))
            continue
        middle, half = (factor.low + factor.high) / 2, (factor.high - factor.low) / 2
        v = (value.float()[:, None] - middle) / half
        columns.append(v * (3.0 if factor.distribution == "bell" else math.sqrt(3)))
        if factor.distribution == "often_zero":
            columns.append((value[:, None] > 0).float() * 2 - 1)
        if factor.unit == "degrees":
            columns += [(math.pi * v).sin() * math.sqrt(2), (math.pi * v).cos() * math.sqrt(2)]
    return torch.cat(columns, 1)


def draw_z(n: int, *, seed: int) -> Float[Tensor, " n k"]:
    """`n` standard normal z of width `Z_DIM`, drawn on the CPU from `seed`."""
    return torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed))


def even_choices(factors: Factors, *, seed: int) -> Factors:
    """The same factors with every choice (hair, hat, pattern, ...) drawn anew with equal chances, and no factor left at zero
    more than half of the time: rare kinds become common. For training only."""
    n = validate(factors)
    random = torch.Generator().manual_seed(seed)
    out = dict(factors)
    for factor in TABLE:
        if factor.kind == "categorical":
            out[factor.name] = torch.randint(len(factor.weights), (n,), generator=random)
        elif factor.distribution == "often_zero":
            u = torch.rand(n, generator=random)
            out[factor.name] = torch.where(u < 0.5, 0.0, factor.low + (factor.high - factor.low) * (2 * u - 1))
    paired = torch.rand(n, generator=random) < PAIRED_EARRINGS
    out["earring_right"] = torch.where(paired, out["earring_left"], out["earring_right"])
    return out
