"""Codes between codes: midpoints, truncated, style-mixed, the mean latent. A generator must draw faces there too.

They have no truth, and a hard choice between kinds leaves the middle untrained (half a hat). Chapter: "StyleGAN2 from the inside".
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.nn.stylegan2 import Generator

KINDS = ("unmixed", "midpoint", "truncated", "mixed", "latent_avg")
TRUNCATION = 0.5


def codes_between(
    generator: Generator, a: Float[Tensor, " b d"], b: Float[Tensor, " b d"]
) -> dict[str, Float[Tensor, " _b n d"]]:
    """w+ codes by kind: a itself; (a + b) / 2; a truncated to psi = .5; coarse styles of a and fine ones of b; `latent_avg`, once.

    The crossover of pair i is 1 + i modulo (n_styles - 1): every one of them occurs equally often.
    """
    crossover = 1 + torch.arange(len(a), device=a.device) % (generator.n_styles - 1)
    coarse = (torch.arange(generator.n_styles, device=a.device) < crossover[:, None])[..., None]
    codes = {
        "unmixed": a,
        "midpoint": (a + b) / 2,
        "truncated": generator.truncate(a, TRUNCATION),
        "mixed": torch.where(coarse, generator.to_w_plus(a), generator.to_w_plus(b)),
        "latent_avg": generator.latent_avg[None],
    }
    return {kind: generator.to_w_plus(w) for kind, w in codes.items()}
