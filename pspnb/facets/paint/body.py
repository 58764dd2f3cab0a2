"""Neck, clothes and necklaces: necklines, collars and woven patterns on the shoulders."""

import torch
from torch import Tensor

from pspnb.facets.geometry.fields import bump, ramp
from pspnb.facets.geometry.pixels import Samples
from pspnb.facets.paint.canvas import Canvas
from pspnb.facets.paint.patterns import weave

CREW, V_NECK, SHIRT, TURTLENECK = 0, 1, 2, 3


def neckline(x: Tensor, s: Samples, z: Tensor) -> Tensor:
    """Height of the clothes' edge at x, per collar; higher behind the neck."""
    ax = x.abs()
    crew = -0.845 + 0.45 * ax * ax + 0.6 * (ax - 0.2).clamp(min=0.0)
    vee = -1.02 + 0.95 * ax
    shirt = -0.93 + 0.95 * ax
    turtle = torch.full_like(x, -0.665)
    line = torch.where(
        s.collar == CREW, crew, torch.where(s.collar == V_NECK, vee, torch.where(s.collar == SHIRT, shirt, turtle))
    )
    return line + 0.35 * (-0.05 - z).clamp(min=0.0)


def paint_body(s: Samples, p: tuple[Tensor, Tensor, Tensor], carry) -> Canvas:
    """Albedo, labels, occlusion of the body at body-frame points p."""
    x, y, z = p
    ax = x.abs()
    c = Canvas(s, s.rgb("skin"), "neck")
    c.gloss = c.gloss + 0.04
    c.occlusion = c.occlusion * (1.0 - 0.46 * ramp(y, -0.86, -0.58))
    tendon = (ax - 0.10 + 0.20 * (y + 0.8)) * 20.0
    c.tint((0.90, 0.84, 0.82), bump(tendon * tendon) * ramp(y, -0.6, -0.75) * 0.5)
    _paint_necklace(c, x, y)
    line = neckline(x, s, z)
    cloth = (y < line).float()
    c.occlusion = c.occlusion * (1.0 - 0.28 * ramp(y - line, 0.05, 0.0) * (1.0 - cloth))
    pattern = weave(x, y, z, s, carry)
    ground, second, third = s.rgb("cloth"), s.rgb("weave"), s.rgb("trim")
    woven = tuple(a + (b - a) * pattern[0] for a, b in zip(ground, second, strict=True))
    fabric = tuple(w + (t - w) * pattern[1] for w, t in zip(woven, third, strict=True))
    c.cover(fabric, cloth)
    c.gloss = c.gloss * (1.0 - cloth)
    depth = line - y
    _paint_collar(c, x, y, depth, cloth)
    c.name("cloth", cloth > 0)
    return c


def _paint_collar(c: Canvas, x: Tensor, y: Tensor, depth: Tensor, cloth: Tensor) -> None:
    s, ax = c.s, x.abs()
    trim = s.rgb("trim")
    # crew and v-neck: a ribbed hem
    knit = ((s.collar == CREW) | (s.collar == V_NECK)).float() * cloth
    hem = ramp(depth, 0.055, 0.045)
    c.cover(tuple(k * 0.97 for k in trim), knit * hem)
    c.tint((0.72, 0.72, 0.75), knit * bump((depth - 0.056) * (depth - 0.056) * 6000.0) * 0.8)
    # shirt: two flaps, a placket and buttons
    shirt = (s.collar == SHIRT).float() * cloth
    flap = ramp(depth, 0.125, 0.118) * ramp(ax, 0.46, 0.40)
    ground = s.rgb("weave")
    c.cover(tuple(k * 0.98 for k in ground), shirt * flap)
    c.tint((0.58, 0.58, 0.62), shirt * bump((depth - 0.130) * (depth - 0.130) * 2600.0) * ramp(ax, 0.46, 0.40) * 0.8)
    placket = shirt * (1.0 - flap)
    c.tint((0.66, 0.66, 0.70), placket * bump((x - 0.035) * (x - 0.035) * 12000.0) * 0.8)
    by = (y + 0.02) * 9.0
    by = by - torch.floor(by + 0.5)
    button = (x * x) * 3600.0 + by * by * 40.0
    c.cover(tuple(k * 0.95 for k in trim), placket * ramp(button, 1.2, 0.8))
    # turtleneck: a soft roll
    roll = (s.collar == TURTLENECK).float() * cloth
    shade = ramp(y, -0.80, -0.84)
    c.tint((0.80, 0.80, 0.82), roll * bump((y + 0.83) * (y + 0.83) * 2200.0))
    c.occlusion = c.occlusion * (1.0 - 0.10 * roll * (1.0 - shade))


def _paint_necklace(c: Canvas, x: Tensor, y: Tensor) -> None:
    s, ax = c.s, x.abs()
    chain = -0.835 + 0.9 * ax * ax + 0.35 * (ax - 0.12).clamp(min=0.0)
    thick = torch.where(s.necklace == 2, 0.026, 0.0135)
    off = y - chain
    bead = x * 21.0
    bead = bead - torch.floor(bead + 0.5)
    pearl = bead * bead * 4.0 + off * off * (1.0 / 0.026**2)
    on_chain = (off.abs() < thick) & (s.necklace > 0)
    px, py = x * 21.0, (y + 0.885) * 17.0
    pendant = (s.necklace == 3) & (px * px + py * py < 1.0)
    is_pearl = s.necklace == 2
    string = on_chain & (~is_pearl | (pearl < 1.25))
    metal = s.rgb("metal")
    lustre = torch.where(is_pearl, 0.80 + 0.35 * bump(pearl * 0.7), 0.85 + 0.25 * bump(bead * bead * 7.0))
    pearls = (0.93, 0.90, 0.86)
    c.occlusion = c.occlusion * (1.0 - 0.25 * (s.necklace > 0).float() * bump((off + 0.02) * (off + 0.02) * 900.0))
    c.cover(tuple(torch.where(is_pearl, q, k) * lustre for q, k in zip(pearls, metal, strict=True)), string.float())
    gem = 0.75 + 0.45 * bump((px + 0.3) * (px + 0.3) + (py - 0.35) * (py - 0.35))
    c.cover(tuple(k * gem for k in metal), pendant.float())
    c.gloss = c.gloss + 0.10 * (string | pendant).float()
    c.name("neck_l", string | pendant)
