"""The cartoon's ink: lines where one thing ends and another begins, as wide in the picture at every resolution.

Lines are found between the samples of a fine grid (all samples of the pixels that were looked at twice, one for each other pixel),
grow to their width there and are averaged like everything else. Chapter "Another domain".
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.classes import CLASSES
from pspnb.world2.geometry.camera import ZOOM
from pspnb.world2.scene import HAIR, WALL, Scene

# Half widths of lines in head units (a head is about 1.1 high).
SILHOUETTE, PART, FINE, FOLD = 0.017, 0.012, 0.008, 0.010
INK = (0.13, 0.09, 0.11)
_KEEPS = 0.22  # share of a colour's own tone that shows through its line
_JUMP, _JUMP_OF_HAIR = 0.07, 0.13  # step in depth between neighbours, in head units, that is a fold; curls are none
_NONE = -9.0
_FACING = 0.2  # slopes of surfaces that are seen more from the side are not followed further
_PARTS = ("hair", "hat", "skin", "neck", "cloth")
_COVERS = ("hair", "hat")
_SMALL = ("ear_r", "neck_l")


def _widths() -> tuple[float, ...]:
    """Half width of the line between each two classes, as a flat table."""
    return tuple(_width({a, b}) for a in CLASSES for b in CLASSES)


def _width(pair: set[str]) -> float:
    if len(pair) == 1:
        return _NONE
    if pair & set(_SMALL):
        return FINE
    if "background" in pair:
        return SILHOUETTE
    # features of a face are drawn, not outlined
    return PART if pair & set(_COVERS) or pair <= set(_PARTS) else _NONE


class FineGrid:
    """The samples of two looks at a picture as one grid of (s * ss)^2: those of `fine` in `pixels`, each other pixel's own."""

    def __init__(self, scene: Scene, fine: Scene | None, pixels: Tensor, ss: int) -> None:
        self.scene, self.fine, self.pixels, self.ss = scene, fine, pixels, ss

    def plane(self, coarse: Tensor, fine: Tensor | None) -> Tensor:
        """Values of both looks, (b, s * ss, s * ss)."""
        return self._laid_out(self._both(coarse, fine))

    def depth(self) -> Float[Tensor, " b t t"]:
        """Depths; within a pixel that was looked at once they follow its normal."""
        scene, ss = self.scene, self.ss
        step = self.step * ss
        offsets = torch.tensor([((k + 0.5) * (1.0 / ss) - 0.5) * step for k in range(ss)], device=scene.x.device)
        dx, dy = offsets.repeat(ss), offsets.repeat_interleave(ss)
        slope = 1.0 / scene.normal[2].clamp(min=_FACING)
        across, down = (scene.normal[0] * slope)[:, None], (scene.normal[1] * slope)[:, None]
        values = scene.depth[:, None] - (across * dx - down * dy)
        if self.fine is not None:
            values.index_copy_(0, self.pixels, self.fine.depth.view(-1, ss * ss))
        return self._laid_out(values)

    @property
    def step(self) -> float:
        """Distance of two samples in head units."""
        return 2.0 / (ZOOM * self.scene.size * self.ss)

    def averaged(self, plane: Float[Tensor, " b t t"]) -> Float[Tensor, " b s s"]:
        """Means of the pixels' samples, added in one order on every machine."""
        s, ss = self.scene.size, self.ss
        blocks = plane.view(-1, s, ss, s, ss)
        total = torch.zeros_like(blocks[:, :, 0, :, 0])
        for i in range(ss):
            for j in range(ss):
                total += blocks[:, :, i, :, j]
        return total * (1.0 / (ss * ss))

    def _both(self, coarse: Tensor, fine: Tensor | None) -> Tensor:
        values = coarse[:, None].repeat(1, self.ss**2)
        if fine is not None:
            values.index_copy_(0, self.pixels, fine.view(-1, self.ss**2))
        return values

    def _laid_out(self, values: Tensor) -> Tensor:
        s, ss = self.scene.size, self.ss
        return values.view(-1, s, s, ss, ss).transpose(2, 3).reshape(-1, s * ss, s * ss)


def inked(scene: Scene, fine: Scene | None, pixels: Tensor, ss: int) -> Float[Tensor, " b 3 s s"]:
    """Colours in [0, 1] with their outlines, from a grid and the `ss` x `ss` samples of its `pixels` (None: there are none)."""
    grid = FineGrid(scene, fine, pixels, ss)
    pairs = zip(scene.colour, [None] * 3 if fine is None else fine.colour, strict=True)
    colours = [grid.plane(coarse, detail) for coarse, detail in pairs]
    ink = _ink(grid)
    lined = [c + ((1.0 - _KEEPS) * tone + _KEEPS * c - c) * ink for c, tone in zip(colours, INK, strict=True)]
    return torch.stack([grid.averaged(c) for c in lined], 1)


def _ink(grid: FineGrid) -> Float[Tensor, " b t t"]:
    """How much ink lies on each sample, 0 to 1."""
    scene, fine = grid.scene, grid.fine
    label = grid.plane(scene.label, None if fine is None else fine.label).long()
    surface = grid.plane(scene.surface, None if fine is None else fine.surface)
    normal = [grid.plane(scene.normal[k], None if fine is None else fine.normal[k]).mul_(1.0) for k in range(3)]
    facing = 1.0 / normal[2].clamp(min=_FACING)
    depth = grid.depth()
    table = torch.tensor(_widths(), device=label.device)
    ink = torch.full_like(depth, _NONE)
    for axis, slope in ((2, normal[0] * facing), (1, -normal[1] * facing)):
        n = label.shape[axis] - 1
        one, two = (lambda a, k=k, axis=axis, n=n: a.narrow(axis, k, n) for k in (0, 1))
        width = table.index_select(0, (one(label) * len(CLASSES) + two(label)).flatten()).view_as(one(depth))
        jump = one(depth) - two(depth)
        odd = torch.minimum((jump - one(slope) * grid.step).abs(), (jump - two(slope) * grid.step).abs())
        hair = (one(surface) == HAIR) & (two(surface) == HAIR)
        limit = torch.where(hair, _JUMP_OF_HAIR, _JUMP)
        fold = (odd > limit) & (one(surface) != WALL) & (two(surface) != WALL)
        width = torch.where(fold, width.clamp(min=FOLD), width) * (1.0 / grid.step) - 0.5
        torch.maximum(one(ink), width, out=one(ink))
        torch.maximum(two(ink), width, out=two(ink))
    return (_spread(ink, SILHOUETTE / grid.step) + 0.5).clamp_(0.0, 1.0)


def _spread(ink: Float[Tensor, " b t t"], radius: float) -> Float[Tensor, " b t t"]:
    """Each value and those around it, less one for each sample of distance (diagonals 1.4: an octagon for a circle)."""
    for _ in range(int(radius) + 1):
        out = ink.clone()
        for axis in (1, 2):
            n = ink.shape[axis] - 1
            for a, b in ((0, 1), (1, 0)):
                near = out.narrow(axis, a, n)
                torch.maximum(near, ink.narrow(axis, b, n) - 1.0, out=near)
        n = ink.shape[1] - 1
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            near = out.narrow(1, a, n).narrow(2, b, n)
            torch.maximum(near, ink.narrow(1, 1 - a, n).narrow(2, 1 - b, n) - 1.4, out=near)
        ink = out
    return ink
