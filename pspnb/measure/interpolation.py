"""Between two people: are the steps of an interpolation even, and are there faces half way?

Paper section 4.5 (lambda between two codes, one figure). A path is any function of two batches of pictures and lambda, so
that codes of W+, codes of W, and a blend of pixels are measured alike. Chapter: "Interpolation and local editing".
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.intervals import ROUNDS, mean, ratio
from pspnb.measure.judges import Judges
from pspnb.measure.people import BATCH
from pspnb.measure.pixels import sharpness
from pspnb.measure.scores import entry
from pspnb.models.base import Translator

Path = Callable[[Tensor, Tensor, float], Tensor]
"""(pictures a, pictures b, lambda from 0 to 1) -> pictures, a at 0 and b at 1."""
STEPS = 8


def blended(a: Float[Tensor, " b 3 s s"], b: Float[Tensor, " b 3 s s"], weight: float) -> Float[Tensor, " b 3 s s"]:
    """Two pictures over each other: what an interpolation must beat."""
    return torch.lerp(a, b, weight)


def between_codes(model: Translator) -> Path:
    """The path of a model: encode both, interpolate the codes (and a Feature-Style model's features), decode."""

    @torch.no_grad()
    def path(a: Tensor, b: Tensor, weight: float) -> Tensor:
        device = model.latent_avg.device
        (codes, feature), (others, other) = model.read(a.to(device)), model.read(b.to(device))
        between = None if feature is None or other is None else torch.lerp(feature, other, weight)
        return model.draw(torch.lerp(codes, others, weight), between).float().clamp(-1, 1).cpu()

    return path


def measure_interpolation(
    paths: Mapping[str, Path],
    images: Float[Tensor, " n 3 s s"],
    judges: Judges,
    *,
    steps: int = STEPS,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Scores of each path between picture i and picture i + 1 (n - 1 pairs), in `steps` equal steps of lambda.

    evenness: the longest step over the mean step (1: all alike). length: the steps together over the distance of the ends.
    sharpness_half_way: over that of the ends; a blend of pixels is soft. yaw_off_line: degrees between the head's yaw on the way
    and the straight line between the ends'.
    """
    a, b = images[:-1], images[1:]
    return {name: _path(path, a, b, judges, steps, rounds) for name, path in paths.items()}


def _path(path: Path, a: Tensor, b: Tensor, judges: Judges, steps: int, rounds: int) -> dict[str, Any]:
    frames = [
        torch.cat([path(x, y, k / steps) for x, y in zip(a.split(BATCH), b.split(BATCH), strict=True)])
        for k in range(steps + 1)
    ]
    lengths = torch.stack([judges.distances(x, y) for x, y in zip(frames, frames[1:], strict=False)], dim=1)
    direct = judges.distances(frames[0], frames[-1])
    ends = (sharpness(frames[0]) + sharpness(frames[-1])) / 2
    yaw = torch.stack([judges.factors(frame)["yaw"] for frame in frames], dim=1)
    line = torch.lerp(yaw[:, :1], yaw[:, -1:], torch.linspace(0, 1, steps + 1))
    return {
        "evenness": entry(ratio(lengths.amax(dim=1), lengths.mean(dim=1), rounds=rounds)),
        "length": entry(ratio(lengths.sum(dim=1), direct, rounds=rounds)),
        "sharpness_half_way": entry(ratio(sharpness(frames[steps // 2]), ends, rounds=rounds)),
        "yaw_off_line": entry(mean((yaw - line).abs().mean(dim=1), rounds=rounds)),
    }
