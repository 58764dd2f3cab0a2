"""Hats as implicit volumes, glasses as a curved sheet before the eyes, earrings as little shapes that hang from the lobes."""

import torch
from torch import Tensor

from pspnb.world2.geometry.fields import ellipsoid, sin_turns, smax, smin
from pspnb.world2.geometry.hair import hat_line
from pspnb.world2.geometry.pixels import Measured

BEANIE, CAP, SUN_HAT = 1, 2, 3


def hat_bound(m: dict[str, Tensor]) -> tuple[tuple, tuple]:
    """Centre and inverse radii, (b, 1) each, of an ellipsoid around each image's hat."""
    kind = m["hat"].long()
    fixed = lambda *values: torch.tensor(values, device=kind.device)[kind][:, None]  # noqa: E731
    rx = torch.where(kind == SUN_HAT, 1.08, m["head_w"] + 0.17)[:, None]
    ry, rz = fixed(0.7, 0.7, 0.55, 0.62), fixed(0.8, 0.80, 1.0, 1.12)
    return (0.0, 0.42, fixed(-0.05, -0.05, 0.12, 0.05)), (1.0 / rx, 1.0 / ry, 1.0 / rz)


def _crown(x: Tensor, y: Tensor, z: Tensor, s: Measured, line: Tensor, tall: float) -> Tensor:
    crown = ellipsoid(x, y - 0.16, z + 0.06, (1.0 / (s.head_w + 0.085), 1.0 / (s.head_h + tall), 1.0 / 0.665), 0.55)
    return smax(crown, line - y, 0.03)


def beanie_field(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Signed distance, approximately, to a knitted hat with a rolled band and a pompom."""
    line = hat_line(x, z, s)
    crown = _crown(x, y, z, s, line, 0.14)
    band = smax(smax(crown - 0.028, y - line - 0.17, 0.03), line - 0.01 - y, 0.03)
    py, pz = y - 0.355 - s.head_h, z + 0.07
    pom = torch.sqrt(x * x + py * py + pz * pz) - 0.105
    pom = pom - 0.012 * sin_turns(x * 6.0 + 0.25) * sin_turns(y * 6.0 + z * 2.0)
    return torch.minimum(smin(crown, band, 0.03), pom)


def cap_field(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Signed distance, approximately, to a cap whose visor is bent down at its sides."""
    crown = _crown(x, y, z, s, hat_line(x, z, s), 0.09)
    vx, vz = x * 2.35, (z - 0.52) * 2.1
    sheet = (y - 0.40 + 0.18 * (z - 0.5) + 0.42 * x * x).abs() * 0.85 - 0.018
    return smin(crown, smax((torch.sqrt(vx * vx + vz * vz) - 1.0) * 0.42, sheet, 0.02), 0.02)


def sun_hat_field(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Signed distance, approximately, to a straw hat with a wide, slightly waving brim."""
    crown = _crown(x, y, z, s, hat_line(x, z, s), 0.10)
    bx, bz = x * 1.08, (z + 0.02) * 1.06
    brim_y = y - 0.36 - 0.13 * z + 0.16 * (x * x + z * z) - 0.02 * sin_turns(x * 0.9 + 0.25) * sin_turns(z * 0.8)
    return smin(crown, smax((torch.sqrt(bx * bx + bz * bz) - 1.0) * 0.85, brim_y.abs() * 0.9 - 0.02, 0.03), 0.04)


HAT_FIELDS = (("beanie", 0.7, beanie_field), ("cap", 1.0, cap_field), ("sun_hat", 1.0, sun_hat_field))
"""Kinds of hats: the measure that says which images wear it, the rate its rays trust (see `march`), its field."""
BOUND_NEEDS = ("hat", "head_w")


def glasses_sheet(o: tuple, d: tuple) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays meet the curved sheet z = 0.605 - 0.55 x^2 that carries the lenses: (t, x, y)."""
    t = (0.60 - o[2]) / d[2]
    for _ in range(3):
        x = o[0] + d[0] * t
        t = (0.605 - 0.55 * x * x - o[2]) / d[2]
    return t, o[0] + d[0] * t, o[1] + d[1] * t


def glasses_rim(x: Tensor, y: Tensor, s: Measured) -> tuple[Tensor, Tensor]:
    """(distance to the lens outline, negative inside the lens; distance to the bridge)."""
    ax = x.abs()
    cx, cy = ax - s.eye_x - 0.008, y - s.eye_y + 0.010
    round_ = torch.sqrt(cx * cx + cy * cy) - 0.170
    qx, qy = (cx.abs() - 0.105).clamp(min=0.0), (cy.abs() - 0.062).clamp(min=0.0)
    square = torch.sqrt(qx * qx + qy * qy) - 0.066
    tx, ty = cx - 0.02 * (0.0 - cy) * 6.0, cy + 0.02
    tx2, ty2 = tx * tx * 36.0, ty * ty * 48.0
    tinted = (torch.sqrt(torch.sqrt(tx2 * tx2 + ty2 * ty2) + 1e-6) - 1.0) * 0.15
    outline = torch.where(s.glasses == 1, round_, torch.where(s.glasses == 2, square, tinted))
    arch = y - s.eye_y - 0.035 + 1.6 * ax * ax
    bridge = torch.maximum(arch.abs() - 0.013, ax - s.eye_x + 0.13)
    return outline, bridge


def earring(dx: Tensor, dy: Tensor, kind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of image-plane offsets from a lobe: (distance, normal x, normal y) of a stud (1), a hoop (2) or a drop (3)."""
    r = torch.sqrt(dx * dx + dy * dy) + 1e-6
    hy = dy + 0.078
    hr = torch.sqrt(dx * dx + hy * hy) + 1e-6
    side = (hr - 0.070) * (1.0 / 0.024)
    ey = dy + 0.092
    ex = dx * (1.0 + 4.0 * (ey + 0.02).clamp(min=0.0))
    er = torch.sqrt(ex * ex * (1 / 0.041**2) + ey * ey * (1 / 0.066**2)) + 1e-6
    stud = r - 0.043
    hoop = (hr - 0.070).abs() - 0.021
    drop = torch.minimum((er - 1.0) * 0.041, r - 0.022)
    stud_n, drop_n = (dx * 23.0, dy * 23.0), (ex * 23.0, ey * 14.0)
    is_stud, is_hoop = kind == 1, kind == 2
    dist = torch.where(is_stud, stud, torch.where(is_hoop, hoop, drop))
    nx = torch.where(is_stud, stud_n[0], torch.where(is_hoop, dx / hr * side, drop_n[0]))
    ny = torch.where(is_stud, stud_n[1], torch.where(is_hoop, hy / hr * side, drop_n[1]))
    return dist, nx.clamp(-1, 1), ny.clamp(-1, 1)


def temple(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Whether a point of the head lies under the arm of the glasses."""
    return (s.glasses > 0) & ((y - s.eye_y - 0.03).abs() < 0.015) & (x.abs() > 0.36) & (z > -0.05) & (z < 0.50)
