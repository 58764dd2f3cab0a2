"""All four methods on the codes of one generator with an answer key. Chapter: "Directions"."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pspnb.editing.directions.attributes import Attribute
from pspnb.editing.directions.direction import Direction
from pspnb.editing.directions.supervised import interfacegan
from pspnb.editing.directions.truth import true_direction
from pspnb.editing.directions.unsupervised import closest, ganspace, sefa
from pspnb.nn.stylegan2 import Generator
from pspnb.world2.prior import draw_z, factors_of

METHODS = ("truth", "interfacegan", "ganspace", "sefa")
N_COMPONENTS = 60
"""Components and eigenvectors among which `closest` chooses."""


def find_directions(
    generator: Generator, attributes: Sequence[Attribute], *, n: int = 20_000, seed: int = 0
) -> dict[str, dict[str, Direction]]:
    """Method -> attribute -> direction, from `n` random codes with their exact factors."""
    z = draw_z(n, seed=seed)
    factors = factors_of(z)
    with torch.no_grad():
        w = torch.cat([generator.map(part.to(generator.latent_avg.device)) for part in z.split(4096)])
    components, eigenvectors = (f for f in (ganspace(w, n=_few(w)), sefa(generator, n=_few(w))))
    found: dict[str, dict[str, Direction]] = {method: {} for method in METHODS}
    for a in attributes:
        scores = a.scores(factors)
        found["truth"][a.name] = true_direction(generator, a)
        found["interfacegan"][a.name] = interfacegan(w, scores, name=a.name, seed=seed)
        found["ganspace"][a.name] = closest(components, w, scores, name=a.name)
        found["sefa"][a.name] = closest(eigenvectors, w, scores, name=a.name)
    return found


def _few(w: Tensor) -> int:
    return min(N_COMPONENTS, w.shape[1])
