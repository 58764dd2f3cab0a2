"""One chunk of portraits: which surface every sample sees, then its colour and class."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pspnb.classes import CLASS_ID
from pspnb.facets.geometry import accessories, body, hair, head
from pspnb.facets.geometry.camera import ZOOM, Frame
from pspnb.facets.geometry.fields import bump, ramp
from pspnb.facets.geometry.pixels import Samples, gradient, march, sphere_start
from pspnb.facets.paint.body import paint_body
from pspnb.facets.paint.canvas import Canvas
from pspnb.facets.paint.face import paint_head
from pspnb.facets.paint.hair import paint_hair
from pspnb.facets.paint.hats import paint_hat
from pspnb.facets.paint.light import highlight, shade, tone
from pspnb.facets.paint.patterns import wall

RGB = tuple[Tensor, Tensor, Tensor]
WALL, BODY, HEAD, HAIR, HAT = 0, 1, 2, 3, 4


class Hits(NamedTuple):
    """The samples that see a surface: their list, the points in the surface's frame."""

    s: Samples
    p: RGB


@dataclass
class Scene:
    """The buffers (b, r * r) of a chunk: image points, depth of the nearest surface, its number, colours, classes."""

    measures: dict[str, Tensor]
    head: Frame
    body: Frame
    x: Tensor
    y: Tensor
    size: int
    depth: Tensor
    surface: Tensor
    colour: list[Tensor]
    label: Tensor
    rays: dict[str, tuple[RGB, RGB]] = field(default_factory=dict)

    @classmethod
    def build(
        cls, measures: dict[str, Tensor], head: Frame, body: Frame, size: int, ss: int, device: torch.device
    ) -> "Scene":
        """Sample points at the centres of an r x r grid, r = size * ss."""
        r = size * ss
        line = ((torch.arange(r, device=device).float() + 0.5) * (2.0 / r) - 1.0) * (1.0 / ZOOM)
        x, y = line.repeat(r)[None], (-line).repeat_interleave(r)[None]
        b = len(measures["eye_x"])
        shape = (b, r * r)
        scene = cls(
            measures, head, body, x, y, size,
            torch.full(shape, -9.0, device=device), torch.zeros(shape, dtype=torch.uint8, device=device),
            [torch.zeros(shape, device=device) for _ in range(3)], torch.zeros(shape, dtype=torch.uint8, device=device),
        )  # fmt: skip
        for name, frame in (("head", head), ("body", body)):
            m = frame.matrix
            scene.rays[name] = (frame.origin(x, y), (m[:, 2, 0, None], m[:, 2, 1, None], m[:, 2, 2, None]))
        return scene

    def carry(self, cycles: float) -> float:
        """How much of a pattern of so many cycles per unit length the pixels can carry: 1 below 0.2 cycles a pixel, 0 above 0.4."""
        t = min(1.0, max(0.0, (0.4 - 2.0 * cycles / self.size) * 5.0))
        return t * t * (3.0 - 2.0 * t)

    def samples(self, mask: Tensor) -> Samples:
        """The samples where a (b, r * r) mask holds."""
        return Samples(self.measures, mask.reshape(-1).nonzero().squeeze(1), self.depth.shape[1])

    def along(self, name: str, s: Samples) -> tuple[RGB, RGB]:
        """Origins and directions of the samples' rays in a frame."""
        o, d = self.rays[name]
        return tuple(s.take(c) for c in o), tuple(c[:, 0].index_select(0, s.image) for c in d)  # type: ignore[return-value]


def _trace(
    scene: Scene,
    frame: str,
    geometry_field,
    bound,
    number: int,
    *,
    steps: int,
    tolerance: float,
    slowest=0.55,
    only=None,
    bulge=None,
) -> None:
    """Marches a surface and keeps the hits that lie before what is there already. `bulge`: of a nearly convex body, how far
    behind the middle of a ray's chord it may still be seen."""
    o, d = scene.rays[frame]
    inside, near, far = sphere_start(o, d, *bound)
    if bulge is not None:
        far = torch.maximum(far, (near + far) * 0.5 - bulge)
    if only is not None:
        inside = inside & only[:, None]
    s = scene.samples(inside & (near > scene.depth))
    if not len(s.idx):
        return
    so, sd = scene.along(frame, s)
    floor = torch.maximum(s.take(far), s.take(scene.depth))
    idx, t = march(geometry_field, s, so, sd, s.take(near), floor, steps, tolerance, slowest)
    scene.depth.view(-1).index_copy_(0, idx, t)
    scene.surface.view(-1).index_fill_(0, idx, number)


def _hits(scene: Scene, frame: str, number: int) -> Hits | None:
    s = scene.samples(scene.surface == number)
    if not len(s.idx):
        return None
    o, d = scene.along(frame, s)
    t = s.take(scene.depth)
    return Hits(s, (o[0] + d[0] * t, o[1] + d[1] * t, o[2] + d[2] * t))


def _normal(scene: Scene, frame: Frame, geometry_field, hits: Hits) -> tuple[RGB, RGB]:
    """Normals in the frame and in the camera."""
    n = gradient(geometry_field, hits.s, hits.p, 0.004)
    m = frame.matrix
    cam = tuple(
        m[:, i, 0].index_select(0, hits.s.image) * n[0]
        + m[:, i, 1].index_select(0, hits.s.image) * n[1]
        + m[:, i, 2].index_select(0, hits.s.image) * n[2]
        for i in range(3)
    )
    return n, cam  # type: ignore[return-value]


def _put(scene: Scene, canvas: Canvas, n: RGB, wrap: tuple[float, float, float], sharpness: int) -> None:
    """Lights a canvas and writes it to the buffers."""
    s, flat = canvas.s, canvas.flat
    n = (n[0] * (1 - flat), n[1] * (1 - flat), n[2] + (1.0 - n[2]) * flat)
    gloss = canvas.gloss * highlight(n, s, sharpness)
    r, g, b = canvas.rgb
    lit = shade((r, g, b), n, s, wrap=wrap, gloss=gloss, occlusion=canvas.occlusion)
    for plane, c in zip(scene.colour, lit, strict=True):
        plane.view(-1).index_copy_(0, s.idx, tone(c))
    scene.label.view(-1).index_copy_(0, s.idx, canvas.label)


def draw(scene: Scene) -> tuple[list[Tensor], Tensor]:
    """All samples' colours (three (b, r * r) planes in [0, 1]) and classes (b, r * r)."""
    m = scene.measures
    _trace(scene, "head", head.head_field, head.BOUND, HEAD, steps=10, tolerance=0.012, bulge=0.2)
    _trace(
        scene,
        "head",
        accessories.hat_field,
        accessories.HAT_BOUND,
        HAT,
        steps=24,
        tolerance=0.012,
        slowest=1.0,
        only=m["hat"] > 0,
    )
    _trace(scene, "head", hair.hair_field, hair.bound(m), HAIR, steps=20, tolerance=0.02, only=m["hair_top"] > 0)
    _trace(scene, "body", body.body_field, body.BOUND, BODY, steps=10, tolerance=0.02, bulge=0.3)
    _draw_wall(scene)
    strand = scene.carry(22.0)
    if hits := _hits(scene, "body", BODY):
        _, n = _normal(scene, scene.body, body.body_field, hits)
        _put(scene, paint_body(hits.s, hits.p, scene.carry), n, (0.35, 0.27, 0.24), 4)
    if hits := _hits(scene, "head", HEAD):
        _, n = _normal(scene, scene.head, head.head_field, hits)
        _put(scene, paint_head(hits.s, hits.p, strand), n, (0.50, 0.32, 0.26), 4)
    if hits := _hits(scene, "head", HAIR):
        local, n = _normal(scene, scene.head, hair.hair_field, hits)
        _put(scene, paint_hair(hits.s, hits.p, local, scene.carry), n, (0.30, 0.27, 0.25), 4)
    if hits := _hits(scene, "head", HAT):
        _, n = _normal(scene, scene.head, accessories.hat_field, hits)
        _put(scene, paint_hat(hits.s, hits.p, scene.carry), n, (0.35, 0.33, 0.32), 4)
    _draw_earrings(scene)
    _draw_glasses(scene)
    return scene.colour, scene.label


def _draw_wall(scene: Scene) -> None:
    s = scene.samples(scene.surface == WALL)
    x, y = (c[0].index_select(0, s.idx - s.image * s.per_image) for c in (scene.x, scene.y))
    weight, bright = wall(x, y, s)
    for plane, a, b in zip(scene.colour, s.rgb("wall"), s.rgb("deco"), strict=True):
        plane.view(-1).index_copy_(0, s.idx, tone((a + (b - a) * weight) * bright * (0.82 + 0.35 * s.key_g)))


def _draw_earrings(scene: Scene) -> None:
    m = scene.measures
    for side, name in ((-1.0, "earring_left"), (1.0, "earring_right")):
        # an ear that points away from the viewer is hidden behind the cheek, and so is what hangs from it
        worn = (m[name] > 0) & (side * scene.head.matrix[:, 2, 0] > -0.25)
        if not bool(worn.any()):
            continue
        lobe_x = side * (m["head_w"] + 0.004 + 0.6 * m["ear_out"])
        px, py, pz = scene.head.to_camera(
            lobe_x[:, None], (-0.02 - m["ear_h"])[:, None], torch.full_like(lobe_x, -0.02)[:, None]
        )
        near = ((scene.x - px).abs() < 0.12) & ((scene.y - py).abs() < 0.20) & worn[:, None] & (pz + 0.05 > scene.depth)
        s = scene.samples(near)
        if not len(s.idx):
            continue
        row = s.idx - s.image * s.per_image
        dx = scene.x[0].index_select(0, row) - px[:, 0].index_select(0, s.image)
        dy = scene.y[0].index_select(0, row) - py[:, 0].index_select(0, s.image)
        dist, nx, ny = accessories.earring(dx, dy, getattr(s, name))
        s, rows = s.where(dist < 0)
        nx, ny = nx.index_select(0, rows) * 0.8, ny.index_select(0, rows) * 0.8
        nz = torch.sqrt((1.0 - nx * nx - ny * ny).clamp(min=0.05))
        c = Canvas(s, s.rgb("metal"), "ear_r")
        c.gloss = c.gloss + 0.55
        _put(scene, c, (nx, ny, nz), (0.25, 0.25, 0.25), 3)


def _draw_glasses(scene: Scene) -> None:
    m = scene.measures
    worn = m["glasses"] > 0
    if not bool(worn.any()):
        return
    o, d = scene.rays["head"]
    t, x, y = accessories.glasses_sheet(o, d)
    near = worn[:, None] & (x.abs() < 0.44) & ((y - m["eye_y"][:, None]).abs() < 0.22) & (t > scene.depth)
    s = scene.samples(near)
    if not len(s.idx):
        return
    x, y = s.take(x), s.take(y)
    outline, bridge = accessories.glasses_rim(x, y, s)
    width = torch.where(s.glasses == 2, 0.017, 0.012)
    rim = (outline.abs() < width) | (bridge < 0)
    tinted = (outline <= 0) & (s.glasses == 3)
    lens = (outline <= 0) & ~rim
    old = [s.take(plane) for plane in scene.colour]
    dark = ramp(y - s.eye_y, -0.16, 0.10) * 0.35 + 0.45
    slant = (x + 0.6 * y) * 7.0 - torch.floor((x + 0.6 * y) * 2.0) * 3.5 - 1.6
    streak = bump(slant * 1.6 * slant)
    for plane, was, frame in zip(scene.colour, old, s.rgb("frame"), strict=True):
        glass = was + (1.0 - was) * 0.07 + 0.05 * streak
        shaded = was + (frame * 0.35 + 0.03 - was) * dark + 0.10 * streak
        new = torch.where(lens, torch.where(tinted, shaded, glass), was)
        new = torch.where(rim, frame * (0.75 + 0.35 * s.key_g) + 0.12 * ramp(outline, 0.0, -width), new)
        plane.view(-1).index_copy_(0, s.idx, new.clamp(0.0, 1.0))
    label = s.take(scene.label)
    scene.label.view(-1).index_copy_(
        0, s.idx, torch.where(rim | tinted, CLASS_ID["eye_g"], label.long()).to(torch.uint8)
    )
