"""Patterns of clothes and walls. Every pattern gives weights in [0, 1] that mix curated colours.

Every pattern lies where its mirror image is the same picture: lattices have a cell's centre in the middle, waves a crest. Edges
are soft: a wall lies behind the focus.
"""

import torch
from torch import Tensor

from pspnb.world2.geometry.fields import bump, ramp, sin_turns
from pspnb.world2.geometry.pixels import Samples


def _soft_square(wave: Tensor, sharp: float) -> Tensor:
    """A sine as a softened square wave in [0, 1]."""
    return ramp(wave, -1.0 / sharp, 1.0 / sharp)


def _cells(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of lattice coordinates: whether a cell's column and row are odd (0 or 1), offsets from its centre (-0.5 to 0.5)."""
    i, j = torch.floor(u), torch.floor(v)
    return i - 2.0 * torch.floor(i * 0.5), j - 2.0 * torch.floor(j * 0.5), u - i - 0.5, v - j - 0.5


# Clothes: weights of the second and of the third colour at turned coordinates (u, v), in turns, and upright ones (p, q).


def _cloth_stripes(u, v, p, q):
    return _soft_square(sin_turns(v), 1.8), None


def _cloth_checks(u, v, p, q):
    wide = 0.5 * _soft_square(sin_turns(u), 1.8) + 0.5 * _soft_square(sin_turns(v), 1.8)
    return wide, 0.8 * (ramp(sin_turns(u), 0.80, 0.98) + ramp(sin_turns(v), 0.80, 0.98))


def _cloth_dots(u, v, p, q):
    _, _, du, dv = _cells(u, v)
    return ramp(du * du + dv * dv, 0.115, 0.060), None


def _cloth_zigzag(u, v, p, q):
    peak = (p - torch.floor(p) - 0.5).abs()
    return _soft_square(sin_turns(q + peak), 1.8), None


def _cloth_argyle(u, v, p, q):
    a, b = p + q, p - q
    diamond = _soft_square(sin_turns(a), 1.8) * _soft_square(sin_turns(b), 1.8)
    return diamond, 0.7 * (ramp(sin_turns(a), 0.88, 0.99) + ramp(sin_turns(b), 0.88, 0.99))


def _cloth_florets(u, v, p, q):
    _, _, du, dv = _cells(u, v)
    r2 = du * du + dv * dv
    star = (du * du - dv * dv) * (du * du - dv * dv) / (r2 * r2 + 1e-6)
    return ramp(r2 * (2.6 - 1.6 * star), 0.180, 0.120), ramp(r2, 0.026, 0.010)


# How far, in turns, each one is shifted.
_SHIFTS = (0.0, 0.25, 0.25, 0.0, 0.0, 0.25, 0.0)
_CLOTHS = (None, _cloth_stripes, _cloth_checks, _cloth_dots, _cloth_zigzag, _cloth_argyle, _cloth_florets)


def weave(x: Tensor, y: Tensor, z: Tensor, s: Samples, carry) -> tuple[Tensor, Tensor]:
    """Clothes: weights of the second and of the third colour, see CLOTH_PATTERNS."""
    y = y - 0.4 * z
    second, third = torch.zeros_like(x), torch.zeros_like(x)
    for kind, pattern in enumerate(_CLOTHS):
        if pattern is None or not s.has(f"cloth_pattern={kind}"):
            continue
        sub, rows = s.where(s.cloth_pattern == kind)
        if not len(rows):
            continue
        px, py = x.index_select(0, rows) * sub.cloth_cycles, y.index_select(0, rows) * sub.cloth_cycles
        a, b = px * sub.cloth_cos + py * sub.cloth_sin, py * sub.cloth_cos - px * sub.cloth_sin
        two, three = pattern(a + _SHIFTS[kind], b + _SHIFTS[kind], px + _SHIFTS[kind], py * 0.6 + _SHIFTS[kind])
        second.index_copy_(0, rows, two)
        if three is not None:
            third.index_copy_(0, rows, three)
    if s.cartoon:
        second, third = ramp(second, 0.42, 0.58), ramp(third, 0.32, 0.48)
    second = second * 0.92
    if fine := carry(24.0):
        second = second + 0.05 * fine * (1.0 + sin_turns(x * 24.0 + 0.25) * sin_turns(y * 24.0))  # a knit
    return second.clamp(0.0, 1.0), third.clamp(0.0, 1.0)


# Walls: the weight of the second colour at turned coordinates (a, b), in cycles; `x`, `y` are image points.


def _gradient(a, b, x, y, s):
    return ramp(y * s.fade, 1.0, -1.0)


def _stripes(a, b, x, y, s):
    return _soft_square(sin_turns(b * 0.8 + 0.25), 1.1) * 0.75


def _dots(a, b, x, y, s):
    _, _, du, dv = _cells(a, b)
    return ramp(du * du + dv * dv, 0.15, 0.05) * 0.8


def _tiles(a, b, x, y, s):
    odd_i, odd_j, du, dv = _cells(a + 0.5, b + 0.5)
    shade = 0.20 + 0.55 * (odd_i - odd_j).abs() + 0.25 * odd_i * odd_j
    return shade * ramp(torch.maximum(du.abs(), dv.abs()), 0.49, 0.40)


def _waves(a, b, x, y, s):
    b = torch.where(s.background_cos == 0, b.abs(), b)  # upright ones part in the middle
    return _soft_square(sin_turns(b * 0.8 + 0.25 + 0.20 * sin_turns(a * 0.5 + 0.25)), 1.1) * 0.75


def _rays(a, b, x, y, s):
    cx, cy = x, y - 0.85  # the sun stands above the person
    turn = cx / (cx.abs() + cy.abs() + 1e-3)
    turn = torch.where(cy < 0, 2.0 - turn, turn)
    return _soft_square(sin_turns(turn * (5.0 - 2.0 * s.background_scale) + 0.25), 1.2) * 0.65


def _leaves(a, b, x, y, s):
    odd_i, odd_j, du, dv = _cells(a, b)
    tilt = 1.0 - 2.0 * (odd_i - odd_j).abs()
    along, across = (du + tilt * dv) * 0.7071, (dv - tilt * du) * 0.7071
    return ramp(across.abs() - 0.21 * (1.0 - along * along * 5.0), 0.03, -0.05) * 0.75


def _bokeh(a, b, x, y, s):
    u, v = a * 0.8 + 0.5, b * 0.8 + 0.5
    odd_i, odd_j, du, dv = _cells(u, v)
    size = 0.07 + 0.12 * (odd_i - odd_j).abs()
    large = ramp(du * du + dv * dv, size, size * 0.55) * (0.80 - 0.25 * (odd_i - odd_j).abs())
    _, _, du, dv = _cells(u * 2.0 + 0.5, v * 2.0 + 0.5)
    return large + ramp(du * du + dv * dv, 0.08, 0.03) * 0.35


_WALLS = (_gradient, _stripes, _dots, _tiles, _waves, _rays, _leaves, _bokeh)


def _posterised(weight: Tensor) -> Tensor:
    """A wall in flat colours: four weights instead of all between."""
    return 0.28 * (ramp(weight, 0.16, 0.22) + ramp(weight, 0.40, 0.46) + ramp(weight, 0.64, 0.70))


def wall(x: Tensor, y: Tensor, s: Samples) -> tuple[Tensor, Tensor]:
    """Background at image points: (weight of the second colour, brightness), see BACKGROUND_PATTERNS."""
    weight = torch.zeros_like(x)
    for kind, pattern in enumerate(_WALLS):
        if not s.has(f"background_pattern={kind}"):
            continue
        sub, rows = s.where(s.background_pattern == kind)
        px, py = x.index_select(0, rows), y.index_select(0, rows)
        cos, sin = sub.background_cos * sub.background_cycles, sub.background_sin * sub.background_cycles
        weight.index_copy_(0, rows, pattern(px * cos + py * sin, py * cos - px * sin, px, py, sub))
    if s.cartoon:
        return _posterised(weight), torch.ones_like(x)
    fade = ramp(y, 1.3, -1.3)
    r2 = x * x + (y - 0.1) * (y - 0.1)
    bright = (1.04 - 0.11 * r2) * (1.0 + 0.07 * (x * s.lx))
    return (weight * 0.85 + 0.12 * fade).clamp(0.0, 1.0), bright * (1.0 - 0.05 * bump(r2 * 0.5))
