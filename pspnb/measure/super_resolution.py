"""Super-resolution by factor: nearness to the truth, and whether the output shrinks to what was given.

Paper section 4.4; the super-resolution paper (`super_resolution_x8`) asks for a downscaling loss below 1e-3, as PULSE does (Menon
et al. 2020, equation 1: |DS(I) - I_LR| <= epsilon). Chapter: "Super-resolution".
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.inversion.optimise import invert
from pspnb.measure.intervals import ROUNDS, mean
from pspnb.measure.judges import Judges
from pspnb.measure.metrics import psnr
from pspnb.measure.people import People, drawn
from pspnb.measure.scores import Score, difference, entry, high, low
from pspnb.nn.stylegan2 import Generator
from pspnb.transforms import downsample, low_resolution

FACTORS = (1, 2, 4, 8, 16, 32)
"""32 is measured and not trained."""
EPSILON = 1e-3
"""Mean squared difference of the shrunk pictures, in [0, 1], that counts as "downscales to the input"."""
OPTIMISED = "optimisation in W+"


def shrunk(images: Float[Tensor, " n 3 s s"], factor: int) -> Float[Tensor, " n 3 t t"]:
    """Images in [-1, 1] at the low resolution, in [0, 1]."""
    return downsample((images + 1) / 2, factor).clamp(0, 1)


def consistency(
    outputs: Float[Tensor, " n 3 s s"], small: Float[Tensor, " n 3 t t"], factor: int
) -> Float[Tensor, " n"]:
    """Mean squared difference, in [0, 1], of each shrunk output and what was given."""
    return (shrunk(outputs, factor) - small).square().mean(dim=(1, 2, 3))


def enlarged(small: Float[Tensor, " n 3 t t"], size: int, mode: str) -> Float[Tensor, " n 3 s s"]:
    """ "bicubic" or "nearest" enlargement of pictures in [0, 1], to [-1, 1]."""
    options = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(small, size=(size, size), mode=mode, **options).clamp(0, 1) * 2 - 1  # type: ignore[arg-type]


def optimised(
    generator: Generator,
    small: Float[Tensor, " n 3 t t"],
    factor: int,
    *,
    start: Float[Tensor, " n k d"] | None = None,
    steps: int = 300,
    w_norm: float = 1e-4,
) -> tuple[Float[Tensor, " n 3 s s"], Float[Tensor, " n k d"]]:
    """PULSE's idea in W+: codes whose picture shrinks to what is given, near the mean latent. Pictures and codes.

    Descends |DS(G(w)) - small|^2 + `w_norm` |w - mean|; the published method keeps to a sphere in Z and W instead. `start`: an
    encoder's codes, which makes it a refinement until the downscaling loss is met.
    """
    guess = enlarged(small, generator.size, "nearest")  # of the right shape; only its shrunk form is looked at

    def unlike(images: Tensor, _: Tensor) -> Tensor:
        return (downsample((images + 1) / 2, factor) - small).square().mean(dim=(1, 2, 3))

    found = invert(generator, guess, distance=unlike, start=start, steps=steps, l2=0.0, lpips=1.0, w_norm=w_norm)
    return found.images.clamp(-1, 1), found.codes


def nearness(
    outputs: Float[Tensor, " n 3 s s"], images: Float[Tensor, " n 3 s s"], factor: int, judges: Judges
) -> dict[str, Float[Tensor, " n"]]:
    """PSNR, distance, similarity and consistency of each output, as columns."""
    likeness = F.cosine_similarity(judges.embedded(outputs), judges.embedded(images))
    unlike = consistency(outputs, shrunk(images, factor), factor)
    return {
        "psnr": psnr(outputs, images),
        "lpips": judges.distances(outputs, images),
        "similarity": likeness,
        "consistency": unlike,
        "within_epsilon": (unlike <= EPSILON).float(),
    }


def measure_super_resolution(
    draw: Callable[[Tensor], Tensor],
    people: People,
    judges: Judges,
    *,
    generator: Generator | None = None,
    mean_face: Float[Tensor, " 3 s s"],
    inverted: Float[Tensor, " n 3 s s"] | None = None,
    factors: Sequence[int] = FACTORS,
    n_optimised: int = 0,
    steps: int = 300,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Scores of what `draw` makes of the shrunk and enlarged pictures, for each factor, beside bicubic, nearest and (of the first
    `n_optimised` people, on `generator`) optimisation; "output_less" holds the paired differences."""
    images, size = people.images, people.images.shape[-1]
    mean_distance = judges.distances(mean_face.expand_as(images), images)
    best = None if inverted is None else nearness(inverted, images, 1, judges)
    table = {}
    for factor in factors:
        small = shrunk(images, factor)
        rows = {
            "output": drawn(draw, low_resolution(images, [factor] * len(images))),
            "bicubic": enlarged(small, size, "bicubic"),
            "nearest": enlarged(small, size, "nearest"),
        }
        if n_optimised and generator is not None:
            device = generator.latent_avg.device
            rows[OPTIMISED] = optimised(generator, small[:n_optimised].to(device), factor, steps=steps)[0].cpu()
        columns = {name: nearness(x, images[: len(x)], factor, judges) for name, x in rows.items()}
        table[str(factor)] = _factor(columns, best, mean_distance, rounds)
    return {"epsilon": EPSILON, "factors": table}


def _factor(
    columns: dict[str, dict[str, Tensor]], best: dict[str, Tensor] | None, mean_distance: Tensor, rounds: int
) -> dict[str, Any]:
    own = columns["output"]
    reached = best or {}
    scores: dict[str, Score] = {
        "psnr": high(own["psnr"], reached.get("psnr"), rounds=rounds),
        "lpips": low(own["lpips"], reached.get("lpips"), mean_face=mean_distance, rounds=rounds),
        "similarity": high(own["similarity"], reached.get("similarity"), rounds=rounds),
        "consistency": entry(mean(own["consistency"], rounds=rounds)),
        "within_epsilon": entry(mean(own["within_epsilon"], rounds=rounds)),
    }
    others, less = {}, {}
    for name, other in columns.items():
        if name == "output":
            continue
        others[name] = {metric: entry(mean(values, rounds=rounds)) for metric, values in other.items()}
        less[name] = {m: difference(own[m][: len(v)], v, rounds=rounds) for m, v in other.items()}
    return {"output": scores, **others, "output_less": less}
