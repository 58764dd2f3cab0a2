"""Training the encoders: how long at each scale, and `train_encoder`, which runs a recipe.

`pspnb train inversion --out runs/x` is `train_encoder(EncoderRecipe(task="inversion"), out="runs/x")`. A recipe names a task
(`pspnb.tasks`), a variant (`pspnb.recipes.variants`) and a scale (`pspnb.recipes.scales`). Chapter: "Training the encoder".
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.files.provenance import hardware, whereabouts
from pspnb.losses import IdentityLoss, LossTerm, LossWeights, LPIPSLoss, build_terms
from pspnb.models.base import Translator
from pspnb.models.load import load_generator, load_identity, load_translator
from pspnb.models.psp import PSP
from pspnb.models.zoo import load_shipped
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.scales import FACETS64, FFHQ1024, Scale, scale_named
from pspnb.recipes.schedule import Schedule, schedule_of
from pspnb.recipes.starts import images_seen, start_from, start_from_recognition
from pspnb.recipes.variants import build_psp, encoder_architecture, loss_weights, variant_named
from pspnb.tasks import Task, task_named
from pspnb.training.callbacks import TensorBoard
from pspnb.training.data import Batches, PairArrays, facets_arrays
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.loop import Outcome
from pspnb.training.pictures import folder_arrays, paired_arrays

# (scale, preset) -> schedule.
TRAINING: Mapping[tuple[str, str], Schedule[EncoderConfig]] = MappingProxyType(
    {
        # Batch as published, rate above the paper's text (1e-3). Measured on an earlier generator, training loss after 10,400
        # images in batches of 16: .455 at 1e-3, .427 at 3e-3, .422 at 1e-2; in batches of 8: .421 at 3e-3. We average instead
        # of decaying the rate, so that a run can be made longer at any time. With `SECOND_PART` the rate does fall.
        (FACETS64.name, "cpu"): Schedule(
            batch=8,
            config=EncoderConfig(
                steps=6500,
                lr=3e-3,
                average=0.998,
                bf16=True,
                validate_every=500,
                checkpoint_every=500,
                picture_every=1000,
            ),
        ),
        # Batches that fill a GPU, replayed, more images, a rate that falls to zero; one part instead of two.
        (FACETS64.name, "gpu"): Schedule(
            batch=64,
            config=EncoderConfig(
                steps=10_000,
                lr=5e-3,
                decay_from=0.3,
                average=0.998,
                bf16=True,
                replay=True,
                log_every=100,
                validate_every=250,
                checkpoint_every=2500,
                picture_every=0,
            ),
        ),
        (FFHQ1024.name, "cpu"): Schedule(batch=8, config=EncoderConfig(steps=300_000, lr=1e-4, bf16=True)),
    }
)
# The second part of the shipped encoders of facets64: what a recipe says beside `init`, the first part. Larger
# batches and a falling rate; another seed, so that images come in another order and mirrored anew.
SECOND_PART: Mapping[str, Any] = MappingProxyType({"steps": 6000, "batch": 16, "decay_from": 0.0, "seed": 1})
VALIDATION_IMAGES = 500


def train_encoder(
    recipe: EncoderRecipe,
    *,
    out: str | Path,
    resume: bool = False,
    device: str | None = None,
    tensorboard: bool = False,
    progress: bool = True,
) -> Outcome:
    """Train an encoder in the folder `out`, on a frozen generator; see `pspnb.training.loop.fit` for what it writes.

    The book's own scales need nothing: generator and instruments are shipped, and Facets are the data. Others need `generator` and
    `identity` (files), and `data`. Raises PspnbError on user errors.
    """
    device = pick_device(device)
    task, variant, scale = task_named(recipe.task), variant_named(recipe.variant), scale_named(recipe.scale)
    schedule, seed = schedule_of(recipe, TRAINING), recipe.seed or 0
    weights = loss_weights(task, variant, recipe.lambdas)
    trained = None if recipe.init is None else load_translator(recipe.init)
    generator, distance, recognition = _networks(scale, recipe, weights, trained)
    model = build_psp(task, variant, generator=generator, scale=scale, seed=seed).to(device)
    if trained is not None:
        start_from(model, trained, name=str(recipe.init))
    elif not scale.own_world and recipe.identity is not None:
        start_from_recognition(model.encoder, recipe.identity)
    second = scale.own_world and generator.knows_factors
    arrays, held_out = _arrays(task, scale, recipe, second=second, progress=progress)
    if torch.device(device).type == "cuda":
        arrays, held_out = arrays.resident(device), None if held_out is None else held_out.resident(device)
    started = {} if recipe.init is None else {"init": str(recipe.init), "init_images": images_seen(recipe.init)}
    about = {
        "task": task.name,
        "variant": recipe.variant,
        "scale": scale.name,
        "hardware": hardware(device),
        **started,
        "generator": _where(scale, recipe),
        "architecture": encoder_architecture(task, variant, scale=scale, generator=generator),
        "start_from_latent_avg": variant.start_from_latent_avg,
    }
    return fit_encoder(
        model,
        Batches(arrays, task, batch=schedule.batch, seed=seed),
        _terms(weights, model, distance, recognition, device),
        schedule.config,
        [TensorBoard(Path(out) / "tensorboard")] if tensorboard else [],
        out=out,
        validation=None if held_out is None else Batches(held_out, task, batch=min(50, len(held_out)), seed=seed),
        device=device,
        resume=resume,
        progress=progress,
        about=about,
    )


def _where(scale: Scale, recipe: EncoderRecipe) -> str:
    """What to write down of where the generator came from."""
    usual = scale.shipped("generator") if scale.own_world else recipe.init
    return whereabouts(str(usual if recipe.generator is None else recipe.generator))


def facets_losses(
    device: str | torch.device = "cpu", *, scale: Scale = FACETS64, second: bool = False
) -> tuple[nn.Module, IdentityLoss]:
    """The distance and the identity loss of Facets (`second`: of world 2), from shipped instruments, frozen, on `device`."""
    names = ("perceptual", "identity")
    perceptual, identity = (load_shipped(f"world2/{name}" if second else scale.shipped(name)) for name in names)
    # Facets heads are not cut out: recognition was trained on whole images.
    return perceptual.requires_grad_(False).to(device), IdentityLoss(identity, box=None).to(device)


def _networks(
    scale: Scale, recipe: EncoderRecipe, weights: LossWeights, trained: Translator | None
) -> tuple[Generator, Any, IdentityLoss | None]:
    """Generator, perceptual distance and identity loss; the last two as far as they have a weight."""
    if scale.own_world:
        # What was taught factors draws world 2: its people, its instruments.
        generator = load_generator(recipe.generator or scale.shipped("generator"))
        return generator, *facets_losses(scale=scale, second=generator.knows_factors)
    if recipe.generator is not None:
        generator = load_generator(recipe.generator)
    elif trained is not None:
        generator = trained.decoder
    else:
        raise PspnbError("expected --generator FILE: official weights are not shipped (see `pspnb models`)")
    if weights.id and recipe.identity is None:
        raise PspnbError("expected --identity FILE, because the identity loss has a weight (see `pspnb models`)")
    recognition = None if recipe.identity is None else IdentityLoss(load_identity(recipe.identity))
    return generator, LPIPSLoss() if weights.lpips or weights.lpips_crop else None, recognition


def _terms(
    weights: LossWeights, model: PSP, distance: Any, recognition: IdentityLoss | None, device: str
) -> list[LossTerm]:
    return build_terms(
        weights,
        lpips=None if distance is None else _mean(distance.to(device)),
        identity=None if recognition is None else recognition.to(device),
        latent_avg=model.latent_avg if model.start_from_latent_avg else None,
    )


def _mean(distance: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: distance(a, b).mean()  # instruments give one number a pair


def _arrays(
    task: Task, scale: Scale, recipe: EncoderRecipe, *, second: bool = False, progress: bool
) -> tuple[PairArrays, PairArrays | None]:
    """Training and validation pictures. Without folders: Facets, `second`: of world 2."""
    size, data, sources = scale.input_size, recipe.data, recipe.sources
    if data is None:
        if not scale.own_world or sources is not None:
            raise PspnbError("expected --data FOLDER with the target pictures")
        training = facets_arrays(task, "train", size, n=recipe.images, second=second, progress=progress)
        held_out = facets_arrays(task, "validation", size, n=VALIDATION_IMAGES, second=second, progress=progress)
        return training, held_out
    if task.needs_given and sources is None:
        raise PspnbError(f"expected --sources FOLDER with the {task.source.what} of {task.name}")
    if sources is not None:
        arrays = paired_arrays(sources, data, size, task=task, strict=recipe.strict, progress=progress)
    else:
        arrays = folder_arrays(data, size, strict=recipe.strict, progress=progress)
    if recipe.images is not None:
        arrays = PairArrays(
            arrays.images[: recipe.images], None if arrays.given is None else arrays.given[: recipe.images]
        )
    if recipe.validation is None:
        return arrays, None
    if task.needs_given:
        raise PspnbError(f"expected no --validation for {task.name}: its {task.source.what} would be needed too")
    return arrays, folder_arrays(recipe.validation, size, strict=recipe.strict, progress=progress)
