"""Hair as an implicit volume: a shell over the cranium, a hanging curtain, a bun; carved open in front of the face."""

import torch
from torch import Tensor

from pspnb.facets.geometry.fields import ellipsoid, ramp, sin_turns, smax, smin
from pspnb.facets.geometry.pixels import Samples


def bound(m: dict[str, Tensor]) -> tuple[tuple, tuple]:
    """Centre and inverse radii, (b, 1) each, of an ellipsoid around each image's hair."""
    hangs = (m["curtain"] > 0).float()
    puff = 2.2 * m["curl"] + 0.02
    top = torch.maximum(0.16 + m["head_h"] + m["hair_top"], 0.95 * (m["bun"] > 0).float()) + puff
    low = torch.minimum(0.16 - m["head_h"] - m["hair_top"], m["curtain_end"] * hangs) - puff
    rx = torch.maximum(m["head_w"] + m["hair_side"], (m["curtain"] + 0.6 * m["flare"]) * hangs) + puff
    rz = 0.585 + m["hair_back"] + puff
    grow = 1.02 + 0.16 * hangs
    cy, ry = (top + low) * 0.5, (top - low) * 0.5 * grow
    return (0.0, cy[:, None], -0.065), (1.0 / (rx * grow)[:, None], 1.0 / ry[:, None], 1.0 / (rz * grow)[:, None])


def opening(x: Tensor, y: Tensor, s: Samples) -> Tensor:
    """Signed distance, roughly, to the outline of the face opening in the head's (x, y) plane; negative inside."""
    u = (x - s.part_x * ramp(y, 0.0, 0.35)).mul_(s.inv_open_half)
    # Partings lift the hairline into an arch at the part; fringes are straight; a comb's teeth make it less than perfect.
    v = (y + 0.08).mul_(s.inv_open_top).clamp_(min=0.0)
    v2 = v * v
    teeth = sin_turns(x * 8.3 + s.id3).mul_(v).mul_(0.022)
    v2 = (v2 * 0.5).add_(0.5).mul_(v2)
    return u.mul_(u).add_(v2).add_(1e-6).sqrt_().sub_(1.0).sub_(teeth).mul_(s.open_half)


def hair_field(x: Tensor, y: Tensor, z: Tensor, s: Samples) -> Tensor:
    """Signed distance, approximately, to the hair (negative inside)."""
    d = ellipsoid(x, y - 0.16, z + 0.065, (s.inv_hair_x, s.inv_hair_y, s.inv_hair_z), 0.53)
    if bool((s.measures["parted"] > 0).any()):
        away = (x - s.part - 0.10 * (z - 0.1) * s.part).abs_()
        d = d + 0.045 * s.parted * ramp(away, 0.10, 0.0) * ramp(y, 0.30, 0.55)
    if bool((s.measures["curtain"] > 0).any()):
        # hanging hair: an elliptic column that widens downwards and is cut off at curtain_end
        drop = (0.15 - y).clamp(min=0.0)
        tuck = ramp(y, s.curtain_end + 0.22, s.curtain_end) * 0.07
        width = s.curtain + s.flare * drop * (1.0 - 0.55 * drop) - tuck
        cx, cz = x / (width + 1e-3), (z + 0.13 + 0.10 * drop) * (1.0 / 0.50)
        column = (torch.sqrt(cx * cx + cz * cz) - 1.0) * 0.5
        column = smax(column, y - 0.25, 0.2)
        d = torch.where(s.curtain > 0, smin(d, column, 0.16), d)
    # bottom edge, lower towards the nape
    edge = s.hair_bottom + s.hair_slope * (z + 0.02)
    if bool((s.measures["curtain"] > 0).any()):
        edge = torch.where(s.curtain > 0, s.curtain_end + 0.03 * sin_turns(x * 2.3 + s.id5), edge)
    d = smax(d, edge - y, 0.05)
    carve = smax(opening(x, y, s), s.carve_z - z, 0.06)
    d = smax(d, -carve, 0.06)
    if bool((s.measures["bun"] > 0).any()):
        bun = ellipsoid(x, y - 0.72, z + 0.22, (5.6, 6.6, 5.6), 0.165) + (s.bun <= 0).float() * 9.0
        d = torch.minimum(d, bun)
    if bool((s.measures["curl"] > 0).any()):
        d = d - s.curl * _curls(x, y, z, s)
    if not bool((s.measures["hatted"] > 0).any()):
        return d
    under = smax(d, y - hat_line(x, z, s) + 0.02, 0.02)
    return torch.where(s.hatted > 0, under, d)


def _curls(x: Tensor, y: Tensor, z: Tensor, s: Samples) -> Tensor:
    """Bumps of two sizes."""
    f = s.curl_freq
    # a warp keeps the bumps from lining up in rows
    x, y = x + 0.07 * sin_turns(y * 1.9 + s.id3), y + 0.07 * sin_turns(x * 1.7 + z * 1.3 + s.id4)
    wave = sin_turns(x * f + s.id0 + 0.3 * y) * sin_turns(y * f + s.id1) * sin_turns(z * f + s.id2 + 0.4 * x)
    fine = sin_turns(x * f * 2.3 + y + s.id2) * sin_turns(y * f * 2.1 + s.id0 - z) * sin_turns(z * f * 2.2 + s.id1)
    return (wave + 0.5 * fine) * 1.4


def hat_line(x: Tensor, z: Tensor, s: Samples) -> Tensor:
    """The height of a hat's lower edge on the head: higher in front than behind."""
    return 0.30 + 0.16 * z
