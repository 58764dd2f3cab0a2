"""The losses of the Feature-Style encoder, equations 3, 4, 6 and 7 of Yao et al. 2022; equation 2 is `l2`. Chapter: "The
Feature-Style encoder".

The paper writes norms and inner products; what is averaged and what is summed is listed in "The paper, the published code, ours".
Networks are frozen, targets have no graph, and what a target needs is computed once for both inversions.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pspnb.losses.frozen import Frozen
from pspnb.nn.ops import widen


class MultiScalePerceptual(Frozen):
    """Equation 3: the perceptual distance of two images, at full size, half, quarter, ...; summed over `scales` sizes.

    `net` has `features(images)` and `distance(a, b)` -> (b,), as `LPIPSLoss` and `PerceptualNet`. Down-sampling by 2^i averages
    squares of 2^i pixels. `scales=1` is the plain distance, the paper's ablation.
    """

    def __init__(self, net: nn.Module, *, scales: int = 3) -> None:
        super().__init__()
        if scales < 1:
            raise ValueError(f"expected at least one scale, got {scales}")
        self.net: Any = net
        self.scales = scales
        self.freeze()

    def features(self, images: Float[Tensor, " b 3 h w"]) -> list[Any]:
        """What the network sees of images in [-1, 1] at every scale; keep a target's to use them again."""
        return [self.net.features(F.avg_pool2d(images, 2**i) if i else images) for i in range(self.scales)]

    def distance(self, a: list[Any], b: list[Any]) -> Float[Tensor, " b"]:
        """Distance of each pair, from two lists of `features`."""
        return torch.stack([self.net.distance(p, q) for p, q in zip(a, b, strict=True)]).sum(0)


class MultiLayerSimilarity(Frozen):
    """Equations 6 (identity) and 7 (face parsing): sum over the taps of a frozen network of 1 - cosine.

    `net` has `taps(images)`, five maps or vectors of growing depth (`FaceEmbedder`, `ParsingNet`); a tap of an image is one long
    vector. `prepare` brings images in [-1, 1] to what the network reads; default: as they are.
    """

    def __init__(self, net: nn.Module, *, prepare: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.net: Any = net
        self.prepare = prepare
        self.freeze()

    def features(self, images: Float[Tensor, " b 3 h w"]) -> list[Float[Tensor, " b _n"]]:
        """Each tap as a unit vector; keep a target's to use them again."""
        given = images if self.prepare is None else self.prepare(images)
        return [F.normalize(widen(tap).flatten(1), dim=1) for tap in self.net.taps(given)]

    def distance(self, a: list[Float[Tensor, " b _n"]], b: list[Float[Tensor, " b _n"]]) -> Float[Tensor, " b"]:
        """Sum over the taps of 1 - <a, b> for each pair, from two lists of `features`.

        As |a - b|^2 / 2, which is the same for unit vectors: 1 - <a, b> in float32 loses what two similar images differ by.
        """
        return torch.stack([(p - q).square().sum(1) / 2 for p, q in zip(a, b, strict=True)]).sum(0)


Reduction = Literal["mean", "sum", "relative"]


def feature_reconstruction(
    feature: Float[Tensor, " b c h h"],
    own: Float[Tensor, " b c h h"],
    *,
    reduction: Reduction = "mean",
    gradient_into_codes: bool = False,
) -> Float[Tensor, " b"]:
    """Equation 4: how far F is from G(w)^k, the generator's `own` feature for the codes; squared, for each image.

    `reduction` over the c h h numbers: their mean, their sum, or the mean over that of `own`'s squares, which makes it the same
    for generators whose features are of another scale. Without `gradient_into_codes` only F moves: it is to stay in the
    generator's feature space, and the codes have their own losses.
    """
    goal = widen(own if gradient_into_codes else own.detach())
    squares = (widen(feature) - goal).square().flatten(1)
    if reduction == "sum":
        return squares.sum(1)
    scale = goal.detach().square().flatten(1).mean(1) if reduction == "relative" else 1.0
    return squares.mean(1) / scale
