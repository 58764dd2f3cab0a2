"""From factors to portraits: rays meet the surfaces (`geometry`), the hits are painted (`paint`), lit, and averaged.

Taught in the chapter "The world of Facets". Images do not depend on batch size, thread count or device, see
`geometry.fields`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from pspnb.facets.factors import Factors
from pspnb.facets.geometry.camera import ZOOM, body_frame, head_frame
from pspnb.facets.geometry.head import head_field
from pspnb.facets.geometry.pixels import Samples
from pspnb.facets.geometry.shape import measures
from pspnb.facets.paint.light import light_measures
from pspnb.facets.sampling import validate
from pspnb.facets.scene import Scene, draw

RENDER_VERSION = 1
"""Part of the cache's name: a change that moves any pixel of any image must raise it."""

# Samples worked on at once: small enough for a CPU's caches; a GPU wants far more.
_CHUNK_SAMPLES = {"cpu": 1 << 18, "cuda": 1 << 23}


@dataclass(frozen=True)
class Render:
    """A batch of portraits. `image` in [-1, 1]; `labels` are ids of CLASSES; `landmarks` (x, y) in pixels, pixel centres
    at whole numbers: eyes (image left, then right), nose tip, mouth corners (left, right)."""

    image: Float32[Tensor, " b 3 s s"]
    labels: UInt8[Tensor, " b s s"]
    landmarks: Float32[Tensor, " b 5 2"]
    factors: Factors


def render(factors: Factors, size: int, *, device: str | torch.device = "cpu", supersample: int = 2) -> Render:
    """Renders one portrait for each row of `factors` (see `sample_factors`, `combine`, `edit`).

    `size`: side in pixels (16 to 1024). `supersample`: samples per pixel and axis. Results lie on `device`, the factors
    stay where they are. Raises ValueError when a factor is missing, misshapen or out of range.
    """
    if not 16 <= size <= 1024 or not 1 <= supersample <= 8:
        raise ValueError(f"expected size in [16, 1024] and supersample in [1, 8], got {size} and {supersample}")
    n = validate(factors)
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
    per_chunk = max(1, _CHUNK_SAMPLES.get(device.type, 1 << 20) // (size * supersample) ** 2)
    # Images with like hair go together, so that a chunk can skip the parts that none of its images has.
    order = torch.argsort(on_cpu["hair_style"] * 4 + on_cpu["hat"], stable=True)
    parts = [
        _render_chunk({k: v[rows] for k, v in on_cpu.items()}, size, device, supersample)
        for rows in order.split(per_chunk)
    ]
    back = torch.argsort(order).to(device)
    image, labels = (torch.cat(p)[back] for p in zip(*parts, strict=True))
    return Render(image, labels, _landmarks(on_cpu, size).to(device), factors)


@torch.no_grad()
def _render_chunk(f: Factors, size: int, device: torch.device, ss: int) -> tuple[Tensor, Tensor]:
    head, body = head_frame(f["yaw"], f["pitch"], f["roll"]), body_frame(f["yaw"], f["roll"])
    per_image = {**measures(f), **light_measures(f)}
    per_image = {k: v.to(device) for k, v in per_image.items()}
    for name in ("identity_detail", "image_detail"):
        per_image[name] = f[name].to(device)
    to = lambda frame: type(frame)(frame.matrix.to(device), frame.pivot, frame.shift.to(device))  # noqa: E731
    scene = Scene.build(per_image, to(head), to(body), size, ss, device)
    colour, label = draw(scene)
    b = len(f["yaw"])
    image = _average([c.view(b, size, ss, size, ss) for c in colour], ss)
    return image * 2.0 - 1.0, _vote(label.view(b, size, ss, size, ss), ss)


def _average(planes: list[Tensor], ss: int) -> Float[Tensor, " b 3 s s"]:
    out = []
    for plane in planes:
        total = plane[:, :, 0, :, 0].clone()
        for k in range(1, ss * ss):
            total = total + plane[:, :, k // ss, :, k % ss]
        out.append(total * (1.0 / (ss * ss)))
    return torch.stack(out, 1)


def _vote(label: Tensor, ss: int) -> UInt8[Tensor, " b s s"]:
    """The most frequent class among a pixel's samples; among equals the one met first, row by row."""
    if ss == 1:
        return label[:, :, 0, :, 0].contiguous()
    samples = [label[:, :, k // ss, :, k % ss] for k in range(ss * ss)]
    best, votes = samples[0], torch.zeros_like(samples[0])
    for i, a in enumerate(samples):
        count = torch.zeros_like(votes)
        for b in samples[i:]:
            count += a == b
        better = count > votes
        best, votes = torch.where(better, a, best), torch.where(better, count, votes)
    return best.contiguous()


@torch.no_grad()
def _landmarks(f: Factors, size: int) -> Float[Tensor, " b 5 2"]:
    """Eye centres, nose tip and mouth corners on the head's surface, projected to pixels."""
    m = measures(f)
    zero = torch.zeros_like(m["eye_x"])
    corner_y = m["mouth_y"] + 0.062 * m["smile"] * 0.55 - 0.003
    xs = torch.stack([-m["eye_x"], m["eye_x"], zero, -m["mouth_w"], m["mouth_w"]], 1)
    eye_y = m["eye_y"] + 0.10 * m["eye_h"]
    ys = torch.stack([eye_y, eye_y, m["nose_tip_y"], corner_y, corner_y], 1)
    s = Samples(m, torch.arange(xs.numel(), device=xs.device), 5)
    x, y = xs.reshape(-1), ys.reshape(-1)
    z = torch.full_like(x, 0.75)
    for _ in range(12):
        z = z - 0.8 * head_field(x, y, z, s)
    cx, cy, _ = head_frame(f["yaw"], f["pitch"], f["roll"]).to_camera(xs, ys, z.view_as(xs))
    return torch.stack([(ZOOM * cx + 1.0) * (size * 0.5) - 0.5, (1.0 - ZOOM * cy) * (size * 0.5) - 0.5], -1)
