"""Everything of a portrait, back to front: surfaces are traced, painted and lit, then earrings and glasses are laid over."""

import torch
from torch import Tensor

from pspnb.classes import CLASS_ID
from pspnb.world2.geometry import accessories, body, hair, head
from pspnb.world2.geometry.camera import Frame
from pspnb.world2.geometry.fields import bump, ramp
from pspnb.world2.geometry.pixels import Measures
from pspnb.world2.paint import cartoon
from pspnb.world2.paint.body import paint_body
from pspnb.world2.paint.canvas import RGB, Canvas
from pspnb.world2.paint.face import paint_head
from pspnb.world2.paint.hair import paint_hair
from pspnb.world2.paint.hats import paint_hat
from pspnb.world2.paint.light import highlight, shade, tone
from pspnb.world2.paint.patterns import wall
from pspnb.world2.scene import BODY, HAIR, HAT, HEAD, WALL, Scene, Surface

_HEAD = Surface(HEAD, "head", head.head_field, head.bound, head.BOUND_NEEDS, 10, 0.012, bulge=0.2)
_BODY = Surface(BODY, "body", body.body_field, lambda m: body.BOUND, ("jaw_w",), 10, 0.02, bulge=0.3)
_HAIRS = tuple(
    Surface(HAIR, "head", field, hair.bound, hair.BOUND_NEEDS, 20, 0.02, worn=worn) for worn, field in hair.FIELDS
)
_HATS = tuple(
    Surface(HAT, "head", field, accessories.hat_bound, accessories.BOUND_NEEDS, 24, 0.012, slowest=slowest, worn=worn)
    for worn, slowest, field in accessories.HAT_FIELDS
)


def draw(scene: Scene) -> None:
    """Fills the scene's colours and classes."""
    for surface in (_HEAD, *_HATS, *_HAIRS, _BODY):
        scene.trace(surface)
    _draw_wall(scene)
    if hits := scene.hits((_BODY,)):
        n = scene.normals((_BODY,), hits)
        _put(scene, paint_body(hits.s, hits.p, scene.carry), n, (0.35, 0.27, 0.24), 4)
    if hits := scene.hits((_HEAD,)):
        n = scene.normals((_HEAD,), hits)
        _put(scene, paint_head(hits.s, hits.p, scene.carry(22.0)), n, (0.50, 0.32, 0.26), 4)
    if hits := scene.hits(_HAIRS):
        n = scene.normals(_HAIRS, hits)
        if hits.s.cartoon:
            n = cartoon.rounded(hits.s, hits.p, n)
        _put(scene, paint_hair(hits.s, hits.p, n, scene.carry), n, (0.30, 0.27, 0.25), 4)
    if hits := scene.hits(_HATS):
        n = scene.normals(_HATS, hits)
        _put(scene, paint_hat(hits.s, hits.p, scene.carry), n, (0.35, 0.33, 0.32), 4)
    _draw_earrings(scene)
    _draw_glasses(scene)


def _put(scene: Scene, canvas: Canvas, n: RGB, wrap: tuple[float, float, float], sharpness: int) -> None:
    """Lights a canvas and writes it to the scene."""
    s, flat = canvas.s, canvas.flat
    if s.cartoon:
        _write(scene, canvas, cartoon.flat_tones(canvas, n, wrap, sharpness))
        return
    n = (n[0] * (1 - flat), n[1] * (1 - flat), n[2] + (1.0 - n[2]) * flat)
    gloss = canvas.gloss * highlight(n, s, sharpness)
    r, g, b = canvas.rgb
    lit = shade((r, g, b), n, s, wrap=wrap, gloss=gloss, occlusion=canvas.occlusion)
    _write(scene, canvas, (tone(lit[0]), tone(lit[1]), tone(lit[2])))


def _write(scene: Scene, canvas: Canvas, colour: RGB) -> None:
    for plane, c in zip(scene.colour, colour, strict=True):
        plane.index_copy_(0, canvas.s.idx, c)
    scene.label.index_copy_(0, canvas.s.idx, canvas.label)


def _draw_wall(scene: Scene) -> None:
    s = scene.samples(scene.surface == WALL)
    if not len(s.idx):
        return
    weight, bright = wall(s.take(scene.x), s.take(scene.y), s)
    bright = bright * (0.82 + 0.35 * s.key_g)
    for plane, a, b in zip(scene.colour, s.rgb("wall"), s.rgb("deco"), strict=True):
        plane.index_copy_(0, s.idx, tone((a + (b - a) * weight) * bright))


def earring_places(m: Measures, head: Frame) -> dict[str, Tensor]:
    """Where earrings hang, in camera coordinates, (b,) each; far away where none is worn, or where the ear points away from
    the viewer: there the cheek hides it, and what hangs from it."""
    out: dict[str, Tensor] = {}
    for side, name in ((-1.0, "earring_left"), (1.0, "earring_right")):
        lobe = [
            side * (m["ear_base"] + 0.004 + 0.6 * m["ear_out"]),
            -0.02 - m["ear_h"],
            torch.full_like(m["ear_h"], -0.02),
        ]
        x, y, z = (c[:, 0] for c in head.to_camera(*(c[:, None] for c in lobe)))
        seen = (m[name] > 0) & (side * head.matrix[:, 2, 0] > -0.25)
        out |= {f"{name}_x": torch.where(seen, x, 9.0), f"{name}_y": y, f"{name}_z": z}
    return out


def _draw_earrings(scene: Scene) -> None:
    for name in ("earring_left", "earring_right"):
        worn = scene.measures[name] > 0
        s = scene.samples(worn.index_select(0, scene.image) & (scene.y.abs() < 0.5))
        dx, dy = s.take(scene.x) - getattr(s, f"{name}_x"), s.take(scene.y) - getattr(s, f"{name}_y")
        cover = torch.where(s.take(scene.surface) == HAIR, 0.03, -0.05)  # what hangs in thick hair is not seen
        near = (dx.abs() < 0.12) & (dy.abs() < 0.20) & (getattr(s, f"{name}_z") - cover > s.take(scene.depth))
        s, rows = s.where(near)
        if not len(rows):
            continue
        dist, nx, ny = accessories.earring(dx.index_select(0, rows), dy.index_select(0, rows), getattr(s, name))
        s, rows = s.where(dist < 0)
        nx, ny = nx.index_select(0, rows) * 0.8, ny.index_select(0, rows) * 0.8
        nz = torch.sqrt((1.0 - nx * nx - ny * ny).clamp(min=0.05))
        c = Canvas(s, s.rgb("metal"), "ear_r")
        c.gloss = c.gloss + 0.55
        _put(scene, c, (nx, ny, nz), (0.25, 0.25, 0.25), 3)


def _draw_glasses(scene: Scene) -> None:
    s = scene.samples((scene.measures["glasses"] > 0).index_select(0, scene.image) & (scene.y.abs() < 0.6))
    if not len(s.idx):
        return
    t, x, y = accessories.glasses_sheet(*scene.along("head", s))
    s, rows = s.where((x.abs() < 0.46) & ((y - s.eye_y).abs() < 0.22) & (t > s.take(scene.depth)))
    x, y = x.index_select(0, rows), y.index_select(0, rows)
    outline, bridge = accessories.glasses_rim(x, y, s)
    width = torch.where(s.glasses == 2, 0.017, 0.012)
    rim = (outline.abs() < width) | (bridge < 0)
    tinted = (outline <= 0) & (s.glasses == 3)
    lens = (outline <= 0) & ~rim
    dark = ramp(y - s.eye_y, -0.16, 0.10) * 0.35 + 0.45
    slant = ((x.abs() - s.eye_x) + 0.6 * (y - s.eye_y)) * 7.0
    streak = bump(slant * 1.6 * slant)
    for plane, frame in zip(scene.colour, s.rgb("frame"), strict=True):
        was = s.take(plane)
        glass = was + (1.0 - was) * 0.07 + 0.05 * streak
        shaded = was + (frame * 0.35 + 0.03 - was) * dark + 0.10 * streak
        new = torch.where(lens, torch.where(tinted, shaded, glass), was)
        new = torch.where(rim, frame * (0.75 + 0.35 * s.key_g) + 0.12 * ramp(outline, 0.0, -width), new)
        plane.index_copy_(0, s.idx, new.clamp(0.0, 1.0))
    label = s.take(scene.label)
    scene.label.index_copy_(0, s.idx, torch.where(rim | tinted, CLASS_ID["eye_g"], label.long()).to(torch.uint8))
