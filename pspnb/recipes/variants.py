"""The rows of pSp's Table 1 and the ablations of its text: which network, which losses; and a fresh pSp of each.

Chapter: "Ablations".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch

from pspnb.errors import PspnbError
from pspnb.losses import LossWeights
from pspnb.models import zoo
from pspnb.models.psp import PSP
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes.scales import FACETS64, Kind, Scale
from pspnb.tasks import Task

_CLASSES: Mapping[Kind, str] = MappingProxyType(
    {"psp": "GradualStyleEncoder", "w": "WEncoder", "naive_wplus": "NaiveWPlusEncoder"}
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a row of Table 1, or an ablation, changes in a task.

    Attributes:
        title: for tables.
        kind: the encoder.
        drop: loss weights set to 0.
        weights: loss weights set to other values.
        level: pyramid level of all styles, 0 the smallest map; None: the published grouping.
        start_from_latent_avg: as published; without it the encoder must find the mean latent itself.
        options: further arguments of the encoder.
    """

    title: str
    kind: Kind = "psp"
    drop: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    level: int | None = None
    start_from_latent_avg: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "psp": Variant(title="pSp"),
        "w": Variant(title="W", kind="w"),
        "naive_wplus": Variant(title="naive W+", kind="naive_wplus"),
        "no_id": Variant(title="pSp without identity loss", drop=("id",)),
        "no_lpips": Variant(title="pSp without LPIPS", drop=("lpips",)),
        # Frontalization's two parts of the picture (section 4.2): the whole picture alone, the inner face alone, both alike.
        "no_inner": Variant(title="pSp without the inner face's losses", drop=("l2_crop", "lpips_crop")),
        "no_outer": Variant(title="pSp without the whole picture's losses", drop=("l2", "lpips")),
        "even": Variant(title="pSp, whole picture as much as the inner face", weights={"l2": 0.01, "lpips": 0.8}),
        "largest_map": Variant(title="all styles from the largest map", level=2),
        "smallest_map": Variant(title="all styles from the smallest map", level=0),
        "from_zero": Variant(title="without the mean latent", start_from_latent_avg=False),
        "narrow_wplus": Variant(title="naive W+, bottleneck 64", kind="naive_wplus", options={"bottleneck": 64}),
        # As wide as a style throughout, as published: more than a file of 4 MB holds.
        "wide_heads": Variant(title="pSp, heads as wide as a style", options={"head_channels": None}),
        # Half as wide as a style, to the end.
        "narrow_heads": Variant(title="pSp, heads half as wide", options={"head_channels": 64, "last_channels": 64}),
        # As many weights as pSp has at 64 px: the comparison at equal size.
        "wide_wplus": Variant(title="naive W+, bottleneck 648", kind="naive_wplus", options={"bottleneck": 648}),
        "tight_wplus": Variant(title="naive W+, bottleneck 16", kind="naive_wplus", options={"bottleneck": 16}),
    }
)


def model_name(task: str, variant: str = "psp", scale: Scale = FACETS64) -> str:
    """ "facets64/inversion" for pSp, "facets64/inversion_w" for a variant."""
    return scale.shipped(task) + ("" if variant == "psp" else f"_{variant}")


def variant_named(name: str) -> Variant:
    """The variant of this name. PspnbError that lists the names."""
    if name not in VARIANTS:
        raise PspnbError(f"expected a variant among {', '.join(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def loss_weights(task: Task, variant: Variant, lambdas: Mapping[str, float] | None = None) -> LossWeights:
    """The published lambdas of the task, without those the variant drops, and with what `lambdas` says instead.

    PspnbError for a name that no loss has, a weight that is none, or a variant whose change leaves the task as it is.
    """
    own = dict.fromkeys(variant.drop, 0.0) | dict(variant.weights)
    if own and all(getattr(task.weights, name) == value for name, value in own.items()):
        raise PspnbError(f"expected a variant that changes {task.name}: {variant.title} has the same losses there")
    changes = own | dict(lambdas or {})
    names = [entry.name for entry in fields(LossWeights)]
    if unknown := sorted(set(changes) - set(names)):
        raise PspnbError(f"expected loss weights among {', '.join(names)}, got {', '.join(unknown)}")
    try:
        return replace(task.weights, **changes)
    except ValueError as error:
        raise PspnbError(str(error)) from error


def encoder_architecture(
    task: Task, variant: Variant, *, scale: Scale = FACETS64, generator: Generator
) -> dict[str, Any]:
    """Class and arguments of the encoder, as a card holds them."""
    kwargs = {
        "style_dim": generator.style_dim,
        "in_channels": task.in_channels,
        **scale.encoders[variant.kind],
        **variant.options,
    }
    if variant.kind != "w":
        kwargs["n_styles"] = generator.n_styles
    if variant.level is not None:
        kwargs["maps"] = [variant.level] * generator.n_styles
    return {"class": _CLASSES[variant.kind], "kwargs": kwargs}


def build_psp(task: Task, variant: Variant, *, generator: Generator, scale: Scale = FACETS64, seed: int = 0) -> PSP:
    """A pSp with a fresh encoder (weights from `seed`) on a given generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = zoo.build(encoder_architecture(task, variant, scale=scale, generator=generator))
    return PSP(encoder, generator, start_from_latent_avg=variant.start_from_latent_avg)
