"""The head as one smooth implicit surface: cranium, jaw, chin, cheeks, ears, nose, eye sockets, lips, beard volume."""

import torch
from torch import Tensor

from pspnb.facets.geometry.fields import bump, ellipsoid, ramp, smax, smin
from pspnb.facets.geometry.pixels import Samples

BOUND = ((0.0, 0.02, 0.06), (1 / 0.62, 1 / 0.80, 1 / 0.74))


def jaw_shift(y: Tensor, s: Samples) -> Tensor:
    """How far an open mouth has pulled the face down at height y."""
    return s.jaw_drop * ramp(y, -0.30, -0.48)


def nose_field(ax: Tensor, y: Tensor, z: Tensor, s: Samples) -> Tensor:
    """Distance to the nose: a tapered capsule from the bridge to the tip, and two wings."""
    tip_y, top_y, top_z = s.nose_tip_y, 0.06, 0.485
    by, bz = tip_y - top_y, s.nose_z - top_z
    wy, wz = y - top_y, z - top_z
    h = ((wy * by + wz * bz) / (by * by + bz * bz)).clamp(0.0, 1.0)
    ry, rz = wy - by * h, wz - bz * h
    radius = s.nose_b + (s.nose_w * 0.80 - s.nose_b) * h * h
    ridge = torch.sqrt(ax * ax + ry * ry + rz * rz) - radius
    wing = ellipsoid(
        ax - s.nose_w * 0.80, y - tip_y - 0.008, z - s.nose_z + 0.055, (1.0 / (s.nose_w * 0.62), 23.0, 16.0), 0.045
    )
    return smin(ridge, wing, 0.035)


def beard_mask(ax: Tensor, y: Tensor, s: Samples) -> Tensor:
    """Where a full beard grows, 0 to 1: the jaw up to the sideburns, below the cheek line."""
    line = -0.26 + 1.5 * (ax - 0.17).clamp(min=0.0) * (ax - 0.17).clamp(min=0.0) * 2.2
    return ramp(line - y, -0.02, 0.035)


def head_field(x: Tensor, y: Tensor, z: Tensor, s: Samples) -> Tensor:
    """Signed distance, approximately, to the bare head (negative inside)."""
    ax = x.abs()
    nose = nose_field(ax, y, z, s)
    y = y + jaw_shift(y, s)
    inv_w = 1.0 / s.head_w
    skull = ellipsoid(x, y - 0.16, z + 0.05, (inv_w, 1.0 / s.head_h, 1.78), 0.50)
    jaw = ellipsoid(x, y + 0.13, z - 0.075, (1.0 / s.jaw_w, 1.0 / (-0.13 - s.chin_y), 2.27), 0.42)
    d = smin(skull, jaw, 0.24)
    chin = ellipsoid(x, y - s.chin_y - 0.09, z - 0.32, (5.6, 8.0, 7.2), 0.135)
    d = smin(d, chin, 0.14)
    cheek = ellipsoid(ax - 0.235, y + 0.155 - 0.03 * s.smile, z - 0.335, (6.2, 7.2, 7.2), 0.145) - (s.cheek - 0.135)
    d = smin(d, cheek, 0.12)
    front = ramp(z, 0.05, 0.25)
    ex, ey = (ax - s.eye_x) * 5.4, (y - s.eye_y - 0.02) * 7.2
    d = d + front * 0.040 * bump(ex * ex + ey * ey)
    mx, my = x * 4.2, (y - s.mouth_y) * 7.5
    d = d - front * 0.022 * bump(mx * mx + my * my)
    d = d - s.beard * 0.030 * beard_mask(ax, y, s)
    d = smin(d, nose, 0.055)
    ear = ellipsoid(
        ax - s.head_w - 0.012 - s.ear_out, y - 0.005, z + 0.06 + (ax - s.head_w) * 0.8, (17.0, 1.0 / s.ear_h, 11.0), 0.07
    )
    bowl = ellipsoid(ax - s.head_w - 0.035 - s.ear_out, y - 0.01, z + 0.015, (26.0, 0.62 * 1.0 / (s.ear_h * 0.62), 18.0), 0.05)
    return smin(d, smax(ear, -bowl, 0.02), 0.035)
