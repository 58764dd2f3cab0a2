"""A list of sample points of many images at once: the renderer works on the samples that need work, and on no others."""

import torch
from torch import Tensor


class Samples:
    """`idx` (n,) are flat positions in (b, r, r) buffers; `samples.name` is the measure `name` of each one's image."""

    def __init__(self, measures: dict[str, Tensor], idx: Tensor, per_image: int) -> None:
        self.measures, self.idx, self.per_image = measures, idx, per_image
        self.image = idx // per_image
        self._cache: dict[str, Tensor] = {}

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self.measures:
            raise AttributeError(name)
        if name not in self._cache:
            self._cache[name] = self.measures[name].index_select(0, self.image)
        return self._cache[name]

    def rgb(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """The colour measure `name`."""
        return getattr(self, f"{name}_r"), getattr(self, f"{name}_g"), getattr(self, f"{name}_b")

    def take(self, buffer: Tensor) -> Tensor:
        """The samples' values of a (b, r * r) buffer."""
        return buffer.reshape(-1).index_select(0, self.idx)

    def where(self, keep: Tensor) -> tuple["Samples", Tensor]:
        """The sub-list where `keep` holds, and its positions in this list."""
        rows = keep.nonzero().squeeze(1)
        return Samples(self.measures, self.idx.index_select(0, rows), self.per_image), rows


def march(
    field, s: Samples, o: tuple, d: tuple, t: Tensor, floor: Tensor, steps: int, tolerance: float, slowest: float
) -> tuple[Tensor, Tensor]:
    """Sphere tracing from the viewer's side: origins o, directions d towards the viewer (three (n,) each), starts t. Rays
    stop at the surface, or are lost behind `floor`. Returns the hits' flat positions and their t.

    `slowest`: the smallest rate of approach that the secant rule trusts (1 for thin sheets: plain sphere tracing).
    Every second step the list shrinks to the rays under way; a ray's path never depends on the others."""
    found_idx, found_t = [], []
    before = stride = None
    for step in range(steps):
        dist = field(o[0] + d[0] * t, o[1] + d[1] * t, o[2] + d[2] * t, s)
        # secant: a surface met at a slant comes nearer by less than the stride; stride on by as much more
        rate = 1.0 if stride is None else ((before - dist) / stride).clamp_(slowest, 1.1)
        before, stride = dist, dist / rate if stride is not None else dist * 1.0
        stride = torch.where(stride.abs() < 1e-6, 1e-6, stride)
        t = t - stride
        last = step == steps - 1
        if not last and step % 2 == 0:
            continue
        arrived = dist < tolerance if last else dist.abs() < 0.004
        keep = (arrived & (t > floor)).nonzero().squeeze(1)
        found_idx.append(s.idx.index_select(0, keep))
        found_t.append(t.index_select(0, keep))
        if last:
            break
        s, rows = s.where(~arrived & (t > floor))
        if not len(rows):
            break
        o, d = tuple(c.index_select(0, rows) for c in o), tuple(c.index_select(0, rows) for c in d)
        t, floor, before, stride = (c.index_select(0, rows) for c in (t, floor, before, stride))
    return torch.cat(found_idx), torch.cat(found_t)


def gradient(field, s: Samples, p: tuple, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The unit normal of the field at p by forward differences of step eps."""
    x, y, z = p
    base = field(x, y, z, s)
    g = (field(x + eps, y, z, s) - base, field(x, y + eps, z, s) - base, field(x, y, z + eps, s) - base)
    inv = 1.0 / (torch.sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2]) + 1e-9)
    return g[0] * inv, g[1] * inv, g[2] * inv


def sphere_start(o: tuple, d: tuple, centre: tuple, inv: tuple) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays (b, r) enter and leave a bounding ellipsoid: (hit mask, t of the near side, t of the far side)."""
    ax, ay, az = (o[0] - centre[0]) * inv[0], (o[1] - centre[1]) * inv[1], (o[2] - centre[2]) * inv[2]
    bx, by, bz = d[0] * inv[0], d[1] * inv[1], d[2] * inv[2]
    a = bx * bx + by * by + bz * bz
    b = ax * bx + ay * by + az * bz
    disc = b * b - a * (ax * ax + ay * ay + az * az - 1.0)
    root = torch.sqrt(disc.clamp(min=0.0))
    return disc > 0, (root - b) / a, (-b - root) / a
