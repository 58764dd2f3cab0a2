"""Training the Feature-Style encoder (Yao et al. 2022, section 4): one step over both inversions, G(w) and G(F, w).

Optimiser, average, accumulation, validation and state are those of every encoder (`pspnb.training.encoder`). Chapter: "The
Feature-Style encoder".
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.losses.two_inversions import FeatureStyleLoss, TwoInversions, pixel_counts
from pspnb.models.feature_style import FeatureStyle
from pspnb.nn.stylegan2 import NoiseSpec
from pspnb.training.callbacks import picture_rows
from pspnb.training.data import Batches, Pair
from pspnb.training.encoder import EncoderStepper
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.mixed_batches import MixedBatches
from pspnb.training.optimizers import OptimizerName
from pspnb.training.processes import Processes

PARTS = ("by_codes", "by_feature", "feature", "own")


@dataclass(frozen=True, kw_only=True)
class FeatureStyleConfig(EncoderConfig):
    """`EncoderConfig`, with Adam (the paper names no optimiser), and `tenth_from`: the share of the steps after which the rate is a
    tenth (paper: the last 2 of 12 epochs)."""

    optimizer: OptimizerName = "adam"
    tenth_from: float = 5 / 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tenth_from <= 1:
            raise ValueError(f"expected tenth_from from 0 to 1, got {self.tenth_from}")


class BothInversions(nn.Module):
    """Source -> (G(w), G(F, w), F, G(w)^k), images pooled to `size`; the generator's layers up to k are drawn once for both."""

    def __init__(self, model: FeatureStyle) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, size: int | None, noise: NoiseSpec) -> tuple[Tensor | None, ...]:
        model, decoder = self.model, self.model.decoder
        codes, feature = model.encode(source)
        if feature is None:
            return model.decode(codes, noise=noise, resize=size), None, None, None
        own, skip = decoder.features(codes, upto=model.k, noise=noise)
        by_codes = decoder.synthesize(codes, start=model.k, feature=own, rgb=skip, noise=noise)
        rgb = model.rgb(codes, feature, noise=noise, drawn=skip)
        by_feature = decoder.synthesize(codes, start=model.k, feature=feature, rgb=rgb, noise=noise)
        if size is not None:
            by_codes, by_feature = (F.adaptive_avg_pool2d(y, size) for y in (by_codes, by_feature))
        return by_codes, by_feature, feature, own


class FeatureStyleStepper(EncoderStepper):
    """A model, its batches of real and synthetic images, and the loss; `validation`: real images."""

    model: FeatureStyle
    batches: MixedBatches

    def __init__(
        self,
        model: FeatureStyle,
        batches: MixedBatches,
        loss: FeatureStyleLoss,
        config: FeatureStyleConfig,
        *,
        validation: Batches | None = None,
        team: Processes | None = None,
    ) -> None:
        self.loss, self.tenth_from = loss, config.tenth_from
        super().__init__(model, batches, (), config, validation=validation, team=team)

    def one_pass(self) -> nn.Module:
        return BothInversions(self.model)

    def _losses(self, pair: Pair, first: int) -> tuple[Tensor, dict[str, Tensor]]:
        n = len(pair.target)
        counts = pixel_counts(self.batches.synthetic(first, n, device=pair.target.device), self.batches.share)
        with self._autocast():
            seen = self.translate(pair.source, self._resize(pair), self._noise(first, n))
            return self.loss(_inversions(seen, pair, counts))

    def rate_at(self, step: int) -> float:
        """That of every encoder, and a tenth of it from `tenth_from` of the steps on."""
        late = step >= self.tenth_from * self.steps
        return super().rate_at(step) * (0.1 if late else 1.0)

    def _validated(self, pair: Pair) -> dict[str, Tensor]:
        """The losses of real images (no pixel loss, as in training), and for the eye the pixel errors of both inversions."""
        counts = torch.zeros(len(pair.target), device=pair.target.device)
        seen = _inversions(BothInversions(self.model)(pair.source, self._resize(pair), "const"), pair, counts)
        _, log = self.loss(seen)
        log.pop("loss_mse", None)
        outputs = {"mse_w": seen.by_codes, "mse_f": seen.by_feature}
        errors = {k: (v.float() - pair.target).square().mean() for k, v in outputs.items() if v is not None}
        return errors | log

    @torch.no_grad()
    def pictures(self, n: int) -> Float[Tensor, " m 3 s s"]:
        """Source, G(w), G(F, w) of the first `n` images of the latest batch."""
        if self._latest is None:
            raise ValueError("expected at least one step before the pictures of one")
        pair = self._latest.part(slice(0, n))
        with self.evaluation(), self._autocast():
            by_codes, by_feature, *_ = BothInversions(self.model)(pair.source, self._resize(pair), "const")
        assert by_codes is not None
        return picture_rows(pair.source, by_codes, by_codes if by_feature is None else by_feature)

    def identity(self) -> dict[str, Any]:
        options = super().identity()["identity"] | {"images of a batch": self.batches.images}
        if self.tenth_from < 1:
            options["steps"] = self.steps  # the schedule depends on it
        loss = self.loss
        options |= {f"weight of {name}": weight for name, weight in asdict(loss.weights).items()}
        options |= {"reduction": loss.reduction, "gradient_into_codes": loss.gradient_into_codes}
        if "lpips" in loss.networks:
            options["scales"] = loss.networks["lpips"].scales
        return {"identity": options | {"k": self.model.k}}


def _inversions(seen: Sequence[Tensor | None], pair: Pair, counts: Tensor) -> TwoInversions:
    return TwoInversions(target=pair.target, counts=counts, **dict(zip(PARTS, seen, strict=True)))  # type: ignore[arg-type]
