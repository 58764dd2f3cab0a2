"""Hats and glasses: knit, cloth and straw; rims and tinted lenses."""

import torch
from torch import Tensor

from pspnb.world2.geometry.accessories import BEANIE, CAP, SUN_HAT
from pspnb.world2.geometry.fields import bump, ramp, sin_turns
from pspnb.world2.geometry.hair import hat_line
from pspnb.world2.geometry.pixels import Samples
from pspnb.world2.paint.canvas import Canvas


def paint_hat(s: Samples, p: tuple[Tensor, Tensor, Tensor], carry) -> Canvas:
    """Albedo of hat samples at head-frame points p."""
    x, y, z = p
    c = Canvas(s, s.rgb("hat"), "hat")
    up = y - hat_line(x, z, s)
    around = x / (x.abs() + (z + 0.75).clamp(min=0.15)) * 1.9
    is_beanie, is_cap, is_sun = (s.hat == BEANIE).float(), (s.hat == CAP).float(), (s.hat == SUN_HAT).float()
    ribs = sin_turns(around * 10.0) * carry(11.0)
    band = ramp(up, 0.175, 0.165)
    c.tint((0.82, 0.82, 0.84), is_beanie * (0.5 + 0.5 * ribs) * (0.35 + 0.65 * band))
    c.tint((0.70, 0.70, 0.74), is_beanie * bump((up - 0.175) * (up - 0.175) * 2500.0))
    pale = tuple(k * 0.4 + 0.55 for k in s.rgb("hat"))
    pompom = is_beanie * ramp(y - 0.16 - s.head_h, 0.13, 0.16)
    c.cover(pale, pompom)
    stripe = bump((up - 0.26) * (up - 0.26) * 900.0)
    c.cover(pale, is_beanie * stripe * 0.9)
    seam = bump(x * x * 3500.0) + bump((around.abs() - 0.55) * (around.abs() - 0.55) * 1800.0)
    c.tint((0.76, 0.76, 0.80), is_cap * seam.clamp(max=1.0) * ramp(up, 0.06, 0.12) * 0.7)
    badge = x * x * 110.0 + (up - 0.17) * (up - 0.17) * 150.0
    c.cover(pale, is_cap * ramp(badge, 1.1, 0.8) * ramp(z, 0.1, 0.2))
    straw = 1.0 + 0.06 * carry(16.0) * sin_turns(torch.sqrt(x * x + z * z) * 16.0)
    for k, base in enumerate((0.90, 0.80, 0.60)):
        c.rgb[k] = c.rgb[k] + (base * straw - c.rgb[k]) * is_sun
    ribbon = ramp((up - 0.11).abs(), 0.055, 0.045) * is_sun * ramp(x * x + (z + 0.06) * (z + 0.06), 0.60, 0.50)
    c.cover(s.rgb("hat"), ribbon)
    c.occlusion = c.occlusion * (1.0 - 0.15 * ramp(up, 0.03, -0.03))
    return c
