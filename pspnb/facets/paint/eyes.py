"""Eyes and brows, painted in the head's (x, y) plane: lids, lashes, sclera, iris, pupil, catchlights."""

import torch
from torch import Tensor

from pspnb.classes import CLASS_ID
from pspnb.facets.geometry.fields import bump, mix, ramp, sin_turns
from pspnb.facets.paint.canvas import Canvas


def _sided(left: str, right: str, x: Tensor) -> Tensor:
    return torch.where(x < 0, CLASS_ID[left], CLASS_ID[right])


def paint_eyes(c: Canvas, x: Tensor, y: Tensor, z: Tensor) -> None:
    """Both eyes at once, mirrored at x = 0 (except gaze and catchlights)."""
    s, rows = c.s.where((z > 0.1) & ((x.abs() - c.s.eye_x).abs() < 0.21) & ((y - c.s.eye_y).abs() < 0.16))
    x, y = x.index_select(0, rows), y.index_select(0, rows)
    side = torch.where(x < 0, -1.0, 1.0)
    ex = x.abs() - s.eye_x
    ey = y - s.eye_y - s.slant * ex
    u = ex / s.eye_w
    u2 = (u * u).clamp(max=1.0)
    arc = 1.0 - u2
    inside = u.abs() < 1.0
    full = s.eye_h * arc * (1.06 - 0.25 * u2 + 0.10 * u)
    low = -0.62 * s.eye_h * arc * (1.0 - 0.12 * s.smile.clamp(min=0.0))
    top = mix(low + 0.012 * arc, full, 0.10 + 0.90 * s.eye_open)
    # the lid: a fold above the full opening, and shaded skin down to where the eye begins
    lid = ramp(ey, top - 0.01, top + 0.01) * ramp(ey, full + 0.030, full + 0.012) * ramp(u.abs(), 1.25, 0.8)
    c.tint((0.90, 0.80, 0.78), lid * 0.8, rows)
    crease = bump(((ey - full - 0.030) * 55.0) * ((ey - full - 0.030) * 55.0)) * ramp(u.abs(), 1.2, 0.6)
    c.tint((0.74, 0.62, 0.58), crease * 0.75, rows)
    bag = bump(((ey - low + 0.034 + 0.02 * s.age) * 40.0) * ((ey - low + 0.034 + 0.02 * s.age) * 40.0)) * ramp(
        u.abs(), 1.1, 0.5
    )
    c.tint((0.80, 0.70, 0.68), bag * (0.18 + 0.62 * s.age), rows)
    # the eyeball
    ball = inside & (ey > low) & (ey < top)
    solid = ball.float()
    shadow = 1.0 - 0.38 * ramp(ey, top - 0.055, top) - 0.16 * u2 * u2
    sclera = (0.97 * shadow, 0.955 * shadow - 0.015, 0.95 * shadow - 0.02)
    c.cover(sclera, solid, rows)
    ix, iy = ex - side * s.gaze_x, ey - s.gaze_y - 0.10 * s.eye_h
    r = torch.sqrt(ix * ix + iy * iy + 1e-8) / s.iris_size
    disc = solid * ramp(r, 1.04, 0.94)
    glow = 0.85 + 0.55 * ramp(iy / s.iris_size, 0.5, -0.9) * ramp(r, 1.0, 0.4)
    rays = 1.0 + 0.10 * sin_turns(ix * 37.0 / (r + 0.4)) * sin_turns(iy * 41.0 / (r + 0.4))
    ring = 1.0 - 0.55 * ramp(r, 0.74, 1.0)
    deep = glow * rays * ring * (1.0 - 0.35 * ramp(ey, top - 0.05, top))
    c.cover(tuple(k * deep for k in s.rgb("iris")), disc, rows)
    c.cover((0.03, 0.025, 0.03), solid * ramp(r, 0.52, 0.42), rows)
    gx, gy = ix * side - s.iris_size * 0.42 * s.lx, iy - s.iris_size * (0.26 + 0.30 * s.ly)
    spark = torch.sqrt(gx * gx + gy * gy) / s.iris_size
    c.cover((1.0, 1.0, 1.0), solid * ramp(spark, 0.34, 0.22), rows)
    hx, hy = ix * side + s.iris_size * 0.40, iy + s.iris_size * 0.42
    c.cover((1.0, 1.0, 1.0), solid * 0.45 * ramp(torch.sqrt(hx * hx + hy * hy) / s.iris_size, 0.22, 0.10), rows)
    # lashes: thicker outwards, with a small wing; a hint of a lower line; the pink inner corner
    thick = s.lash * (0.75 + 0.55 * (u + 1.0) * 0.5)
    line = ramp((ey - top - 0.3 * thick).abs(), thick * 1.25, thick * 0.6) * ramp(u.abs(), 1.06, 0.98)
    wing = ramp((ey - 0.10 * (u - 1.0) - 0.004).abs(), thick, thick * 0.4) * ramp(u, 0.9, 1.0) * ramp(u, 1.22, 1.05)
    dark = torch.maximum(line, wing * ramp(s.lash, 0.008, 0.013))
    c.cover((0.10, 0.065, 0.06), dark * 0.92, rows)
    lower = bump(((ey - low) * 95.0) * ((ey - low) * 95.0)) * ramp(u.abs(), 1.05, 0.9)
    c.tint((0.62, 0.48, 0.46), lower * 0.75, rows)
    c.cover((0.80, 0.48, 0.45), solid * ramp(u, -0.80, -0.97) * 0.7, rows)
    c.name(_sided("l_eye", "r_eye", x), ball | ((line > 0.5) & inside), rows)
    c.flat.index_copy_(0, rows, torch.maximum(c.flat.index_select(0, rows), solid * 0.75))
    c.gloss.index_copy_(0, rows, c.gloss.index_select(0, rows) * (1.0 - solid))


def paint_brows(c: Canvas, x: Tensor, y: Tensor, z: Tensor, strand: float) -> None:
    """Brows: an arch that thins outwards, drawn in little hairs as far as the resolution carries them (`strand`)."""
    s, rows = c.s.where((z > 0.1) & ((x.abs() - c.s.eye_x).abs() < 0.21) & ((y - c.s.eye_y - c.s.brow_y).abs() < 0.11))
    x, y = x.index_select(0, rows), y.index_select(0, rows)
    ex = x.abs() - s.eye_x
    u = ex * 6.6
    arch = s.eye_y + s.brow_y + s.brow_a * ex - 0.021 * (u - 0.05) * (u - 0.05) + 0.010
    thick = s.brow_t * (1.05 - 0.42 * ramp(u, 0.1, 1.2)) * ramp(u, -1.28, -0.95)
    hair = 1.0 + strand * 0.12 * sin_turns(ex * 24.0 - (y - arch) * 16.0 + s.id6)
    alpha = ramp((y - arch).abs(), thick * 1.25, thick * 0.55) * ramp(u, 1.28, 1.0) * ramp(u, -1.25, -1.0)
    ink = tuple(k * 0.62 + 0.02 for k in s.rgb("hair"))
    c.cover(ink, (alpha * 0.86 * hair).clamp(0.0, 1.0), rows)
    c.name(_sided("l_brow", "r_brow", x), alpha > 0.45, rows)
