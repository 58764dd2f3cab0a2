"""The mouth: lips with a cupid's bow and their own shading, teeth, tongue, smile lines."""

import torch

from pspnb.world2.geometry.fields import bump, mix, ramp
from pspnb.world2.paint.canvas import Canvas


def paint_mouth(c: Canvas, x, y, z) -> None:
    """Paints in head coordinates. An open mouth pulls the lower lip down further than it lifts the upper one."""
    s, rows = c.s.where((z > 0.1) & (x.abs() < 0.34) & ((y - c.s.mouth_y + 0.02).abs() < 0.21))
    x, y = x.index_select(0, rows), y.index_select(0, rows)
    u = x / s.mouth_w
    u2 = u * u
    arc = (1.0 - u2).clamp(min=0.0)
    round_ = torch.sqrt(arc + 1e-6)
    inside = u2 < 1.0
    seam = s.mouth_y + 0.062 * s.smile * (u2 - 0.45) + 0.006 * bump(u2 * 14.0) - 0.003
    up_in = seam + 0.035 * s.mouth_open * arc
    low_in = seam - 0.105 * s.mouth_open * arc * (1.0 + 0.1 * s.smile)
    bow = 1.0 + 0.30 * bump((u.abs() - 0.28) * (u.abs() - 0.28) * 14.0) - 0.25 * bump(u2 * 30.0)
    upper = s.lip * 0.80 * bow * mix(arc, round_, arc * 0.5)
    lower = s.lip * 1.22 * mix(arc, round_, 0.4)
    # skin around: philtrum, the shade under the lower lip, folds of a smile or of age
    philtrum = (
        bump(x * x * 2200.0)
        * ramp(y, up_in + upper, up_in + upper + 0.02)
        * ramp(y, s.mouth_y + 0.14, s.mouth_y + 0.09)
    )
    c.tint((0.86, 0.78, 0.76), philtrum * 0.5, rows)
    under = (y - (low_in - lower) + 0.022) * 26.0
    c.tint((0.78, 0.66, 0.63), bump(under * under) * ramp(u.abs(), 0.95, 0.3) * 0.6, rows)
    fold_x = s.mouth_w * 1.13 + 0.35 * (s.mouth_y + 0.02 - y) * (y - s.mouth_y + 0.25) + 0.02
    fold = (x.abs() - fold_x + 0.5 * (y - s.mouth_y - 0.02).clamp(min=0.0)) * 42.0
    strength = (0.12 + 0.55 * s.age + 0.30 * s.smile.clamp(min=0.0)).clamp(max=0.85)
    span = ramp(y, s.mouth_y - 0.05, s.mouth_y + 0.03) * ramp(y, s.mouth_y + 0.17, s.mouth_y + 0.10)
    c.tint((0.78, 0.66, 0.62), bump(fold * fold) * span * strength, rows)
    corner = ((u.abs() - 1.04) * (u.abs() - 1.04) * 60.0) + (y - seam) * (y - seam) * 1400.0
    c.tint((0.66, 0.52, 0.50), bump(corner) * 0.8, rows)
    # lips, lit from above: the upper one turns down, the lower one up
    is_up, is_low = inside & (y >= up_in) & (y < up_in + upper), inside & (y <= low_in) & (y > low_in - lower)
    v_up, v_low = (y - up_in) / (upper + 1e-4), (low_in - y) / (lower + 1e-4)
    lip = s.rgb("lip")
    shade_up = 0.80 + 0.20 * v_up
    soft_up = is_up.float() * ramp(v_up, 1.0, 0.80)
    c.cover(tuple(k * shade_up for k in lip), soft_up, rows)
    shine = bump((v_low - 0.42) * (v_low - 0.42) * 9.0) * bump(u2 * 2.2)
    soft_low = is_low.float() * ramp(v_low, 1.0, 0.85)
    c.cover(tuple(k * (1.02 - 0.20 * v_low) + shine * 0.10 for k in lip), soft_low, rows)
    # inside
    hole = inside & (y < up_in) & (y > low_in)
    h = hole.float()
    depth = up_in - y
    c.cover((0.30, 0.085, 0.09), h, rows)
    tx, ty = x * 9.0, (y - low_in + 0.005) * 18.0
    c.cover((0.72, 0.32, 0.32), h * ramp(tx * tx + ty * ty, 1.1, 0.7), rows)
    reach = 0.048 * ramp(up_in - low_in, 0.008, 0.05)
    biting = ramp(depth, reach + 0.006, reach - 0.003) * ramp(u.abs(), 0.90, 0.80)
    gap = 1.0 - 0.14 * bump(_near_multiple(x * 24.0) * 36.0)
    c.cover((0.96 * gap, 0.945 * gap, 0.90 * gap), h * biting * ramp(s.mouth_open, 0.02, 0.12), rows)
    line = bump(((y - seam) * 85.0) * ((y - seam) * 85.0)) * ramp(u.abs(), 1.08, 0.98) * ramp(s.mouth_open, 0.25, 0.0)
    c.tint((0.42, 0.30, 0.30), line * 0.9, rows)
    c.name("mouth", hole, rows)
    c.name("u_lip", is_up, rows)
    c.name("l_lip", is_low, rows)
    flat = torch.maximum(h * 0.8, (is_up | is_low).float() * 0.3)
    c.flat.index_copy_(0, rows, torch.maximum(c.flat.index_select(0, rows), flat))
    c.occlusion.index_copy_(0, rows, c.occlusion.index_select(0, rows) * (1.0 - 0.15 * h))


def _near_multiple(x):
    """Squared distance to the nearest whole number."""
    r = x - torch.floor(x + 0.5)
    return r * r
