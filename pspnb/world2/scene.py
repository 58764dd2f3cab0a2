"""A list of sample points and which surface each of them sees.

A picture is drawn twice: once with a sample in the middle of every pixel (`Scene.grid`), then with many samples in the
pixels that differ from a neighbour (`Scene.edges`, `Scene.around`): outlines, lids, lips, the edges of patterns. About two
thirds of the pixels need no second look. The second drawing also knows from the first where each surface is near.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pspnb.world2.geometry.camera import ZOOM
from pspnb.world2.geometry.pixels import Measures, Samples, gradient, march, sphere_start

RGB = tuple[Tensor, Tensor, Tensor]
WALL, BODY, HEAD, HAIR, HAT = 0, 1, 2, 3, 4
_NOWHERE = -9.0
_CONTRAST = 0.085  # difference of a colour channel (0 to 1) between neighbours that asks for more samples
_FACING = 0.4  # the smallest normal component towards the viewer at which a surface is taken for flat within a pixel


@dataclass(frozen=True)
class Surface:
    """How a surface is found: its field, the frame it lives in, a bounding ellipsoid (from the measures `bound_needs`), and
    how its rays march (see `march`). `bulge`: of a nearly convex body, how far behind the middle of a ray's chord it may
    still be seen. `worn`: the measure that is above 0 in the images that have it; kinds of hair are surfaces of one number.
    """

    number: int
    frame: str
    field: Callable[..., Tensor]
    bound: Callable[[dict[str, Tensor]], tuple[tuple, tuple]]
    bound_needs: tuple[str, ...]
    steps: int
    tolerance: float
    slowest: float = 0.55
    bulge: float | None = None
    worn: str | None = None


def _widest(a: Tensor) -> Tensor:
    """The largest value in each place's three by three neighbourhood, (b, s, s)."""
    for axis in (2, 1):
        n = a.shape[axis] - 1
        out = a.clone()
        low, high = out.narrow(axis, 0, n), out.narrow(axis, 1, n)
        torch.maximum(low, a.narrow(axis, 1, n), out=low)
        torch.maximum(high, a.narrow(axis, 0, n), out=high)
        a = out
    return a


class Hits(NamedTuple):
    """The samples that see a surface: their list, the points in the surface's frame."""

    s: Samples
    p: RGB


@dataclass
class Known:
    """What a first look at a pixel tells about samples in it: the surface met `first`, its normal, and the depth that follows.
    `smooth`: the whole pixel lies within that surface; elsewhere each surface is looked for between the depths `near[number]`."""

    first: Tensor
    smooth: Tensor
    depth: Tensor
    normal: RGB
    near: dict[int, tuple[Tensor, Tensor]]


@dataclass
class Scene:
    """Sample points (n,): image point, image number, depth and number of the nearest surface, colour in [0, 1], class."""

    measures: Measures
    size: int
    image: Tensor
    x: Tensor
    y: Tensor
    known: Known | None = None
    depth: Tensor = field(init=False)
    surface: Tensor = field(init=False)
    colour: list[Tensor] = field(init=False)
    label: Tensor = field(init=False)
    normal: list[Tensor] = field(init=False)
    rays: dict[str, RGB] = field(init=False)

    def __post_init__(self) -> None:
        self.depth = torch.full_like(self.x, _NOWHERE)
        if self.known is not None:
            self.depth = torch.where(self.known.smooth, self.known.depth, _NOWHERE)
        self.surface = (
            torch.zeros_like(self.x, dtype=torch.uint8) if self.known is None else self.known.first * self.known.smooth
        )
        self.normal = [torch.zeros_like(self.x) for _ in range(3)] if self.known is None else list(self.known.normal)
        self.colour = [torch.zeros_like(self.x) for _ in range(3)]
        self.label = torch.zeros_like(self.surface)
        everything = Samples(self.measures, self.image, self.image)
        self.rays = {name: self._origins(name, everything) for name in ("head", "body")}

    def _origins(self, name: str, s: Samples) -> RGB:
        return tuple(  # type: ignore[return-value]
            getattr(s, f"{name}_x{i}") * self.x + getattr(s, f"{name}_y{i}") * self.y + getattr(s, f"{name}_o{i}")
            for i in range(3)
        )

    @classmethod
    def grid(cls, measures: Measures, n: int, size: int) -> "Scene":
        """The middles of all pixels of n images."""
        device = measures["eye_x"].device
        line = ((torch.arange(size, device=device).float() + 0.5) * (2.0 / size) - 1.0) * (1.0 / ZOOM)
        image = torch.arange(n, device=device).repeat_interleave(size * size)
        return cls(measures, size, image, line.repeat(size).repeat(n), (-line).repeat_interleave(size).repeat(n))

    def edges(self) -> Tensor:
        """Of a grid, the pixels that differ from one beside, above or below them in class or colour."""
        label = self.label.view(-1, self.size, self.size)
        colour = [c.view_as(label) for c in self.colour]
        found = torch.zeros_like(label, dtype=torch.bool)
        for axis in (1, 2):
            one, two = (lambda a, k=k, axis=axis: a.narrow(axis, k, self.size - 1) for k in (0, 1))
            differs = one(label) != two(label)
            for c in colour:
                differs |= (one(c) - two(c)).abs() > _CONTRAST
            one(found).logical_or_(differs)
            two(found).logical_or_(differs)
        return found.view(-1).nonzero().squeeze(1)

    def around(self, pixels: Tensor, ss: int) -> "Scene":
        """ss x ss samples in each of these pixels: sample k of pixel i is point i * ss * ss + k."""
        step = 2.0 / (ZOOM * self.size)
        offsets = [((k + 0.5) * (1.0 / ss) - 0.5) * step for k in range(ss)]
        dx = torch.tensor(offsets, device=self.x.device).repeat(ss)
        dy = torch.tensor(offsets, device=self.x.device).repeat_interleave(ss)
        x, y = self.x.index_select(0, pixels)[:, None] + dx, self.y.index_select(0, pixels)[:, None] - dy
        every = lambda a: a.index_select(0, pixels).repeat_interleave(ss * ss)  # noqa: E731
        n = [c.index_select(0, pixels)[:, None] for c in self.normal]
        smooth = self._smooth().index_select(0, pixels)
        tilt = (n[0] * dx - n[1] * dy) * (1.0 / n[2].clamp(min=_FACING))
        depth = (self.depth.index_select(0, pixels)[:, None] - tilt).view(-1)
        smooth = smooth.repeat_interleave(ss * ss)
        near = {k: tuple(every(v) for v in self._near(k)) for k in (BODY, HEAD, HAIR, HAT)}
        known = Known(every(self.surface), smooth, depth, tuple(every(c) for c in self.normal), near)  # type: ignore[arg-type]
        return Scene(self.measures, self.size, every(self.image), x.view(-1), y.view(-1), known)

    def _smooth(self) -> Tensor:
        """The pixels whose three by three neighbourhood lies on one surface that faces the viewer and makes no step."""
        number = self.surface.view(-1, self.size, self.size).float()
        depth = self.depth.view_as(number)
        same = (_widest(number) == number) & (_widest(-number) == -number)
        even = (_widest(depth) + _widest(-depth) < 0.12) & (self.normal[2].view_as(number) > _FACING)
        return (same & (even | (number == WALL))).view(-1)

    def _near(self, number: int) -> tuple[Tensor, Tensor]:
        """Nearest and farthest depth of a surface in each pixel's three by three neighbourhood, with a margin."""
        on = (self.surface == number).view(-1, self.size, self.size)
        depth = self.depth.view_as(on)
        front = _widest(torch.where(on, depth, _NOWHERE))
        back = _widest(torch.where(on, -depth, _NOWHERE))
        return (front + 0.03).view(-1), (-back - 0.15).view(-1)

    def carry(self, cycles: float) -> float:
        """How much of a pattern of so many cycles per unit length the pixels can carry: 1 below 0.2 cycles a pixel, 0 above 0.4;
        a cartoon has no such patterns."""
        if self.measures.style == "cartoon":
            return 0.0
        t = min(1.0, max(0.0, (0.4 - 2.0 * cycles / self.size) * 5.0))
        return t * t * (3.0 - 2.0 * t)

    def samples(self, mask: Tensor) -> Samples:
        """The points where a mask (n,) holds."""
        idx = mask.nonzero().squeeze(1)
        return Samples(self.measures, idx, self.image.index_select(0, idx))

    def along(self, name: str, s: Samples) -> tuple[RGB, RGB]:
        """Origins and directions of the samples' rays in a frame."""
        o = tuple(s.take(c) for c in self.rays[name])
        return o, (getattr(s, f"{name}_d0"), getattr(s, f"{name}_d1"), getattr(s, f"{name}_d2"))  # type: ignore[return-value]

    def _candidates(self, surface: Surface) -> tuple[Samples, Tensor, Tensor]:
        """The samples that may see a surface, and the depths between which it is looked for."""
        if self.known is None:
            return self._within_bound(surface)
        first, end = self.known.near[surface.number]
        start = torch.where(self.known.first == surface.number, torch.minimum(self.known.depth + 0.02, first), first)
        s = self.samples(~self.known.smooth & (start > self.depth) & (start > -5.0))
        if surface.worn is not None:
            s, _ = s.where(getattr(s, surface.worn) > 0)
        return s, s.take(start), s.take(end)

    def _within_bound(self, surface: Surface) -> tuple[Samples, Tensor, Tensor]:
        m, b = self.measures, len(self.measures["eye_x"])
        worn = (
            torch.arange(b, device=self.x.device)
            if surface.worn is None
            else (m[surface.worn] > 0).nonzero().squeeze(1)
        )
        o = tuple(c.view(b, -1).index_select(0, worn) for c in self.rays[surface.frame])
        d = tuple(m[f"{surface.frame}_d{i}"].index_select(0, worn)[:, None] for i in range(3))
        shape = {k: m[k].index_select(0, worn) for k in surface.bound_needs}
        inside, near, far = sphere_start(o, d, *surface.bound(shape))
        if surface.bulge is not None:
            far = torch.maximum(far, (near + far) * 0.5 - surface.bulge)
        rows = (inside & (near > self.depth.view(b, -1).index_select(0, worn))).view(-1).nonzero().squeeze(1)
        per_image = self.size * self.size
        image = worn.index_select(0, rows // per_image)
        s = Samples(m, image * per_image + rows % per_image, image)
        return s, near.view(-1).index_select(0, rows), far.view(-1).index_select(0, rows)

    def trace(self, surface: Surface) -> None:
        """Marches a surface and keeps the hits that lie before what is there already."""
        if surface.worn is not None and surface.worn not in self.measures.has:
            return
        s, start, end = self._candidates(surface)
        if not len(s.idx):
            return
        o, d = self.along(surface.frame, s)
        floor = torch.maximum(end, s.take(self.depth))
        idx, t = march(
            surface.field, s, o, d, start, floor, surface.steps, surface.tolerance, surface.slowest,
            4 if self.known is None else 2,
        )  # fmt: skip
        self.depth.index_copy_(0, idx, t)
        self.surface.index_fill_(0, idx, surface.number)

    def hits(self, surfaces: tuple[Surface, ...]) -> Hits | None:
        """Where one of the surfaces of one number is seen, after all have been traced."""
        s = self.samples(self.surface == surfaces[0].number)
        if not len(s.idx):
            return None
        o, d = self.along(surfaces[0].frame, s)
        t = s.take(self.depth)
        return Hits(s, (o[0] + d[0] * t, o[1] + d[1] * t, o[2] + d[2] * t))

    def normals(self, surfaces: tuple[Surface, ...], hits: Hits) -> RGB:
        """Unit normals in the camera's frame. Of a second look, only where the first one saw another surface."""
        s, p = hits
        if self.known is not None:
            s, rows = s.where(s.take(self.known.first) != surfaces[0].number)
            p = tuple(c.index_select(0, rows) for c in p)  # type: ignore[assignment]
        for surface in surfaces:
            if surface.worn is None:
                self._write_normals(surface, s, p)
            elif surface.worn in self.measures.has:
                sub, rows = s.where(getattr(s, surface.worn) > 0)
                self._write_normals(surface, sub, tuple(c.index_select(0, rows) for c in p))  # type: ignore[arg-type]
        return tuple(hits.s.take(c) for c in self.normal)  # type: ignore[return-value]

    def _write_normals(self, surface: Surface, s: Samples, p: RGB) -> None:
        if not len(s.idx):
            return
        n = gradient(surface.field, s, p, 0.004)
        for plane, row in zip(self.normal, "xyd", strict=True):
            m = [getattr(s, f"{surface.frame}_{row}{i}") for i in range(3)]
            plane.index_copy_(0, s.idx, m[0] * n[0] + m[1] * n[1] + m[2] * n[2])
