"""The Feature-Style encoder, its ablations and what its paper leaves open: which network, which losses, which images.

Source: Yao et al. 2022, sections 4.2 and 5.4. Chapter: "The Feature-Style encoder".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch

from pspnb.errors import PspnbError
from pspnb.losses import FeatureStyleWeights
from pspnb.models import zoo
from pspnb.models.feature_style import FeatureStyle
from pspnb.nn.feature_style import FeatureStyleEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes.scales import FACETS64, Scale
from pspnb.training.mixed_batches import Images

PLAIN = "feature_style"
"""The variant that is the paper's encoder."""


@dataclass(frozen=True, kw_only=True)
class FeatureVariant:
    """What an ablation changes.

    Attributes:
        title: for tables.
        drop: loss weights set to 0.
        images: which images a batch holds.
        scales: of the perceptual loss.
        loss: further arguments of `FeatureStyleLoss`, of equation 4.
        options: further arguments of the encoder.
    """

    title: str
    drop: tuple[str, ...] = ()
    images: Images = "both"
    scales: int = 3
    loss: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


# The paper's ablations (section 5.4, table in its supplement), then the choices that its text leaves open, then K.
VARIANTS: Mapping[str, FeatureVariant] = MappingProxyType(
    {
        PLAIN: FeatureVariant(title="Feature-Style"),
        "without_f": FeatureVariant(title="without F", options={"k": 0}),
        "only_real": FeatureVariant(title="real images only", images="real"),
        "only_synthetic": FeatureVariant(title="synthetic images only", images="synthetic"),
        "single_scale": FeatureVariant(title="LPIPS at one scale", scales=1),
        "no_mse": FeatureVariant(title="without pixel loss", drop=("mse",)),
        "no_id": FeatureVariant(title="without identity loss", drop=("id",)),
        "no_parsing": FeatureVariant(title="without parsing loss", drop=("parsing",)),
        "no_feature_loss": FeatureVariant(title="without feature reconstruction", drop=("feature",)),
        "faceless": FeatureVariant(title="without face losses (equation 5)", drop=("id", "parsing")),
        # 8 channels of 8 x 8: 512 numbers, 4.2 % of a picture of 64 px, as the paper's F is of one of 1024 px.
        "bottleneck": FeatureVariant(title="F of 4 % of the picture", options={"hidden": 8}),
        "skip_black": FeatureVariant(title="RGB skip black", options={"rgb": "none"}),
        "skip_predicted": FeatureVariant(title="RGB skip predicted", options={"rgb": "predicted"}),
        "linear_branch": FeatureVariant(title="feature branch without activation", options={"activation": False}),
        "pool2": FeatureVariant(title="maps averaged to 2 x 2", options={"pool": 2}),
        "feature_sum": FeatureVariant(title="equation 4 summed", loss={"reduction": "sum"}),
        "feature_relative": FeatureVariant(title="equation 4 relative", loss={"reduction": "relative"}),
        "feature_both": FeatureVariant(title="equation 4 into F and w", loss={"gradient_into_codes": True}),
        **{f"k{k}": FeatureVariant(title=f"K = {k}", options={"k": k}) for k in range(1, 10)},
    }
)


def variant_named(name: str) -> FeatureVariant:
    """The variant of this name. PspnbError that lists the names."""
    if name not in VARIANTS:
        raise PspnbError(f"expected a variant among {', '.join(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def encoder_architecture(variant: FeatureVariant, *, scale: Scale = FACETS64, generator: Generator) -> dict[str, Any]:
    """Class and arguments of the encoder, plain values, as cards and runs hold them."""
    kwargs = {**scale.encoders["feature_style"], **variant.options}
    k = kwargs["k"]
    if not 0 <= k <= generator.n_convs:
        raise PspnbError(f"expected K of at most {generator.n_convs} for a {generator.size} px generator, got {k}")
    shape = {"n_styles": generator.n_styles, "style_dim": generator.style_dim}
    kwargs |= {**shape, "feature_shape": list(generator.feature_shape(k))}
    return {"class": FeatureStyleEncoder.__name__, "kwargs": kwargs}


def build_feature_style(
    variant: FeatureVariant, *, generator: Generator, scale: Scale = FACETS64, seed: int = 0
) -> FeatureStyle:
    """A model with a fresh encoder (weights from `seed`) on a given generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = zoo.build(encoder_architecture(variant, scale=scale, generator=generator))
    assert isinstance(encoder, FeatureStyleEncoder)
    return FeatureStyle(encoder, generator)


def loss_weights(
    variant: FeatureVariant, lambdas: Mapping[str, float] | None = None, *, scale: Scale = FACETS64
) -> FeatureStyleWeights:
    """The paper's lambdas without those that the variant drops, and with what `lambdas` says instead.

    On photographs the parsing loss has weight 0: no published face-parsing network is read. PspnbError for a name that no loss has,
    or a weight that is none.
    """
    absent = () if scale.own_world else ("parsing",)
    changes = dict.fromkeys((*absent, *variant.drop), 0.0) | dict(lambdas or {})
    names = [entry.name for entry in fields(FeatureStyleWeights)]
    if unknown := sorted(set(changes) - set(names)):
        raise PspnbError(f"expected loss weights among {', '.join(names)}, got {', '.join(unknown)}")
    if changes.get("parsing") and absent:
        raise PspnbError(f"expected parsing=0 at {scale.name}: there is no face-parsing network of photographs")
    try:
        return replace(FeatureStyleWeights(), **changes)
    except ValueError as error:
        raise PspnbError(str(error)) from error
