"""The total loss of the Feature-Style encoder (Yao et al. 2022, equations 5 and 8), over both inversions G(w) and G(F, w).

Equation 5 is the same with `id` and `parsing` at 0, for domains without faces. Chapter: "The Feature-Style encoder".
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pspnb.losses.feature_style import (
    MultiLayerSimilarity,
    MultiScalePerceptual,
    Reduction,
    feature_reconstruction,
)
from pspnb.nn.ops import widen


@dataclass(frozen=True, kw_only=True)
class FeatureStyleWeights:
    """The lambdas: of equation 2 (1), 3 (lambda 1), 4 (lambda 2), 6 (lambda 3) and 7 (lambda 4)."""

    mse: float = 1.0
    lpips: float = 0.2
    feature: float = 0.01
    id: float = 0.1
    parsing: float = 0.1

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if wrong := {name: value for name, value in values.items() if not 0 <= value < float("inf")}:
            raise ValueError(f"expected finite loss weights of at least 0, got {wrong}")
        if not any(values.values()):
            raise ValueError("expected at least one loss weight above 0, got none: there is nothing to train on")


@dataclass(frozen=True, kw_only=True)
class TwoInversions:
    """What a step offers: images in [-1, 1] at the size of the target, and the features behind the k-th convolution.

    `by_codes` G(w), `by_feature` G(F, w), `feature` F, `own` G(w)^k; the last three are None for an encoder without F.
    `counts`: how much each image's pixel loss counts: 0 for a real one, for a synthetic one 1 over the share of synthetic images.
    """

    target: Float[Tensor, " b 3 h w"]
    by_codes: Float[Tensor, " b 3 h w"]
    by_feature: Float[Tensor, " b 3 h w"] | None
    feature: Float[Tensor, " b c g g"] | None
    own: Float[Tensor, " b c g g"] | None
    counts: Float[Tensor, " b"]


def pixel_counts(synthetic: Bool[Tensor, " b"], share: float) -> Float[Tensor, " b"]:
    """`TwoInversions.counts`: the mean of squares times counts is the mean over the synthetic images of a whole batch, however it
    is divided into parts. `share`: of synthetic images in the batch."""
    return synthetic.float() / share if share else torch.zeros_like(synthetic, dtype=torch.float32)


class FeatureStyleLoss(nn.Module):
    """`loss(seen)`: the weighted sum, and a log of detached scalars: `loss`, and `loss_{name}` unweighted (`_w`: of G(w), `_f`: of
    G(F, w)).

    `perceptual`, `identity`, `parsing`: needed where their weight is above 0. `reduction`, `gradient_into_codes`: of equation 4.
    """

    def __init__(
        self,
        weights: FeatureStyleWeights,
        *,
        perceptual: MultiScalePerceptual | None = None,
        identity: MultiLayerSimilarity | None = None,
        parsing: MultiLayerSimilarity | None = None,
        reduction: Reduction = "mean",
        gradient_into_codes: bool = False,
    ) -> None:
        super().__init__()
        self.weights, self.reduction, self.gradient_into_codes = weights, reduction, gradient_into_codes
        networks = {"lpips": perceptual, "id": identity, "parsing": parsing}
        for name, network in networks.items():
            if getattr(weights, name) and network is None:
                raise ValueError(f"expected a network for the loss {name}, because its weight is not 0")
        self.networks = nn.ModuleDict(
            {n: net for n, net in networks.items() if net is not None and getattr(weights, n)}
        )

    def forward(self, seen: TwoInversions) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        parts: dict[str, Tensor] = {}
        squares = (widen(seen.by_codes) - widen(seen.target)).square().mean(dim=(1, 2, 3))
        if self.weights.mse:
            parts["mse"] = (squares * seen.counts).mean()
        for name, network in self.networks.items():
            parts |= _of_both(network, name, seen)
        if self.weights.feature and seen.feature is not None and seen.own is not None:
            apart = feature_reconstruction(
                seen.feature, seen.own, reduction=self.reduction, gradient_into_codes=self.gradient_into_codes
            )
            parts["feature"] = apart.mean()
        weighted = [getattr(self.weights, name.split("_")[0]) * value for name, value in parts.items()]
        total = torch.stack(weighted).sum()
        return total, {f"loss_{name}": value.detach() for name, value in parts.items()} | {"loss": total.detach()}


def _of_both(network: nn.Module, name: str, seen: TwoInversions) -> dict[str, Tensor]:
    """A distance of both inversions to the target, whose features are computed once."""
    with torch.no_grad():
        target = network.features(seen.target)  # type: ignore[operator]
    outputs = {"w": seen.by_codes, "f": seen.by_feature}
    return {
        f"{name}_{which}": network.distance(network.features(output), target).mean()  # type: ignore[operator]
        for which, output in outputs.items()
        if output is not None
    }
