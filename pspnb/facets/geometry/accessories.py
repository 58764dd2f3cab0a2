"""Hats as implicit volumes, glasses as a curved sheet before the eyes, earrings as little shapes that hang from the lobes."""

import torch
from torch import Tensor

from pspnb.facets.geometry.fields import ellipsoid, sin_turns, smax, smin
from pspnb.facets.geometry.hair import hat_line
from pspnb.facets.geometry.pixels import Samples

HAT_BOUND = ((0.0, 0.42, 0.05), (1 / 1.08, 1 / 0.72, 1 / 1.12))
BEANIE, CAP, SUN_HAT = 1, 2, 3


def hat_field(x: Tensor, y: Tensor, z: Tensor, s: Samples) -> Tensor:
    """Signed distance, approximately, to the hat (negative inside)."""
    line = hat_line(x, z, s)
    tall = torch.where(s.hat == BEANIE, 0.14, torch.where(s.hat == CAP, 0.09, 0.10))
    ry = s.head_h + tall
    crown = ellipsoid(x, y - 0.16, z + 0.06, (1.0 / (s.head_w + 0.085), 1.0 / ry, 1.0 / 0.665), 0.55)
    crown = smax(crown, line - y, 0.03)
    # beanie: a rolled band and a pompom
    band = smax(smax(crown - 0.028, y - line - 0.17, 0.03), line - 0.01 - y, 0.03)
    px, py, pz = x, y - 0.16 - ry - 0.055, z + 0.07
    pom = torch.sqrt(px * px + py * py + pz * pz) - 0.105
    pom = pom - 0.012 * sin_turns(x * 6.0 + z * 2.0) * sin_turns(y * 6.0)
    beanie = torch.minimum(smin(crown, band, 0.03), pom)
    # cap: a visor bent down at its sides
    vx, vz = x * 2.35, (z - 0.52) * 2.1
    sheet = (y - 0.40 + 0.18 * (z - 0.5) + 0.42 * x * x).abs() * 0.85 - 0.018
    visor = smax((torch.sqrt(vx * vx + vz * vz) - 1.0) * 0.42, sheet, 0.02)
    # sun hat: a wide, slightly waving brim
    bx, bz = x * 1.08, (z + 0.02) * 1.06
    brim_y = y - 0.36 - 0.13 * z + 0.16 * (x * x + z * z) - 0.02 * sin_turns(x * 0.9 + s.im5) * sin_turns(z * 0.8)
    brim = smax((torch.sqrt(bx * bx + bz * bz) - 1.0) * 0.85, brim_y.abs() * 0.9 - 0.02, 0.03)
    return torch.where(
        s.hat == BEANIE, beanie, torch.where(s.hat == CAP, smin(crown, visor, 0.02), smin(crown, brim, 0.04))
    )


def glasses_sheet(o: tuple, d: tuple) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays meet the curved sheet z = 0.605 - 0.55 x^2 that carries the lenses: (t, x, y)."""
    t = (0.60 - o[2]) / d[2]
    for _ in range(3):
        x = o[0] + d[0] * t
        t = (0.605 - 0.55 * x * x - o[2]) / d[2]
    return t, o[0] + d[0] * t, o[1] + d[1] * t


def glasses_rim(x: Tensor, y: Tensor, s: Samples) -> tuple[Tensor, Tensor]:
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
    hy = dy + 0.070
    hr = torch.sqrt(dx * dx + hy * hy) + 1e-6
    side = (hr - 0.062) * (1.0 / 0.020)
    ey = dy + 0.085
    ex = dx * (1.0 + 4.0 * (ey + 0.02).clamp(min=0.0))
    er = torch.sqrt(ex * ex * (1 / 0.034**2) + ey * ey * (1 / 0.058**2)) + 1e-6
    stud = r - 0.036
    hoop = (hr - 0.062).abs() - 0.017
    drop = torch.minimum((er - 1.0) * 0.036, r - 0.018)
    stud_n, drop_n = (dx * 27.0, dy * 27.0), (ex * 27.0, ey * 15.0)
    is_stud, is_hoop = kind == 1, kind == 2
    dist = torch.where(is_stud, stud, torch.where(is_hoop, hoop, drop))
    nx = torch.where(is_stud, stud_n[0], torch.where(is_hoop, dx / hr * side, drop_n[0]))
    ny = torch.where(is_stud, stud_n[1], torch.where(is_hoop, hy / hr * side, drop_n[1]))
    return dist, nx.clamp(-1, 1), ny.clamp(-1, 1)


def temple(x: Tensor, y: Tensor, z: Tensor, s: Samples) -> Tensor:
    """Whether a point of the head lies under the arm of the glasses."""
    return (s.glasses > 0) & ((y - s.eye_y - 0.03).abs() < 0.015) & (x.abs() > 0.36) & (z > -0.05) & (z < 0.50)
