"""Holes for inpainting (paper section 4.5): the paper's triangle, triangles of any place and size, and free-form strokes.

The paper says no more than "a simple, symmetric triangular mask". Free-form holes follow Yu et al. 2019 ("Free-form image
inpainting with gated convolution", appendix): thick strokes with round joints between random points. Masks are drawn on the
generator's device and are True where there is a hole. Chapter: "Inpainting".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_STROKES, _CORNERS = 2, 5
"""Strokes of a free-form hole, and points of each."""


def triangular_mask(size: int) -> Bool[Tensor, " s s"]:
    """True where inpainting has to fill in: the triangle between the lower edge and the centre of the image.

    The paper (section 4.5) says no more than "a simple, symmetric triangular mask"; this one covers the mouth and chin
    of an aligned face, a quarter of the image.
    """
    centre = (torch.arange(size) + 0.5) / size - 0.5
    return centre[:, None] > centre[None, :].abs()


def _fixed_triangles(n: int, size: int, generator: torch.Generator) -> Bool[Tensor, " n s s"]:
    return triangular_mask(size).expand(n, -1, -1).to(generator.device)


def _moved_triangles(n: int, size: int, generator: torch.Generator) -> Bool[Tensor, " n s s"]:
    """Symmetric triangles of any place, direction and size: 6 to 30 % of the image where they lie wholly within it."""
    u = torch.rand(4, n, 1, 1, generator=generator, device=generator.device)
    x, y = _places(size, generator)
    angle = 2 * math.pi * u[0]
    along, across = angle.cos(), angle.sin()
    dx, dy = x - (0.25 + 0.5 * u[1]), y - (0.25 + 0.5 * u[2])
    height = 0.35 + 0.4 * u[3]
    depth = (dx * along + dy * across) / height + 0.5  # 0 at the tip, 1 at the base
    aside = (dy * along - dx * across).abs() / height
    return (depth > 0) & (depth < 1) & (aside < 0.5 * depth)


def _free_forms(n: int, size: int, generator: torch.Generator) -> Bool[Tensor, " n s s"]:
    """Strokes of random walks over the image, 8 to 16 % of its side thick."""
    shape = (n, _STROKES, _CORNERS)
    u = torch.rand(4, *shape, generator=generator, device=generator.device)
    turns = (2 * math.pi * u[0, ..., :1]) + ((u[1] - 0.5) * math.pi).cumsum(-1)
    length = 0.10 + 0.22 * u[2]
    start = 0.15 + 0.7 * u[3, ..., :2].flip(-1)
    steps = torch.stack([turns.cos() * length, turns.sin() * length], dim=-1)
    points = (start[..., None, :] + steps.cumsum(2)).clamp(0.02, 0.98)
    radius = 0.04 + 0.04 * u[3, :, :, 2]
    x, y = _places(size, generator)
    hole = torch.zeros(n, size, size, dtype=torch.bool, device=generator.device)
    for stroke in range(_STROKES):
        thick = radius[:, stroke, None, None]
        for a, b in zip(points[:, stroke].unbind(1), points[:, stroke, 1:].unbind(1), strict=False):
            hole |= _distance(x, y, a[..., None, None], b[..., None, None]) < thick
    return hole


def _distance(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, " n s s"]:
    """Of every pixel to the segments from a (n, 2, 1, 1) to b."""
    dx, dy = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
    t = ((x - a[:, 0]) * dx + (y - a[:, 1]) * dy) / (dx * dx + dy * dy).clamp(min=1e-9)
    t = t.clamp(0, 1)
    return torch.hypot(x - a[:, 0] - t * dx, y - a[:, 1] - t * dy)


def _places(size: int, generator: torch.Generator) -> tuple[Float[Tensor, " 1 1 s"], Float[Tensor, " 1 s 1"]]:
    line = (torch.arange(size, device=generator.device) + 0.5) / size
    return line[None, None, :], line[None, :, None]


HOLES: Mapping[str, Callable[[int, int, torch.Generator], Bool[Tensor, " n s s"]]] = MappingProxyType(
    {"triangle": _fixed_triangles, "moved": _moved_triangles, "free": _free_forms}
)
"""Kinds of holes: (n, size, generator) -> masks."""


def random_holes(kinds: Sequence[str], size: int, *, generator: torch.Generator) -> Bool[Tensor, " n s s"]:
    """A hole of each of these kinds (keys of `HOLES`). ValueError for another kind."""
    if unknown := sorted(set(kinds) - set(HOLES)):
        raise ValueError(f"expected kinds of holes among {', '.join(HOLES)}, got {', '.join(unknown)}")
    out = torch.zeros(len(kinds), size, size, dtype=torch.bool, device=generator.device)
    for kind, draw in HOLES.items():
        rows = [i for i, k in enumerate(kinds) if k == kind]
        if rows:
            out[rows] = draw(len(rows), size, generator)
    return out


def mask_out(
    images: Float[Tensor, " b c h w"], mask: Bool[Tensor, " h w"] | Bool[Tensor, " b h w"]
) -> Float[Tensor, " b c h w"]:
    """Images with the masked pixels at 0, the middle of [-1, 1]; one mask for all, or one each."""
    mask = mask.to(images.device, non_blocking=True)
    return images.masked_fill(mask if mask.ndim == 2 else mask[:, None], 0.0)
