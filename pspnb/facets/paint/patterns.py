"""Patterns of clothes and walls. Every pattern gives weights in [0, 1] that mix curated colours."""

import torch
from torch import Tensor

from pspnb.facets.geometry.fields import bump, hash01, ramp, sin_turns
from pspnb.facets.geometry.pixels import Samples


def _turn(x: Tensor, y: Tensor, half_turns: Tensor) -> tuple[Tensor, Tensor]:
    c, s = sin_turns(half_turns * 0.5 + 0.25), sin_turns(half_turns * 0.5)
    return x * c + y * s, y * c - x * s


def _soft_square(wave: Tensor, sharp: float) -> Tensor:
    """A sine as a softened square wave in [0, 1]."""
    return ramp(wave, -1.0 / sharp, 1.0 / sharp)


def _select(kind: Tensor, options: list[Tensor]) -> Tensor:
    out = options[0]
    for k, option in enumerate(options[1:], start=1):
        out = torch.where(kind == k, option, out)
    return out


def weave(x: Tensor, y: Tensor, z: Tensor, s: Samples, carry) -> tuple[Tensor, Tensor]:
    """Clothes: weights of the second and of the third colour, see CLOTH_PATTERNS."""
    zero = torch.zeros_like(x)
    f = 5.2 - 2.6 * s.cloth_scale
    a, b = _turn(x, y, s.cloth_angle * 0.5 - 0.25)
    u, v = x * f + s.im0, (y - 0.4 * z) * f + s.im1
    ua, va = a * f + s.im0, b * f + s.im1
    soft = 2.5
    stripes = _soft_square(sin_turns(va), soft)
    sx, sy = _soft_square(sin_turns(ua * 0.8), soft), _soft_square(sin_turns(va * 0.8), soft)
    fine = ramp(sin_turns(va * 0.8 + 0.1), 0.90, 0.98) + ramp(sin_turns(ua * 0.8 + 0.1), 0.90, 0.98)
    j = torch.floor(v)
    odd = j - 2.0 * torch.floor(j * 0.5)
    du, dv = u + 0.5 * odd - torch.floor(u + 0.5 * odd) - 0.5, v - j - 0.5
    r2 = du * du + dv * dv
    dots = ramp(r2, 0.085, 0.060)
    zig = u - torch.floor(u)
    zig = _soft_square(sin_turns(v + (zig - 0.5).abs() * 0.9), soft)
    p, q = u * 0.8 + v * 0.5, u * 0.8 - v * 0.5
    diamond = _soft_square(sin_turns(p), soft) * _soft_square(sin_turns(q), soft)
    cross = ramp(sin_turns(p + 0.25), 0.93, 0.99) + ramp(sin_turns(q + 0.25), 0.93, 0.99)
    h1, _, h3 = hash01(torch.floor(u + 0.5 * odd), j, s.image_detail)
    cu, cv = du - 0.25 * (h1 - 0.5), dv - 0.25 * (h3 - 0.5)
    cr = cu * cu + cv * cv
    petals = cr * (1.0 + 1.5 * (cu * cu - cv * cv) * (cu * cu - cv * cv) / (cr * cr + 1e-6))
    flower = ramp(petals, 0.095, 0.07)
    second = _select(s.cloth_pattern, [zero, stripes, 0.5 * sx + 0.5 * sy, dots, zig, diamond, flower])
    third = _select(s.cloth_pattern, [zero, zero, fine * 0.8, zero, zero, cross * 0.7, ramp(cr, 0.022, 0.012)])
    knit = 0.05 * carry(24.0) * (1.0 + sin_turns(x * 24.0 + z * 9.0) * sin_turns(y * 24.0))
    return (second * 0.92 + knit).clamp(0.0, 1.0), third.clamp(0.0, 1.0)


def _lattice(a: Tensor, b: Tensor, s: Samples, f: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A brick lattice: cell numbers and offsets from the cells' centres."""
    u, v = a * f * 1.1 + s.im0, b * f * 1.1 + s.im1
    j = torch.floor(v)
    us = u + 0.5 * (j - 2.0 * torch.floor(j * 0.5))
    i = torch.floor(us)
    return i, j, us - i - 0.5, v - j - 0.5


def _gradient(x, y, a, b, f, fade, s):
    return fade


def _stripes(x, y, a, b, f, fade, s):
    return _soft_square(sin_turns(b * f * 0.8 + s.im0), 1.4) * 0.75


def _dots(x, y, a, b, f, fade, s):
    _, _, du, dv = _lattice(a, b, s, f)
    return ramp(du * du + dv * dv, 0.13, 0.05) * 0.8


def _tiles(x, y, a, b, f, fade, s):
    u, v = a * f * 1.1 + s.im0, b * f * 1.1 + s.im1
    i, j = torch.floor(u), torch.floor(v)
    shade, _, _ = hash01(i, j, s.image_detail)
    return (0.15 + 0.75 * shade) * ramp(torch.maximum((u - i - 0.5).abs(), (v - j - 0.5).abs()), 0.49, 0.43)


def _waves(x, y, a, b, f, fade, s):
    bend = 0.16 * sin_turns(a * f * 0.45 + s.im1)
    return _soft_square(sin_turns(b * f * 0.8 + s.im0 + bend), 1.4) * 0.75


def _rays(x, y, a, b, f, fade, s):
    cx, cy = x - 1.2 * (s.im3 - 0.5), y - 0.9 - 0.6 * s.im4
    turn = cx / (cx.abs() + cy.abs() + 1e-3)
    turn = torch.where(cy < 0, 2.0 - turn, turn)
    return _soft_square(sin_turns(turn * torch.floor(2.0 + 4.0 * (1.0 - s.background_scale)) + s.im0), 1.2) * 0.65


def _leaves(x, y, a, b, f, fade, s):
    i, j, du, dv = _lattice(a, b, s, f)
    g1, g2, g3 = hash01(i, j, s.image_detail)
    lx, ly = _turn(du - 0.2 * (g1 - 0.5), dv - 0.2 * (g2 - 0.5), g3 * 2.0)
    return ramp(ly.abs() - 0.16 * (1.0 - lx * lx * 6.5), 0.02, -0.035) * (0.55 + 0.4 * g1)


def _bokeh(x, y, a, b, f, fade, s):
    u, v = a * f * 1.1 + s.im0, b * f * 1.1 + s.im1
    i, j = torch.floor(u), torch.floor(v)
    h1, h2, h3 = hash01(i, j, s.image_detail)
    size = 0.05 + 0.13 * h3
    ou, ov = u - i - 0.32 - 0.36 * h1, v - j - 0.32 - 0.36 * h2
    return ramp(ou * ou + ov * ov, size, size * 0.55) * (0.25 + 0.55 * h2) + 0.12 * fade


_WALLS = (_gradient, _stripes, _dots, _tiles, _waves, _rays, _leaves, _bokeh)


def wall(x: Tensor, y: Tensor, s: Samples) -> tuple[Tensor, Tensor]:
    """Background at image points: (weight of the second colour, brightness), see BACKGROUND_PATTERNS. Edges are soft, as
    behind a portrait lens."""
    fade = ramp(y + 0.35 * (s.im2 - 0.5) * x, 1.3, -1.3)
    weight = torch.zeros_like(x)
    for kind, pattern in enumerate(_WALLS):
        sub, rows = s.where(s.background_pattern == kind)
        if len(rows):
            px, py, shade = (c.index_select(0, rows) for c in (x, y, fade))
            a, b = _turn(px, py, sub.background_angle)
            weight.index_copy_(0, rows, pattern(px, py, a, b, 3.4 - 2.0 * sub.background_scale, shade, sub))
    r2 = x * x + (y - 0.1) * (y - 0.1)
    bright = (1.04 - 0.11 * r2) * (1.0 + 0.07 * (x * s.lx))
    return (weight * 0.85 + 0.12 * fade).clamp(0.0, 1.0), bright * (1.0 - 0.05 * bump(r2 * 0.5))
