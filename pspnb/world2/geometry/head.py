"""The head as one smooth implicit surface: cranium, jaw, chin, cheeks, ears, nose, eye sockets, lips, beard volume."""

from torch import Tensor

from pspnb.world2.geometry.fields import bump, ellipsoid, ramp, smax, smin
from pspnb.world2.geometry.pixels import Measured

BOUND_NEEDS = ("head_h", "chin_y", "jaw_drop", "ear_base", "ear_out")


def bound(m: dict[str, Tensor]) -> tuple[tuple, tuple]:
    """Centre and inverse radii, (b, 1) each, of an ellipsoid around each image's head."""
    top, low = 0.17 + m["head_h"], m["chin_y"] - m["jaw_drop"] - 0.05
    rx, ry = m["ear_base"] + m["ear_out"] + 0.085, (top - low) * 0.60
    return (0.0, ((top + low) * 0.5)[:, None], 0.06), (1.0 / rx[:, None], 1.0 / ry[:, None], 1 / 0.74)


def jaw_shift(y: Tensor, s: Measured) -> Tensor:
    """How far an open mouth has pulled the face down at height y."""
    return s.jaw_drop * ramp(y - s.mouth_y, 0.05, -0.13)


def nose_field(ax: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Distance to the nose: a tapered capsule from the bridge to the tip, and two wings."""
    wy, wz = y - s.bridge_y, z - 0.485
    h = (wy * s.nose_py).add_(wz * s.nose_pz).clamp_(0.0, 1.0)
    wy.sub_(h * s.nose_dy)
    wz.sub_(h * s.nose_dz)
    ridge = (ax * ax).add_(wy.mul_(wy)).add_(wz.mul_(wz)).sqrt_().sub_(s.nose_b).sub_(h.mul_(h).mul_(s.nose_taper))
    wing = ellipsoid(ax - s.wing_x, y - s.wing_y, z - s.nose_z + 0.055, (s.inv_wing, 23.0, 16.0), 0.045)
    return smin(ridge, wing, 0.035)


def beard_mask(ax: Tensor, y: Tensor, s: Measured) -> Tensor:
    """Where a full beard grows, 0 to 1: the jaw up to the sideburns, below the cheek line."""
    line = s.mouth_y + 0.09 + 1.5 * (ax - 0.17).clamp(min=0.0) * (ax - 0.17).clamp(min=0.0) * 2.2
    return ramp(line - y, -0.02, 0.035)


def head_field(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Signed distance, approximately, to the bare head (negative inside)."""
    ax = x.abs()
    nose = nose_field(ax, y, z, s)
    y = y + jaw_shift(y, s)
    skull = ellipsoid(x, y - 0.16, z + 0.05, (s.inv_head_w, s.inv_head_h, 1.78), 0.50)
    jaw = ellipsoid(x, y + 0.13, z - 0.075, (s.inv_jaw_w, s.inv_jaw_h, 2.27), 0.42)
    d = smin(skull, jaw, 0.24)
    d = smin(d, ellipsoid(x, y - s.chin_c, z - 0.32, (s.inv_chin_w, 8.0, 7.2), 0.135), 0.17)
    cheek = ellipsoid(ax - s.cheek_x, y - s.cheek_y, z - 0.335, (6.2, 7.2, 7.2), 0.145).sub_(s.cheek_out)
    d = smin(d, cheek, 0.12)
    ex, ey = (ax - s.eye_x).mul_(5.4), (y - s.eye_y - 0.02).mul_(7.2)
    relief = bump(ex.mul_(ex).add_(ey.mul_(ey))).mul_(0.040)
    mx, my = x * 4.2, (y - s.mouth_y).mul_(7.5)
    relief.sub_(bump(mx.mul_(mx).add_(my.mul_(my))).mul_(0.022))
    d.add_(relief.mul_(ramp(z, 0.05, 0.25)))
    if s.has("beard"):
        d = d - s.beard * 0.030 * beard_mask(ax, y, s)
    d = smin(d, nose, 0.055)
    side = ax - s.ear_x
    ear = ellipsoid(side, y - 0.005, z + 0.06 + (ax - s.ear_base) * 0.8, (17.0, s.inv_ear_h, 11.0), 0.07)
    bowl = ellipsoid(side - 0.023, y - 0.01, z + 0.015, (26.0, s.inv_ear_h, 18.0), 0.05)
    return smin(d, smax(ear, -bowl, 0.02), 0.035)
