"""Hair colour: locks and strands that fade out before they would alias, a sheen, darker roots and depths."""

import torch
from torch import Tensor

from pspnb.facets.geometry.fields import bump, ramp, sin_turns
from pspnb.facets.geometry.pixels import Samples
from pspnb.facets.paint.canvas import Canvas


def paint_hair(s: Samples, p: tuple[Tensor, Tensor, Tensor], n: tuple[Tensor, Tensor, Tensor], carry) -> Canvas:
    """`carry(cycles)` says how much of a pattern of so many cycles per unit the resolution can carry, 0 to 1."""
    x, y, z = p
    c = Canvas(s, s.rgb("hair"), "hair")
    # across-strand coordinate: hair falls from the parting, so strands lie at equal x near the crown and at equal angle below
    side = torch.where(x - s.part * s.parted < 0, -1.0, 1.0)
    around = x / (x.abs() + (z + 0.75).clamp(min=0.15)) * 1.9
    down = ramp(y, 0.55, 0.05)
    u = x * 0.9 + (around - x * 0.9) * down
    u = u + 0.05 * sin_turns(y * 0.9 + s.id3) * down + side * 0.10 * (y - 0.3) * (y - 0.3)
    flat = 1.0 - s.fuzz
    wide = (s.curl <= 0.014).float()
    locks = sin_turns(u * (2.6 + 1.5 * s.id0) + s.id1 + 0.15 * y)
    wisps = sin_turns(u * (6.5 + 2.0 * s.id2) + s.id4 + 0.3 * sin_turns(y * 0.8 + s.id5))
    hairs = sin_turns(u * 17.0 + s.id6 + 0.5 * sin_turns(y * 1.3 + s.id1)) * 0.6 + 0.4 * sin_turns(u * 27.0 + s.id7)
    wx, wy = x + 0.07 * sin_turns(y * 1.9 + s.id3), y + 0.07 * sin_turns(x * 1.7 + z * 1.3 + s.id4)
    grain = sin_turns(wx * 15.0 + 0.4 * sin_turns(y * 6.1) + s.id0) * sin_turns(
        wy * 16.0 + 0.4 * sin_turns(x * 5.3) - z * 7.0
    )
    curls = sin_turns(wx * s.curl_freq * 2.3 + s.id2 + y) * sin_turns(wy * s.curl_freq * 2.1 + s.id0 - z)
    ringlets = sin_turns(wx * 7.0 + 0.35 * sin_turns(wy * 3.3 + s.id5) + s.id6) * (1.0 - wide) * (1.0 - s.fuzz)
    tone = 0.075 * locks * carry(3.5) + 0.075 * wisps * carry(8.0) * flat + 0.085 * hairs * carry(22.0) * flat
    tone = tone * (0.35 + 0.65 * wide) + 0.07 * grain * carry(17.0) * s.fuzz
    tone = tone + (0.13 * curls * carry(7.0) + 0.10 * ringlets * carry(8.0)) * (1.0 - wide)
    # sheen: a band where the surface looks half up, broken by the locks
    lift = n[1] - 0.42 - 0.10 * locks - 0.05 * hairs * carry(22.0)
    sheen = bump(lift * lift * 7.0) * (0.10 + 0.10 * s.key_g) * flat
    c.gloss = c.gloss + sheen * (0.35 + s.hair_r)
    dark = ramp(y, 0.0, -0.8) * 0.22 + 0.30 * ramp(z, 0.05, -0.35) * ramp(y, 0.1, -0.2)
    off = x - s.part - 0.10 * (z - 0.1) * s.part
    crease = s.parted * bump(off * off * 1600.0) * ramp(y, 0.42, 0.58)
    c.occlusion = c.occlusion * (1.0 - dark) * (1.0 - 0.30 * crease)
    for k in range(3):
        c.rgb[k] = c.rgb[k] * (1.0 + tone)
    return c
