"""Training the Feature-Style encoder: how long at each scale, and `train_feature_style`, which runs a recipe.

`pspnb train feature_style --out runs/x` takes, at facets64, generator, instruments and people of the world of Facets; on
photographs, generator, recognition network and pictures must be given. Source: Yao et al. 2022, section 4.2. Chapter: "The
Feature-Style encoder".
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.files.provenance import hardware, whereabouts
from pspnb.losses import (
    FeatureStyleLoss,
    FeatureStyleWeights,
    IdentityLoss,
    LPIPSLoss,
    MultiLayerSimilarity,
    MultiScalePerceptual,
)
from pspnb.models.load import load_generator, load_identity
from pspnb.models.zoo import load_shipped
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes.encoders import VALIDATION_IMAGES
from pspnb.recipes.feature_style_variants import (
    PLAIN,
    FeatureVariant,
    build_feature_style,
    encoder_architecture,
    loss_weights,
    variant_named,
)
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.scales import FACETS64, FFHQ1024, Scale, scale_named
from pspnb.recipes.schedule import Schedule, schedule_of
from pspnb.tasks import TASKS
from pspnb.training.arrays import split_arrays
from pspnb.training.callbacks import TensorBoard
from pspnb.training.data import Batches, PairArrays
from pspnb.training.encoder import every_of
from pspnb.training.feature_style import FeatureStyleConfig, FeatureStyleStepper
from pspnb.training.loop import Outcome, fit
from pspnb.training.mixed_batches import Images, MixedBatches
from pspnb.training.pictures import folder_arrays
from pspnb.training.processes import processes

WORLD = "world2"  # whose generator, instruments and people the book's own scale takes


# (scale, preset) -> schedule.
TRAINING: Mapping[tuple[str, str], Schedule[FeatureStyleConfig]] = MappingProxyType(
    {
        # A quarter of the paper's images in larger batches, at a higher rate; the average of the weights is kept.
        (FACETS64.name, "cpu"): Schedule(
            batch=8,
            config=FeatureStyleConfig(
                steps=15_000, lr=1e-3, average=0.998, bf16=True, validate_every=500, checkpoint_every=500
            ),
        ),
        # As many images as in the paper.
        (FACETS64.name, "gpu"): Schedule(
            batch=64,
            config=FeatureStyleConfig(
                steps=7_500,
                lr=2e-3,
                average=0.998,
                bf16=True,
                replay=True,
                log_every=100,
                validate_every=250,
                checkpoint_every=2500,
                picture_every=2500,
            ),
        ),
        # The paper's: 12 epochs of 10,000 steps, two real and two synthetic images each, 1e-4.
        (FFHQ1024.name, "cpu"): Schedule(
            batch=4, config=FeatureStyleConfig(steps=120_000, lr=1e-4, bf16=True)
        ),
    }
)  # fmt: skip


def train_feature_style(
    recipe: EncoderRecipe,
    *,
    out: str | Path,
    resume: bool = False,
    device: str | None = None,
    tensorboard: bool = False,
    progress: bool = True,
) -> Outcome:
    """Train a Feature-Style encoder in the folder `out`; see `pspnb.training.loop.fit` for what it writes.

    Of the recipe, task, `sources` and `init` are not read. The book's own scale needs nothing, others need
    `generator` and `identity` (files), and `data`, a folder of pictures. Raises PspnbError on user errors.
    """
    device, scale = pick_device(device), scale_named(recipe.scale)
    name = PLAIN if recipe.variant == EncoderRecipe.variant else recipe.variant
    variant, schedule, seed = variant_named(name), schedule_of(recipe, TRAINING), recipe.seed or 0
    weights = loss_weights(variant, recipe.lambdas, scale=scale)
    generator, where = _generator(scale, recipe)
    model = build_feature_style(variant, generator=generator, scale=scale, seed=seed).to(device)
    arrays, held_out = _arrays(scale, recipe, progress=progress)
    if torch.device(device).type == "cuda":
        arrays, held_out = arrays.resident(device), None if held_out is None else held_out.resident(device)
    stepper = FeatureStyleStepper(
        model,
        _mixed(arrays, generator, batch=schedule.batch, images=variant.images, seed=seed),
        feature_style_loss(weights, variant, scale=scale, identity=recipe.identity).to(device),
        schedule.config,
        validation=None if held_out is None else Batches(held_out, TASKS["inversion"], batch=min(50, len(held_out))),
        team=processes(device),
    )
    about = {
        "kind": "encoder",
        "task": "inversion",
        "variant": name,
        "scale": scale.name,
        "hardware": hardware(device),
        "generator": where,
        "architecture": encoder_architecture(variant, scale=scale, generator=generator),
        "start_from_latent_avg": True,
    }
    every = every_of(schedule.config, validates=held_out is not None)
    callbacks = [TensorBoard(Path(out) / "tensorboard")] if tensorboard else []
    return fit(stepper, out, about=about, every=every, callbacks=callbacks, resume=resume, progress=progress)


def feature_style_loss(
    weights: FeatureStyleWeights, variant: FeatureVariant, *, scale: Scale = FACETS64, identity: str | None = None
) -> FeatureStyleLoss:
    """The loss on frozen networks: the shipped instruments of the world; on photographs LPIPS, and `identity`, a file."""
    perceptual: nn.Module
    if scale.own_world:
        perceptual, recognition, parsing = (
            load_shipped(f"{WORLD}/{name}") for name in ("perceptual", "identity", "parsing")
        )
        # Facets heads are not cut out: recognition was trained on whole images.
        networks: dict[str, Any] = {"identity": MultiLayerSimilarity(recognition)}
        networks["parsing"] = MultiLayerSimilarity(parsing)
    else:
        assert identity is not None, "expected a recognition network on photographs"
        perceptual, recognition = LPIPSLoss(), load_identity(identity)
        networks = {"identity": MultiLayerSimilarity(recognition, prepare=IdentityLoss(recognition).prepare)}
    several = MultiScalePerceptual(perceptual, scales=variant.scales)
    return FeatureStyleLoss(weights, perceptual=several, **networks, **variant.loss)


def _mixed(arrays: PairArrays, generator: Generator, *, batch: int, images: Images, seed: int) -> MixedBatches:
    """The batches of a variant. PspnbError where they cannot be made."""
    try:
        return MixedBatches(arrays, generator, batch=batch, images=images, seed=seed)
    except ValueError as error:
        raise PspnbError(str(error)) from error


def _generator(scale: Scale, recipe: EncoderRecipe) -> tuple[Generator, str]:
    """The generator, and what to write down of where it came from."""
    if not scale.own_world and (recipe.generator is None or recipe.identity is None):
        raise PspnbError(
            "expected --generator FILE and --identity FILE: official weights are not shipped (see `pspnb models`)"
        )
    where = f"{WORLD}/generator" if recipe.generator is None else str(recipe.generator)
    return load_generator(where), whereabouts(where)


def _arrays(scale: Scale, recipe: EncoderRecipe, *, progress: bool) -> tuple[PairArrays, PairArrays | None]:
    """Training and validation pictures. Without folders: Facets."""
    size = scale.input_size
    if recipe.data is None:
        if not scale.own_world:
            raise PspnbError("expected --data FOLDER with pictures")
        parts = (("train", recipe.images), ("validation", VALIDATION_IMAGES))
        train, unseen = (PairArrays(split_arrays(split, size, n=n).images) for split, n in parts)
        return train, unseen
    options: dict[str, Any] = {"strict": recipe.strict, "progress": progress}
    arrays = folder_arrays(recipe.data, size, **options)
    held_out = None if recipe.validation is None else folder_arrays(recipe.validation, size, **options)
    return PairArrays(arrays.images[: recipe.images]), held_out
