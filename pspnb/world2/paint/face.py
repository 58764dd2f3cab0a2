"""Skin: blush, freckles, age lines, stubble and beards, nostrils; then eyes, brows and mouth on top."""

import torch
from torch import Tensor

from pspnb.classes import CLASS_ID
from pspnb.world2.geometry.accessories import temple
from pspnb.world2.geometry.fields import bump, hash01, ramp, sin_turns
from pspnb.world2.geometry.hair import hat_line, opening
from pspnb.world2.geometry.head import beard_mask, jaw_shift, nose_field
from pspnb.world2.geometry.pixels import Samples
from pspnb.world2.paint.canvas import Canvas
from pspnb.world2.paint.eyes import paint_brows, paint_eyes
from pspnb.world2.paint.mouth import paint_mouth


def paint_head(s: Samples, p: tuple[Tensor, Tensor, Tensor], strand: float) -> Canvas:
    """Albedo, labels and occlusion of head samples at head-frame points p; `strand` in [0, 1] is the hair detail that the
    resolution can carry."""
    x, y, z = p
    ax = x.abs()
    c = Canvas(s, s.rgb("skin"), "skin")
    c.gloss = c.gloss + 0.085
    front = ramp(z, 0.02, 0.2)
    yl = y + jaw_shift(y, s)
    _paint_ears(c, ax, y, z, x)
    _paint_skin(c, x, y, yl, z, front)
    _paint_freckles(c, x, y, z)
    _paint_nose(c, ax, y, z)
    _paint_beard(c, x, y, yl, z, front, strand)
    paint_mouth(c, x, y, z)
    paint_eyes(c, x, y, z)
    paint_brows(c, x, y, z, strand)
    # shade below hair and hats
    haired = (s.hair_top > 0).float()
    near = ramp(opening(x, y, s), -0.13, 0.02) * ramp(y, -0.1, 0.25) * front
    c.occlusion = c.occlusion * (1.0 - 0.30 * near * haired)
    if s.has("hatted"):
        c.occlusion = c.occlusion * (1.0 - 0.38 * s.hatted * ramp(y - hat_line(x, z, s), -0.16, 0.0))
    if s.has("glasses"):
        arm = temple(x, y, z, s)
        c.cover(tuple(k * 0.8 for k in s.rgb("frame")), arm.float())
        c.name("eye_g", arm)
    return c


def _paint_ears(c: Canvas, ax: Tensor, y: Tensor, z: Tensor, x: Tensor) -> None:
    s = c.s
    out = ax - s.ear_base
    ear = (out > -0.012) & (y.abs() < s.ear_h + 0.04) & (z < 0.16) & (z > -0.25)
    bx, by = (out - 0.030 - s.ear_out) * 26.0, (y - 0.01) / (s.ear_h * 0.66)
    inner = ear.float() * bump((bx * bx + by * by) * 0.55)
    c.tint((0.80, 0.62, 0.58), inner * 0.8)
    c.tint((1.02, 0.94, 0.92), ear.float() * 0.8)
    c.name(torch.where(x < 0, CLASS_ID["l_ear"], CLASS_ID["r_ear"]), ear)


def _paint_skin(c: Canvas, x: Tensor, y: Tensor, yl: Tensor, z: Tensor, front: Tensor) -> None:
    s, ax = c.s, x.abs()
    bx, by = (ax - 1.17 * s.cheek_x) * 5.2, (y + 0.155) * 6.6
    c.tint((1.03, 0.86, 0.84), bump((bx * bx + by * by) * 0.8) * front * 0.9)
    cx, cy = x * 5.0, (yl - s.chin_y - 0.06) * 8.0
    c.tint((1.02, 0.93, 0.92), bump(cx * cx + cy * cy) * front * 0.7)
    ex, ey = (ax - s.eye_x + 0.02) * 4.6, (y - s.eye_y - 0.03) * 7.0
    c.tint((0.90, 0.82, 0.80), bump(ex * ex + ey * ey) * front * 0.75)
    # age: forehead lines and crow's feet
    wave = y - 0.02 * sin_turns(x * 0.8 + 0.25) * ax
    k = (wave - 0.30) * 15.0
    k = k - torch.floor(k)
    lines = bump((k - 0.5) * (k - 0.5) * 60.0) * ramp(y, 0.25, 0.29) * ramp(y, 0.47, 0.43) * ramp(ax, 0.30, 0.15)
    frown = (y - s.eye_y - 0.10) * 9.0
    lines = lines + bump(frown * frown) * bump((ax - 0.028) * (ax - 0.028) * 9000.0) * 0.5
    fx, fy = ax - s.eye_x - s.eye_w - 0.015, y - s.eye_y
    fan = (fy / (fx + 0.05)) * 1.6
    fan = fan - torch.floor(fan + 0.5)
    feet = bump(fan * fan * 26.0) * ramp(fx, 0.0, 0.015) * ramp(fx, 0.085, 0.05) * ramp(fy.abs(), 0.07, 0.04)
    ageing = (s.age - 0.25).clamp(min=0.0) * (1.0 / 0.75)
    c.tint((0.76, 0.64, 0.60), (lines + feet).clamp(max=1.0) * front * ageing * 0.75)


def _paint_freckles(c: Canvas, x: Tensor, y: Tensor, z: Tensor) -> None:
    s, rows = c.s.where((c.s.freckles > 0) & (z > 0.1) & (y < 0.02) & (y > -0.34) & (x.abs() < 0.42))
    x, y = x.index_select(0, rows), y.index_select(0, rows)
    # variants 1 and 3 are 0 and 2 seen in a mirror
    half = torch.floor(s.freckle_variant * 0.5)
    x = torch.where(s.freckle_variant - 2.0 * half > 0.5, -x, x)
    i, j = torch.floor(x * 14.0), torch.floor(y * 14.0)
    u, v, w = hash01(i, j, half.long() * 7919 + 12345)
    dx, dy = x * 14.0 - i - 0.25 - 0.5 * u, y * 14.0 - j - 0.25 - 0.5 * v
    size = 0.16 + 0.16 * w
    dense = s.freckles * ramp(y, -0.34, -0.20) * ramp(x.abs(), 0.42, 0.30)
    dot = ramp(torch.sqrt(dx * dx + dy * dy), size, size * 0.55) * (u + v - w * 0.5 < 0.15 + 1.35 * dense).float()
    c.tint((0.74, 0.58, 0.46), dot * (0.35 + 0.55 * s.freckles), rows)


def _paint_nose(c: Canvas, ax: Tensor, y: Tensor, z: Tensor) -> None:
    s, rows = c.s.where((z > 0.35) & (ax < 0.17) & (y < 0.10) & (y > -0.36))
    ax, y, z = ax.index_select(0, rows), y.index_select(0, rows), z.index_select(0, rows)
    near = nose_field(ax, y, z, s)
    c.name("nose", (near < 0.012) & (y < 0.06), rows)
    tip = (y - s.nose_tip_y) * 10.0
    c.tint((1.03, 0.88, 0.86), bump(tip * tip) * ramp(near, 0.03, 0.0) * 0.9, rows)
    # creases where the wings meet the cheeks
    crease = bump((near - 0.022) * (near - 0.022) * 3600.0) * ramp(y, s.nose_tip_y + 0.08, s.nose_tip_y)
    c.tint((0.80, 0.68, 0.64), crease * 0.55, rows)
    hx, hy = (ax - s.nose_w * 0.62) / (s.nose_w * 0.40), (y - s.nose_tip_y + 0.034) * 52.0
    c.tint((0.38, 0.26, 0.24), ramp(hx * hx + hy * hy, 1.25, 0.5) * 0.9, rows)
    below = (y - s.nose_tip_y + 0.062) * 26.0
    c.tint((0.80, 0.70, 0.67), bump(below * below + (ax * 9.0) * (ax * 9.0)) * 0.6, rows)


def _paint_beard(c: Canvas, x, y, yl, z, front: Tensor, strand: float) -> None:
    if not (c.s.has("stubble") or c.s.has("moustache")):
        return
    s, rows = c.s.where(c.s.stubble + c.s.moustache > 0)
    x, y, yl, z, front = (k.index_select(0, rows) for k in (x, y, yl, z, front))
    ax = x.abs()
    grow = beard_mask(ax, yl, s) * ramp(z, -0.16, -0.02)
    lip_gap_x = x / (s.mouth_w * 0.95)
    lip_gap_y = (y - s.mouth_y + 0.01 + 0.035 * s.mouth_open) / (0.058 + 0.045 * s.mouth_open)
    bare = ramp(lip_gap_x * lip_gap_x + lip_gap_y * lip_gap_y, 0.9, 1.35)
    tash_y = s.nose_tip_y - 0.075
    droop = s.mouth_y + 0.058 - 0.05 * ramp(ax, 0.10, 0.24) + 0.03 * s.mouth_open
    tash = ramp(y, droop - 0.015, droop + 0.008) * ramp(y - tash_y + 0.10 * ax * ax * 6.0, 0.030, 0.0)
    tash = tash * ramp(ax, 0.25, 0.20) * front
    tash = tash * (1.0 - 0.55 * bump(x * x * 3000.0))
    full = torch.maximum(grow * bare * s.beard, tash * s.moustache)
    shadow = torch.maximum(grow * bare, tash) * s.stubble
    for k, h in enumerate(s.rgb("hair")):
        skin = c.rgb[k].index_select(0, rows)
        c.rgb[k].index_copy_(0, rows, skin + (skin * 0.62 + h * 0.12 - skin) * shadow * 0.72)
    grain = 1.0 + strand * (
        0.09 * sin_turns(ax * 23.0 + 0.5 * sin_turns(y * 2.3)) + 0.07 * sin_turns(ax * 11.0 + 3.0 * y)
    )
    ink = tuple(k * tone * grain for k, tone in zip(s.rgb("hair"), (0.88, 0.80, 0.74), strict=True))
    c.cover(ink, full * 0.95, rows)
    c.gloss.index_copy_(0, rows, c.gloss.index_select(0, rows) * (1.0 - 0.8 * full))
