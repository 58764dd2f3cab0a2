"""From factors to portraits: rays meet the surfaces (`geometry`), the hits are painted (`paint`), lit, and averaged.

Taught in the chapter "The world of Facets". Images do not depend on batch size, thread count or device, see
`geometry.fields`.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from pspnb.world2.factors import Factors
from pspnb.world2.geometry.camera import ZOOM, body_frame, head_frame
from pspnb.world2.geometry.head import head_field
from pspnb.world2.geometry.pixels import Samples, Style
from pspnb.world2.geometry.shape import measures
from pspnb.world2.outlines import inked
from pspnb.world2.paint.draw import draw, earring_places
from pspnb.world2.paint.light import light_measures
from pspnb.world2.sampling import validate
from pspnb.world2.scene import Scene

RENDER_VERSION = 2
"""Part of the cache's name: a change that moves any pixel of any image must raise it."""

MAX_YAW = 65.0
"""Degrees to which a head can be turned where nothing was learned: for videos that leave what was trained."""

# Samples worked on at once: small enough for a CPU's caches; a GPU wants far more.
_CHUNK_SAMPLES = {"cpu": 1 << 18, "cuda": 1 << 22}


@dataclass(frozen=True)
class Render:
    """A batch of portraits. `image` in [-1, 1]; `labels` are ids of CLASSES; `landmarks` (x, y) in pixels, pixel centres
    at whole numbers: eyes (image left, then right), nose tip, mouth corners (left, right)."""

    image: Float32[Tensor, " b 3 s s"]
    labels: UInt8[Tensor, " b s s"]
    landmarks: Float32[Tensor, " b 5 2"]
    factors: Factors


def render(
    factors: Factors,
    size: int,
    *,
    device: str | torch.device = "cpu",
    supersample: int = 2,
    yaw_limit: float | None = None,
    style: Style = "photo",
) -> Render:
    """Renders one portrait for each row of `factors` (see `sample_factors`, `combine`, `edit`).

    `size`: side in pixels (16 to 1024). `supersample`: samples per axis in pixels that differ from a neighbour. `yaw_limit`:
    degrees to which heads may turn, beyond the world's 40; faces hold to `MAX_YAW`, glasses no longer do. `style`: "photo",
    or "cartoon" for the same scene in flat tones and outlines. Results lie on
    `device`, the factors stay where they are. Raises ValueError when a factor is missing, misshapen or out of range.
    """
    if not 16 <= size <= 1024 or not 1 <= supersample <= 8:
        raise ValueError(f"expected size in [16, 1024] and supersample in [1, 8], got {size} and {supersample}")
    if yaw_limit is not None and not 0 < yaw_limit <= MAX_YAW:
        raise ValueError(f"expected a yaw_limit above 0 and up to {MAX_YAW:g} degrees, got {yaw_limit:g}")
    if style not in get_args(Style):
        raise ValueError(f"expected a style of {', '.join(get_args(Style))}, got {style!r}")
    n = validate(factors, yaw_limit=yaw_limit)
    device = torch.device(device)
    on_cpu = {
        k: v.detach().to("cpu", torch.int64 if not v.is_floating_point() else torch.float32) for k, v in factors.items()
    }
    if n == 0:
        blank = torch.zeros(0, size, size, dtype=torch.uint8, device=device)
        return Render(torch.zeros(0, 3, size, size, device=device), blank, torch.zeros(0, 5, 2, device=device), factors)
    if device.type == "cpu":
        # glibc returns freed memory to the system at once until it has seen one large block come and go; the page
        # faults of asking for it again cost a fifth of the time. The block is never touched.
        torch.empty(31 << 20, dtype=torch.uint8)
    per_chunk = max(1, _CHUNK_SAMPLES.get(device.type, 1 << 20) // size**2)
    # Images with like hair go together, so that a chunk can skip the parts that none of its images has.
    order = torch.argsort(on_cpu["hair_style"] * 4 + on_cpu["hat"], stable=True)
    parts = [
        _render_chunk({k: v[rows] for k, v in on_cpu.items()}, size, device, supersample, style)
        for rows in order.split(per_chunk)
    ]
    back = torch.argsort(order).to(device)
    image, labels = (torch.cat(p)[back] for p in zip(*parts, strict=True))
    return Render(image, labels, _landmarks(on_cpu, size).to(device), factors)


@torch.no_grad()
def _render_chunk(f: Factors, size: int, device: torch.device, ss: int, style: Style) -> tuple[Tensor, Tensor]:
    """One sample in every pixel's middle; then ss x ss samples in the pixels where something changes to a neighbour."""
    head, body = head_frame(f["yaw"], f["pitch"], f["roll"]), body_frame(f["yaw"], f["roll"])
    per_image = measures(f)
    per_image.update(
        {**light_measures(f), **head.planes("head"), **body.planes("body"), **earring_places(per_image, head)}
    )
    per_image.style = style
    scene = Scene.grid(per_image.to(device), len(f["yaw"]), size)
    draw(scene)
    fine, edges = None, torch.empty(0, dtype=torch.int64, device=device)
    if ss > 1:
        edges = scene.edges()
        fine = scene.around(edges, ss)
        draw(fine)
    drawn = inked(scene, fine, edges, ss) if style == "cartoon" else None
    if fine is not None:
        for plane, samples in zip(scene.colour, fine.colour, strict=True):
            plane.index_copy_(0, edges, _average(samples.view(-1, ss * ss)))
        scene.label.index_copy_(0, edges, _vote(fine.label.view(-1, ss * ss)))
    image = torch.stack([c.view(-1, size, size) for c in scene.colour], 1) if drawn is None else drawn
    return image * 2.0 - 1.0, scene.label.view(-1, size, size)


def _average(samples: Float[Tensor, " n k"]) -> Float[Tensor, " n"]:
    total = samples[:, 0].clone()
    for plane in samples[:, 1:].unbind(1):
        total += plane  # one by one: a sum over an axis may add in another order on another machine
    return total * (1.0 / samples.shape[1])


def _vote(samples: UInt8[Tensor, " n k"]) -> UInt8[Tensor, " n"]:
    """The most frequent class among a pixel's samples; among equals the one with the highest id."""
    planes = samples.t().contiguous()
    best, votes = planes[0], torch.zeros_like(planes[0])
    for i, a in enumerate(planes):
        count = torch.zeros_like(votes)
        for b in planes[i:]:
            count += a == b
        better = (count > votes) | ((count == votes) & (a > best))
        best, votes = torch.where(better, a, best), torch.where(better, count, votes)
    return best


@torch.no_grad()
def _landmarks(f: Factors, size: int) -> Float[Tensor, " b 5 2"]:
    """Eye centres, nose tip and mouth corners on the head's surface, projected to pixels."""
    m = measures(f)
    zero = torch.zeros_like(m["eye_x"])
    corner_y = m["mouth_y"] + 0.062 * m["smile"] * 0.55 - 0.003
    xs = torch.stack([-m["eye_x"], m["eye_x"], zero, -m["mouth_w"], m["mouth_w"]], 1)
    eye_y = m["eye_y"] + 0.10 * m["eye_h"]
    ys = torch.stack([eye_y, eye_y, m["nose_tip_y"], corner_y, corner_y], 1)
    place = torch.arange(xs.numel())
    s = Samples(m, place, place // 5)
    x, y = xs.reshape(-1), ys.reshape(-1)
    z = torch.full_like(x, 0.75)
    for _ in range(12):
        z = z - 0.8 * head_field(x, y, z, s)
    cx, cy, _ = head_frame(f["yaw"], f["pitch"], f["roll"]).to_camera(xs, ys, z.view_as(xs))
    return torch.stack([(ZOOM * cx + 1.0) * (size * 0.5) - 0.5, (1.0 - ZOOM * cy) * (size * 0.5) - 0.5], -1)
