"""InterFaceGAN: the normal of the plane that parts codes with much of an attribute from codes with little of it.

Source: Shen et al. 2020, section 3: a linear support vector machine on the codes with the highest and the lowest scores.
Chapter: "Directions".
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.checks import above_zero
from pspnb.editing.directions.direction import Direction
from pspnb.errors import PspnbError

SHARE = 0.02
"""Of the codes at either end. The published runs take 10,000 of 500,000."""


def interfacegan(
    codes: Float[Tensor, " b *n d"],
    scores: Float[Tensor, " b"],
    *,
    name: str,
    share: float = SHARE,
    c: float = 1.0,
    seed: int = 0,
) -> Direction:
    """The unit normal, towards high scores, times one standard deviation of the codes along it.

    `scores`: how much of the attribute each image has: known factors, or what an instrument reads; 0 and 1 for a choice.
    `share`: of the codes at either end that are used, at least 10. `c`: of the support vector machine; `seed`: which of equal
    scores are taken. PspnbError when the ends have equal scores or a score is not finite.
    """
    from sklearn.svm import SVC

    above_zero(share=share, c=c)
    if len(codes) != len(scores) or not bool(torch.isfinite(scores).all()):
        raise PspnbError(f"expected one finite score for each of the {len(codes)} codes, got {len(scores)}")
    low, high = ends(scores, max(10, round(share * len(scores))), seed=seed)
    x = codes.flatten(1).double().cpu()
    machine = SVC(kernel="linear", C=c)
    machine.fit(torch.cat([x[low], x[high]]).numpy(), [0] * len(low) + [1] * len(high))
    normal = torch.tensor(machine.coef_[0]).view(codes.shape[1:]).to(codes)
    return Direction(name, "interfacegan", "", normal).sized(codes)


def ends(scores: Float[Tensor, " b"], k: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices of the `k` lowest and of the `k` highest scores; which of equal ones, `seed` decides."""
    shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    order = shuffled[scores.cpu()[shuffled].argsort(stable=True)]
    low, high = order[:k], order[-k:]
    if 2 * k > len(scores) or not float(scores[low].max()) < float(scores[high].min()):
        raise PspnbError(
            f"expected {k} codes of high scores and {k} of lower ones among {len(scores)}; use more codes, or a smaller share"
        )
    return low, high
