"""Directions that nobody asked for: where codes vary most (GANSpace), and what the first weights amplify most (SeFa).

Sources: Harkonen et al. 2020, section 2 (PCA of w); Shen and Zhou 2021, section 3 (eigenvectors of A^T A). Such directions have
no names: `closest` finds the one that goes with an attribute. Chapter: "Directions".
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.checks import at_least
from pspnb.editing.directions.direction import Direction
from pspnb.errors import PspnbError
from pspnb.nn.stylegan2 import Generator


def ganspace(w: Float[Tensor, " b d"], *, n: int = 20) -> list[Direction]:
    """The `n` principal components of codes in W, the largest first, each one standard deviation long. Signs are arbitrary."""
    from sklearn.decomposition import PCA

    at_least(1, n=n)
    if n > min(w.shape):
        raise PspnbError(
            f"expected at most {min(w.shape)} components of {len(w)} codes of {w.shape[1]} numbers, got {n}"
        )
    components = PCA(n_components=n, svd_solver="full").fit(w.double().cpu().numpy()).components_
    return [
        Direction(f"component {i}", "ganspace", "", torch.tensor(row).to(w)).sized(w)
        for i, row in enumerate(components)
    ]


@torch.no_grad()
def sefa(generator: Generator, *, n: int = 20, layers: Sequence[int] | None = None) -> list[Direction]:
    """The `n` unit vectors of W that move the styles of the convolutions `layers` (default: all of them) most.

    A holds the modulation weights of these convolutions, one below the other; a step along v changes all styles by A v, so the
    largest change per step is along the first eigenvector of A^T A. The directions act on the styles `layers` alone.
    """
    convs = [generator.conv1, *generator.convs]
    chosen = list(range(len(convs))) if layers is None else list(layers)
    if not chosen or any(not 0 <= k < len(convs) for k in chosen):
        raise PspnbError(f"expected layers within 0-{len(convs) - 1}, got {chosen}")
    at_least(1, n=n)
    modulations = [convs[k].conv.modulation for k in chosen]  # type: ignore[union-attr]
    a = torch.cat([m.weight.double() * m.scale for m in modulations])  # type: ignore[operator,union-attr]
    vectors = torch.linalg.eigh(a.T @ a).eigenvectors.flip(1).T[:n].to(generator.latent_avg)
    found = [Direction(f"eigenvector {i}", "sefa", "lengths of the unit vector", v) for i, v in enumerate(vectors)]
    return found if layers is None else [d.on(chosen, generator.n_styles) for d in found]


def closest(
    directions: Sequence[Direction], codes: Float[Tensor, " b *n d"], scores: Float[Tensor, " b"], *, name: str
) -> Direction:
    """The direction along which codes go with `scores` most (largest correlation, of either sign), turned to go up with them.

    It takes the `name` and is one standard deviation of the codes long.
    """
    along = torch.stack([d.projected(codes) for d in directions])
    correlation = torch.corrcoef(torch.cat([along, scores.to(along)[None]]))[-1, :-1].nan_to_num()
    best = int(correlation.abs().argmax())
    found = directions[best].sized(codes) * (1.0 if float(correlation[best]) >= 0 else -1.0)
    return replace(found, name=name, method=f"{directions[best].method}")
