"""Hair as an implicit volume: a shell over the cranium, a hanging curtain, a bun; carved open in front of the face."""

from functools import partial

import torch
from torch import Tensor

from pspnb.world2.geometry.fields import ellipsoid, ramp, sin_turns, smax, smin
from pspnb.world2.geometry.pixels import Measured

BOUND_NEEDS = (
    "curtain", "curl", "head_w", "head_h", "hair_top", "hair_side", "hair_back", "bun", "bun_y", "curtain_end", "flare",
)  # fmt: skip


def bound(m: dict[str, Tensor]) -> tuple[tuple, tuple]:
    """Centre and inverse radii, (b, 1) each, of an ellipsoid around each image's hair."""
    hangs = (m["curtain"] > 0).float()
    puff = 2.2 * m["curl"] + 0.02
    top = torch.maximum(0.16 + m["head_h"] + m["hair_top"], (m["bun_y"] + 0.17) * (m["bun"] > 0).float()) + puff
    low = torch.minimum(0.16 - m["head_h"] - m["hair_top"], m["curtain_end"] * hangs) - puff
    rx = torch.maximum(m["head_w"] + m["hair_side"], (m["curtain"] + 0.6 * m["flare"]) * hangs) + puff
    rz = 0.585 + m["hair_back"] + puff
    grow = 1.02 + 0.16 * hangs
    cy, ry = (top + low) * 0.5, (top - low) * 0.5 * grow
    return (0.0, cy[:, None], -0.065), (1.0 / (rx * grow)[:, None], 1.0 / ry[:, None], 1.0 / (rz * grow)[:, None])


def opening(x: Tensor, y: Tensor, s: Measured) -> Tensor:
    """Signed distance, roughly, to the outline of the face opening in the head's (x, y) plane; negative inside."""
    u = (x - s.part_x * ramp(y, 0.0, 0.35)).mul_(s.inv_open_half)
    # Partings lift the hairline into an arch at the part; fringes are straight; a comb's teeth make it less than perfect.
    v = (y + 0.08).mul_(s.inv_open_top).clamp_(min=0.0)
    v2 = v * v
    teeth = sin_turns(x * 8.3 + 0.25).mul_(v).mul_(0.022)
    v2 = (v2 * 0.5).add_(0.5).mul_(v2)
    return u.mul_(u).add_(v2).add_(1e-6).sqrt_().sub_(1.0).sub_(teeth).mul_(s.open_half)


def hair_field(
    x: Tensor,
    y: Tensor,
    z: Tensor,
    s: Measured,
    *,
    hanging: bool,
    curly: bool,
) -> Tensor:
    """Signed distance, approximately, to hair of one kind (negative inside)."""
    d = ellipsoid(x, y - 0.16, z + 0.065, (s.inv_hair_x, s.inv_hair_y, s.inv_hair_z), 0.53)
    if s.has("parted") and not curly:
        away = (x - s.part - 0.10 * (z - 0.1) * s.part).abs_()
        d = d + 0.045 * s.parted * ramp(away, 0.10, 0.0) * ramp(y, 0.30, 0.55)
    if hanging:
        # an elliptic column that widens downwards and is cut off at curtain_end
        drop = (0.15 - y).clamp_(min=0.0)
        tuck = ramp(y, s.curtain_end + 0.22, s.curtain_end) * 0.07
        width = s.curtain + s.flare * drop * (1.0 - 0.55 * drop) - tuck
        cx, cz = x / (width + 1e-3), (z + 0.13 + 0.10 * drop) * (1.0 / 0.50)
        column = (cx.mul_(cx).add_(cz.mul_(cz)).sqrt_().sub_(1.0)).mul_(0.5)
        d = smin(d, smax(column, y - 0.25, 0.2), 0.16)
        edge = s.curtain_end + 0.03 * sin_turns(x * 2.3 + 0.25)
    else:
        edge = s.hair_bottom + s.hair_slope * (z + 0.02)  # lower towards the nape
    d = smax(d, edge - y, 0.05)
    carve = smax(opening(x, y, s), s.carve_z - z, 0.06)
    d = smax(d, -carve, 0.06)
    if s.has("bun") and not hanging and not curly:
        bun = ellipsoid(x, y - s.bun_y, z + 0.22, (5.6, 6.6, 5.6), 0.165) + (s.bun <= 0).float() * 9.0
        d = torch.minimum(d, bun)
    if curly:
        d = d - s.curl * _curls(x, y, z, s)
    if not s.has("hatted"):
        return d
    under = smax(d, y - hat_line(x, z, s) + 0.02, 0.02)
    return torch.where(s.hatted > 0, under, d)


FIELDS = (
    ("hair_short", partial(hair_field, hanging=False, curly=False)),
    ("hair_long", partial(hair_field, hanging=True, curly=False)),
    ("hair_curly", partial(hair_field, hanging=True, curly=True)),
    ("hair_afro", partial(hair_field, hanging=False, curly=True)),
)
"""Kinds of hair, each with the measure that says which images wear it."""


def curl_warp(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """x and y bent, so that curls don't line up in rows; odd and even in x, so that the mirror image is a curl too."""
    return x * (1.0 + 0.12 * sin_turns(y * 1.9)), y + 0.07 * sin_turns(x * 1.7 + 0.25) + 0.05 * sin_turns(z * 1.3)


def _curls(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Bumps of two sizes."""
    f = s.curl_freq
    x, y = curl_warp(x, y, z)
    wave = sin_turns(x * f + 0.25) * sin_turns(y * f + 0.1) * sin_turns(z * f + 0.3)
    fine = sin_turns(x * f * 2.3 + 0.25) * sin_turns(y * f * 2.1 - z) * sin_turns(z * f * 2.2 + y)
    return (wave + 0.5 * fine) * 1.4


def hat_line(x: Tensor, z: Tensor, s: Measured) -> Tensor:
    """The height of a hat's lower edge on the head: higher in front than behind."""
    return 0.30 + 0.16 * z
