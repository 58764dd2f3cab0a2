"""Light: a soft key light, a sky-and-floor fill, a rim, a highlight. Skin lets red light further into the shade."""

import torch
from torch import Tensor

from pspnb.world2.geometry.camera import light_direction
from pspnb.world2.geometry.fields import ramp
from pspnb.world2.geometry.pixels import Samples

RGB = tuple[Tensor, Tensor, Tensor]


def light_measures(f: dict[str, Tensor]) -> dict[str, Tensor]:
    """Per-image light: direction (camera frame), its half vector with the view, key colour and fill level."""
    to = light_direction(f["light_azimuth"], f["light_elevation"])
    half = to + torch.tensor([0.0, 0.0, 1.0])
    norm = torch.sqrt(half[:, 0] * half[:, 0] + half[:, 1] * half[:, 1] + half[:, 2] * half[:, 2])
    half = half / norm[:, None]
    warm, strength = f["light_warmth"], f["light_strength"]
    key = 0.64 * strength
    out = {f"l{c}": to[:, i] for i, c in enumerate("xyz")} | {f"h{c}": half[:, i] for i, c in enumerate("xyz")}
    out |= {"key_r": key * (1.02 + 0.10 * warm), "key_g": key, "key_b": key * (0.96 - 0.16 * warm)}
    return out | {"fill": 0.98 - 0.38 * strength}


def dot_light(n: RGB, s: Samples) -> Tensor:
    """Cosine between unit normals (camera frame) and the key light."""
    return n[0] * s.lx + n[1] * s.ly + n[2] * s.lz


def highlight(n: RGB, s: Samples, sharpness: int) -> Tensor:
    """Blinn highlight: cosine to the half vector to the power 2 ** sharpness."""
    p = (n[0] * s.hx + n[1] * s.hy + n[2] * s.hz).clamp(min=0.0)
    for _ in range(sharpness):
        p = p * p
    return p


def shade(
    albedo: RGB,
    n: RGB,
    s: Samples,
    *,
    wrap: RGB | tuple[float, float, float],
    gloss: Tensor,
    occlusion: Tensor,
) -> RGB:
    """Lit colours. `wrap`: how far light reaches round the edge, per channel; `gloss`: added highlight; `occlusion`: 1 = open."""
    ndl = dot_light(n, s)
    sky = 0.86 + 0.14 * n[1]
    edge = 1.0 - n[2].clamp(0.0, 1.0)
    rim = edge * edge * edge * ramp(n[1], -0.6, 0.6) * 0.16
    out = []
    for i, (key, cool) in enumerate(zip((s.key_r, s.key_g, s.key_b), (0.985, 1.0, 1.03), strict=True)):
        lit = ((ndl + wrap[i]) * (1.0 / (1.0 + wrap[i]))).clamp(min=0.0)
        out.append(
            albedo[i] * (s.fill * sky * cool + key * lit) * occlusion
            + (gloss + rim * (0.3 + albedo[i])) * key * occlusion
        )
    return out[0], out[1], out[2]


def tone(c: Tensor) -> Tensor:
    """A soft shoulder above 0.8, so that highlights roll off instead of clipping."""
    over = (c - 0.8).clamp(min=0.0)
    return torch.minimum(c, torch.full_like(c, 0.8)) + over / (1.0 + over * 4.0)
