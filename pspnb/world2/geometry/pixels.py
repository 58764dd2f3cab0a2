"""Lists of sample points of many images at once: the renderer works on the samples that need work, and on no others."""

from typing import Literal

import torch
from torch import Tensor

Style = Literal["photo", "cartoon"]
"""How the same scene is drawn: soft light and fine texture, or flat tones and ink lines."""


class Measures(dict[str, Tensor]):
    """Floats per image, (b,) each, `has`: which parts and kinds occur at all in the chunk (known before anything is drawn, so
    that skipping a part never waits for a GPU), and the style in which the chunk is drawn."""

    has: frozenset[str] = frozenset()
    style: Style = "photo"

    def to(self, device: torch.device) -> "Measures":
        """On another device."""
        out = Measures({k: v.to(device) for k, v in self.items()})
        out.has, out.style = self.has, self.style
        return out


class Measured:
    """Sample points of several images for the fields: `points.name` is the measure `name` of each point's image."""

    measures: Measures

    def __init__(self) -> None:
        self._cache: dict[str, Tensor] = {}

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self.measures:
            raise AttributeError(name)
        if name not in self._cache:
            self._cache[name] = self._of_each(self.measures[name])
        return self._cache[name]

    def _of_each(self, measure: Tensor) -> Tensor:
        raise NotImplementedError

    def has(self, part: str) -> bool:
        """Whether any image of the chunk has the part (a measure above 0, or a kind as in "hat=1")."""
        return part in self.measures.has

    @property
    def cartoon(self) -> bool:
        """Whether the samples are drawn as a cartoon."""
        return self.measures.style == "cartoon"

    def rgb(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """The colour measure `name`."""
        return getattr(self, f"{name}_r"), getattr(self, f"{name}_g"), getattr(self, f"{name}_b")


class Samples(Measured):
    """A list: `idx` (n,) are places in the scene's list of sample points, `image` (n,) their images."""

    def __init__(self, measures: Measures, idx: Tensor, image: Tensor) -> None:
        super().__init__()
        self.measures, self.idx, self.image = measures, idx, image

    def _of_each(self, measure: Tensor) -> Tensor:
        return measure.index_select(0, self.image)

    def take(self, buffer: Tensor) -> Tensor:
        """The samples' values of a buffer with one value for each point of the scene."""
        return buffer.index_select(0, self.idx)

    def where(self, keep: Tensor) -> tuple["Samples", Tensor]:
        """The sub-list where `keep` holds, and its positions in this list."""
        rows = keep.nonzero().squeeze(1)
        return Samples(self.measures, self.idx.index_select(0, rows), self.image.index_select(0, rows)), rows


class Rows(Measured):
    """A list of samples laid out as a table, a row for each image that has any, so that measures are columns and nothing has
    to be gathered: on a CPU a gather costs eight multiplications. Rows are filled up with samples that `unpack` leaves out.
    The list must be sorted by image."""

    def __init__(self, s: Samples) -> None:
        super().__init__()
        count = torch.bincount(s.image, minlength=len(s.measures["eye_x"]))
        self.measures = s.measures
        self.images = count.nonzero().squeeze(1)
        count = count.index_select(0, self.images)
        first = count.cumsum(0) - count
        place = torch.arange(int(count.max()), device=s.image.device)
        self._pack = (first[:, None] + torch.minimum(place, count[:, None] - 1)).view(-1)
        self._shape = (len(count), len(place))
        row = torch.arange(len(count), device=s.image.device).repeat_interleave(count, output_size=len(s.image))
        self._unpack = torch.arange(len(s.image), device=s.image.device) + (
            row * len(place) - first.index_select(0, row)
        )

    def _of_each(self, measure: Tensor) -> Tensor:
        return measure.index_select(0, self.images)[:, None]

    def pack(self, values: Tensor) -> Tensor:
        """A list of values as a table."""
        return values.index_select(0, self._pack).view(self._shape)

    def unpack(self, table: Tensor) -> Tensor:
        """A table's values as a list."""
        return table.reshape(-1).index_select(0, self._unpack)


def march(
    field,
    s: Samples,
    o: tuple,
    d: tuple,
    t: Tensor,
    floor: Tensor,
    steps: int,
    tolerance: float,
    slowest: float,
    blind: int,
) -> tuple[Tensor, Tensor]:
    """Sphere tracing from the viewer's side: origins o, directions d towards the viewer (three (n,) each), starts t. Rays
    stop at the surface, or are lost behind `floor`. Returns the hits' places and their t.

    `slowest`: the smallest rate of approach that the secant rule trusts (1 for thin sheets: plain sphere tracing). After
    `blind` steps, and then at every second one, the list shrinks to the rays under way; a ray's path never depends on the
    others. `steps` and `blind` are even."""
    rows = Rows(s)
    along = tuple(rows.pack(c) for c in o), tuple(rows.pack(c)[:, :1] for c in d)
    t, dist, stride = _step(field, rows, along, rows.pack(t), None, None, slowest)
    for _ in range(1, blind):
        t, dist, stride = _step(field, rows, along, t, dist, stride, slowest)
    t, dist, stride = rows.unpack(t), rows.unpack(dist), rows.unpack(stride)
    along = o, d
    found_idx, found_t = [], []
    for done in range(blind, steps + 1, 2):
        last = done == steps
        arrived = dist < tolerance if last else dist.abs() < 0.004
        ahead = t > floor
        keep = (arrived & ahead).nonzero().squeeze(1)
        found_idx.append(s.idx.index_select(0, keep))
        found_t.append(t.index_select(0, keep))
        if last:
            break
        s, left = s.where(~arrived & ahead)
        if not len(left):
            break
        along = tuple(c.index_select(0, left) for c in along[0]), tuple(c.index_select(0, left) for c in along[1])
        t, dist, stride, floor = (c.index_select(0, left) for c in (t, dist, stride, floor))
        for _ in range(2):
            t, dist, stride = _step(field, s, along, t, dist, stride, slowest)
    return torch.cat(found_idx), torch.cat(found_t)


def _step(
    field, s: Measured, along: tuple, t: Tensor, before: Tensor | None, stride: Tensor | None, slowest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of every ray: the new t, the distance measured at the old one, and the stride that followed from it."""
    o, d = along
    dist = field(o[0] + d[0] * t, o[1] + d[1] * t, o[2] + d[2] * t, s)
    if before is None or stride is None:
        stride = dist
    else:
        # secant: a surface met at a slant comes nearer by less than the stride; stride on by as much more
        stride = dist / ((before - dist) / stride).clamp_(slowest, 1.1)
    # never exactly zero, since the next step divides by it
    stride = stride + (stride.abs() < 1e-6) * 2e-6
    return t - stride, dist, stride


def gradient(field, s: Samples, p: tuple, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The unit normal of the field at p by forward differences of step eps."""
    rows = Rows(s)
    x, y, z = (rows.pack(c) for c in p)
    base = field(x, y, z, rows)
    gx, gy, gz = (
        field(x + eps, y, z, rows) - base, field(x, y + eps, z, rows) - base, field(x, y, z + eps, rows) - base
    )  # fmt: skip
    inv = 1.0 / (torch.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9)
    return rows.unpack(gx * inv), rows.unpack(gy * inv), rows.unpack(gz * inv)


def sphere_start(o: tuple, d: tuple, centre: tuple, inv: tuple) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays (b, r) enter and leave a bounding ellipsoid: (hit mask, t of the near side, t of the far side)."""
    ax, ay, az = (o[0] - centre[0]) * inv[0], (o[1] - centre[1]) * inv[1], (o[2] - centre[2]) * inv[2]
    bx, by, bz = d[0] * inv[0], d[1] * inv[1], d[2] * inv[2]
    a = bx * bx + by * by + bz * bz
    b = ax * bx + ay * by + az * bz
    disc = b * b - a * (ax * ax + ay * ay + az * az - 1.0)
    root = torch.sqrt(disc.clamp(min=0.0))
    return disc > 0, (root - b) / a, (-b - root) / a
