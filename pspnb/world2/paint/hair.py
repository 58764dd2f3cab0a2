"""Hair colour: locks and strands that fade out before they would alias, a sheen, darker roots and depths."""

import torch
from torch import Tensor

from pspnb.world2.geometry.fields import bump, ramp, sin_turns
from pspnb.world2.geometry.hair import curl_warp
from pspnb.world2.geometry.pixels import Samples
from pspnb.world2.paint.canvas import Canvas


def paint_hair(s: Samples, p: tuple[Tensor, Tensor, Tensor], n: tuple[Tensor, Tensor, Tensor], carry) -> Canvas:
    """Albedo at points p of the head's frame with normals n of the camera's. `carry(cycles)` says how much of a pattern of so
    many cycles per unit the resolution can carry, 0 to 1."""
    x, y, z = p
    c = Canvas(s, s.rgb("hair"), "hair")
    # across-strand coordinate: hair falls from the parting, so strands lie at equal x near the crown and at equal angle below
    side = torch.where(x - s.part * s.parted < 0, -1.0, 1.0)
    around = x / (x.abs() + (z + 0.75).clamp(min=0.15)) * 1.9
    down = ramp(y, 0.55, 0.05)
    u = x * 0.9 + (around - x * 0.9) * down
    u = u + side * 0.10 * (y - 0.3) * (y - 0.3)
    flat = 1.0 - s.fuzz
    wide = (s.curl <= 0.014).float()
    locks = sin_turns(u * 3.2 + 0.25)
    wisps = sin_turns(u * 6.9 + 0.75)
    tone = 0.075 * locks * carry(3.5) + 0.075 * wisps * carry(8.0) * flat
    lift = s.head_x1 * n[0] + s.head_y1 * n[1] + s.head_d1 * n[2] - 0.42 - 0.10 * locks
    if fine := carry(22.0):
        hairs = sin_turns(u * 17.0 + 0.25) * 0.6 + 0.4 * sin_turns(u * 27.0 + 0.25)
        tone = tone + 0.085 * hairs * fine * flat
        lift = lift - 0.05 * hairs * fine
    tone = tone * (0.35 + 0.65 * wide)
    if s.cartoon:
        tone = _drawn_locks(p, locks, s, wide)
    elif s.has("curl"):
        tone = tone + _curl_tone(p, s, carry) * (1.0 - wide)
    if s.has("fuzz") and (fine := carry(17.0)):
        wx, wy = curl_warp(x, y, z)
        tone = tone + 0.07 * fine * sin_turns(wx * 15.0 + 0.25) * sin_turns(wy * 16.0 - z * 7.0) * s.fuzz
    # sheen: a band where the surface looks half up, broken by the locks
    sheen = bump(lift * lift * 7.0) * (0.10 + 0.10 * s.key_g) * flat
    c.gloss = c.gloss + sheen * (0.35 + s.hair_r)
    dark = ramp(y, 0.0, -0.8) * 0.22 + 0.30 * ramp(z, 0.05, -0.35) * ramp(y, 0.1, -0.2)
    off = x - s.part - 0.10 * (z - 0.1) * s.part
    crease = s.parted * bump(off * off * 1600.0) * ramp(y, 0.42, 0.58)
    c.occlusion = c.occlusion * (1.0 - dark) * (1.0 - 0.30 * crease)
    for k in range(3):
        c.rgb[k] = c.rgb[k] * (1.0 + tone)
    return c


def _drawn_locks(p: tuple[Tensor, Tensor, Tensor], locks: Tensor, s: Samples, wide: Tensor) -> Tensor:
    """A cartoon's hair: a few darker locks, and small arcs where it is curly."""
    x, y, z = p

    def blobs(shift: float) -> Tensor:
        return ramp(sin_turns((x + shift) * 2.6 + 0.25) * sin_turns((y + shift) * 2.4 - z), 0.18, 0.32)

    arcs = blobs(0.0) * (1.0 - blobs(0.055))
    return -0.16 * ramp(locks, 0.55, 0.70) * (1.0 - s.fuzz) * wide - 0.22 * arcs * (1.0 - wide)


def _curl_tone(p: tuple[Tensor, Tensor, Tensor], s: Samples, carry) -> Tensor:
    """Light and dark of curls, and of the ringlets in them."""
    x, y = curl_warp(*p)
    curls = sin_turns(x * s.curl_freq * 2.3 + 0.25) * sin_turns(y * s.curl_freq * 2.1 - p[2])
    ringlets = sin_turns(x * (7.0 + 0.4 * sin_turns(y * 3.3)) + 0.25)
    return 0.13 * curls * carry(7.0) + 0.10 * ringlets * carry(8.0) * (1.0 - s.fuzz)
