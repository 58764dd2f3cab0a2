"""Recipes of the encoders: which network, which losses, how long; `train_encoder` runs one.

`pspnb train inversion --out runs/x` is `train_encoder("inversion", out="runs/x")`. A recipe is a task (`pspnb.tasks`), a variant
(a row of the paper's Table 1, or an ablation that its text mentions) and a scale. Chapters: "Training the encoder", "Ablations".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pspnb.checks import above_zero, at_least, between, seed_in_range
from pspnb.checks import given as options_given
from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.files.provenance import hardware
from pspnb.losses import IdentityLoss, LossTerm, LossWeights, LPIPSLoss, build_terms
from pspnb.models.load import load_generator, load_identity, load_translator
from pspnb.models.psp import PSP
from pspnb.models.runs import about_run, checkpoint_of, is_run
from pspnb.models.zoo import card, load_shipped
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.tasks import Task, task_named
from pspnb.training.callbacks import TensorBoard
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.data import Batches, PairArrays, facets_arrays
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.loop import Outcome
from pspnb.training.pictures import folder_arrays, paired_arrays

Kind = Literal["psp", "w", "naive_wplus"]
ENCODERS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"psp": GradualStyleEncoder, "w": WEncoder, "naive_wplus": NaiveWPlusEncoder}
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a row of Table 1, or an ablation, changes in a task.

    Attributes:
        title: for tables.
        kind: the encoder.
        drop: loss weights set to 0.
        level: pyramid level of all styles, 0 the smallest map; None: the published grouping.
        start_from_latent_avg: as published; without it the encoder must find the mean latent itself.
        options: further arguments of the encoder.
    """

    title: str
    kind: Kind = "psp"
    drop: tuple[str, ...] = ()
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

# Encoder arguments of each scale; ffhq1024 takes the published ones, which are the defaults of the classes.
_NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "facets64": {
        "psp": {
            "units": [1, 1, 2, 1],
            "widths": [32, 32, 64, 96, 96],
            "head_channels": 48,
            "last_channels": 128,  # as wide as a style, so that it is no bottleneck
            "input_size": 64,
        },
        "w": {"units": [1, 1, 2, 1], "widths": [32, 32, 64, 96, 96], "input_size": 64},
        # The published bottleneck of 512 numbers; pooling 4 x 4 to 3 x 3 (published: 16 x 16 to 7 x 7) keeps more than that.
        "naive_wplus": {"units": [1, 1, 2, 1], "widths": [32, 32, 64, 96, 96], "input_size": 64, "pool": 3},
    },
    "ffhq1024": {"psp": {}, "w": {}, "naive_wplus": {}},
}

# At 64 px: batch as published, rate above the paper's text (1e-3). Measured on an earlier generator, training loss after 10,400
# images in batches of 16: .455 at 1e-3, .427 at 3e-3, .422 at 1e-2; in batches of 8: .421 at 3e-3. The average of the weights
# replaces a decay of the learning rate, so that a run can be made longer at any time. With `SECOND_PART` the rate does fall.
TRAINING: Mapping[str, EncoderConfig] = MappingProxyType(
    {
        "facets64": EncoderConfig(
            steps=6500, lr=3e-3, average=0.998, bf16=True, validate_every=500, checkpoint_every=500, picture_every=1000
        ),
        "ffhq1024": EncoderConfig(steps=300_000, lr=1e-4, bf16=True),
    }
)
BATCH: Mapping[str, int] = MappingProxyType({"facets64": 8, "ffhq1024": 8})
# On a GPU: batches that fill it, replayed, more images, a rate that falls to zero; one part instead of two.
GPU_TRAINING: Mapping[str, EncoderConfig] = MappingProxyType(
    {
        "facets64": EncoderConfig(
            steps=10_000, lr=5e-3, decay_from=0.3, average=0.998, bf16=True, replay=True,
            log_every=100, validate_every=250, checkpoint_every=2500, picture_every=0,
        ),
    }
)  # fmt: skip
GPU_BATCH: Mapping[str, int] = MappingProxyType({"facets64": 64})
# The second part of the shipped encoders of facets64: what `train_encoder` is told beside `init`, the first part. Larger
# batches and a falling rate; another seed, so that images come in another order and mirrored anew.
SECOND_PART: Mapping[str, Any] = MappingProxyType({"steps": 6000, "batch": 16, "decay_from": 0.0, "seed": 1})
VALIDATION_IMAGES = 500


def model_name(task: str, variant: str = "psp", scale: str = "facets64") -> str:
    """ "facets64/inversion" for pSp, "facets64/inversion_w" for a variant."""
    return f"{scale}/{task}" + ("" if variant == "psp" else f"_{variant}")


def variant_named(name: str) -> Variant:
    """The variant of this name. PspnbError that lists the names."""
    if name not in VARIANTS:
        raise PspnbError(f"expected a variant among {', '.join(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def loss_weights(task: Task, variant: Variant, lambdas: Mapping[str, float] | None = None) -> LossWeights:
    """The published lambdas of the task, without those the variant drops, and with what `lambdas` says instead.

    PspnbError for a name that no loss has, or a weight that is none.
    """
    changes = dict.fromkeys(variant.drop, 0.0) | dict(lambdas or {})
    names = [entry.name for entry in fields(LossWeights)]
    if unknown := sorted(set(changes) - set(names)):
        raise PspnbError(f"expected loss weights among {', '.join(names)}, got {', '.join(unknown)}")
    try:
        return replace(task.weights, **changes)
    except ValueError as error:
        raise PspnbError(str(error)) from error


def encoder_architecture(
    task: Task, variant: Variant, *, scale: str = "facets64", generator: Generator
) -> dict[str, Any]:
    """Class and arguments of the encoder, as a card holds them."""
    kwargs = {
        "style_dim": generator.style_dim,
        "in_channels": task.in_channels,
        **_NETWORKS[scale][variant.kind],
        **variant.options,
    }
    if variant.kind != "w":
        kwargs["n_styles"] = generator.n_styles
    if variant.level is not None:
        kwargs["maps"] = [variant.level] * generator.n_styles
    return {"class": ENCODERS[variant.kind].__name__, "kwargs": kwargs}  # plain values: it is written into files


def build_psp(task: Task, variant: Variant, *, generator: Generator, scale: str = "facets64", seed: int = 0) -> PSP:
    """A pSp with a fresh encoder (weights from `seed`) on a given generator."""
    architecture = encoder_architecture(task, variant, scale=scale, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ENCODERS[variant.kind](**architecture["kwargs"])
    return PSP(encoder, generator, start_from_latent_avg=variant.start_from_latent_avg)


def train_encoder(
    task: str = "inversion",
    *,
    out: str | Path,
    variant: str = "psp",
    scale: str = "facets64",
    generator: str | Path | None = None,
    identity: str | Path | None = None,
    data: str | Path | None = None,
    sources: str | Path | None = None,
    validation: str | Path | None = None,
    resume: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    decay_from: float | None = None,
    lambdas: Mapping[str, float] | None = None,
    init: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    n_images: int | None = None,
    strict: bool = False,
    tensorboard: bool = False,
    compile: bool = False,
    replay: bool | None = None,
    preset: Literal["cpu", "gpu"] = "cpu",
    progress: bool = True,
) -> Outcome:
    """Train the encoder of a task in the folder `out`, on a frozen generator; see `pspnb.training.loop.fit` for what it writes.

    facets64 needs nothing: the shipped generator and instruments, and Facets as data. ffhq1024 needs `generator` and `identity`
    (files), and `data`. `data` is a folder of target pictures, `sources` one of source pictures (label maps, sketches) with
    the same names, `validation` one like `data`. `n_images` uses the first images only. `init` is what a new run starts from
    instead of fresh weights: a shipped name, a pSp file (whose generator is then the default), or the folder of another run.
    `decay_from`: share of the steps after which the rate falls to 0. `lambdas`: loss weights (fields of `LossWeights`) other
    than those of the task and its variant. `compile`: torch.compile the step (needs a C++ compiler on a CPU). `preset`: "gpu"
    takes the larger batches of `GPU_TRAINING`. `replay`: as in `EncoderConfig`. Raises PspnbError on user errors.
    """
    at_least(1, steps=steps, batch=batch, images=n_images)
    above_zero(lr=lr)
    between(0, 1, decay_from=decay_from)
    seed_in_range(seed)
    device = pick_device(device)
    chosen, kind = task_named(task), variant_named(variant)
    if scale not in TRAINING:
        raise PspnbError(f"expected a scale among {', '.join(TRAINING)}, got {scale!r}")
    if preset == "gpu" and scale not in GPU_TRAINING:
        raise PspnbError(f"expected preset gpu for a scale among {', '.join(GPU_TRAINING)}, got {scale!r}")
    config = (GPU_TRAINING if preset == "gpu" else TRAINING)[scale]
    said = options_given(replay=replay, steps=steps, lr=lr, decay_from=decay_from)
    config = replace(config, compile=compile, **said)
    given = None if init is None else load_translator(init)
    own = None if given is None else given.decoder
    weights = loss_weights(chosen, kind, lambdas)
    decoder, distance, recognition = _networks(scale, generator, identity, weights, own)
    model = build_psp(chosen, kind, generator=decoder, scale=scale, seed=seed).to(device)
    if given is not None:
        start_from(model, given, name=str(init))
    elif scale == "ffhq1024" and identity is not None:
        start_from_recognition(model.encoder, identity)
    arrays, held_out = _arrays(
        chosen, scale, data, sources, validation, n_images=n_images, strict=strict, progress=progress
    )
    if torch.device(device).type == "cuda":
        arrays, held_out = arrays.resident(device), None if held_out is None else held_out.resident(device)
    size = (GPU_BATCH if preset == "gpu" else BATCH)[scale] if batch is None else batch
    terms = _terms(weights, model, distance, recognition, device)
    recipe: dict[str, Any] = {
        "kind": "encoder",
        "task": chosen.name,
        "variant": variant,
        "scale": scale,
        "hardware": hardware(device),
    }
    if init is not None:
        recipe |= {"init": str(init), "init_images": images_seen(init)}
    recipe |= {
        "generator": _where(generator if generator is not None else None if scale == "facets64" else init),
        "architecture": encoder_architecture(chosen, kind, scale=scale, generator=decoder),
        "start_from_latent_avg": kind.start_from_latent_avg,
    }
    return fit_encoder(
        model,
        Batches(arrays, chosen, batch=size, seed=seed),
        terms,
        config,
        [TensorBoard(Path(out) / "tensorboard")] if tensorboard else [],
        out=out,
        validation=None if held_out is None else Batches(held_out, chosen, batch=min(50, len(held_out)), seed=seed),
        device=device,
        resume=resume,
        progress=progress,
        about=recipe,
    )


def _where(generator: str | Path | None) -> str:
    """What to write down of where a generator came from: a shipped name as it is, a file or folder with its whole path."""
    if generator is None:
        return "facets64/generator"
    return str(Path(generator).resolve()) if Path(generator).exists() else str(generator)


def facets_losses(device: str | torch.device = "cpu") -> tuple[nn.Module, IdentityLoss]:
    """The distance and the identity loss of the facets64 recipes, from shipped instruments, frozen, on `device`."""
    perceptual = load_shipped("facets64/perceptual").requires_grad_(False)
    # Facets heads are not cut out: recognition was trained on whole images.
    return perceptual.to(device), IdentityLoss(load_shipped("facets64/identity"), box=None).to(device)


def _networks(
    scale: str,
    generator: str | Path | None,
    identity: str | Path | None,
    weights: LossWeights,
    own: Generator | None = None,
) -> tuple[Generator, Any, IdentityLoss | None]:
    if scale == "facets64":
        decoder = load_generator(generator or "facets64/generator")
        return decoder, *facets_losses()
    if generator is not None:
        decoder = load_generator(generator)
    elif own is not None:
        decoder = own
    else:
        raise PspnbError("expected --generator FILE: official weights are not shipped (see `pspnb models`)")
    if weights.id and identity is None:
        raise PspnbError("expected --identity FILE, because the identity loss has a weight (see `pspnb models`)")
    recognition = None if identity is None else IdentityLoss(load_identity(identity))
    return decoder, LPIPSLoss() if weights.lpips or weights.lpips_crop else None, recognition


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
    task: Task,
    scale: str,
    data: str | Path | None,
    sources: str | Path | None,
    validation: str | Path | None,
    *,
    n_images: int | None,
    strict: bool,
    progress: bool,
) -> tuple[PairArrays, PairArrays | None]:
    """Training and validation pictures. Without folders: Facets."""
    size = 64 if scale == "facets64" else 256
    if data is None:
        if scale != "facets64" or sources is not None:
            raise PspnbError("expected --data FOLDER with the target pictures")
        return facets_arrays(task, "train", size, n=n_images, progress=progress), facets_arrays(
            task, "validation", size, n=VALIDATION_IMAGES, progress=progress
        )
    if task.source == "labels" and sources is None:
        raise PspnbError(f"expected --sources FOLDER with the label maps of {task.name}")
    if sources is not None:
        arrays = paired_arrays(sources, data, size, task=task, strict=strict, progress=progress)
    else:
        arrays = folder_arrays(data, size, strict=strict, progress=progress)
    if n_images is not None:
        arrays = PairArrays(arrays.images[:n_images], None if arrays.given is None else arrays.given[:n_images])
    if validation is None:
        return arrays, None
    if task.source == "labels":
        raise PspnbError(f"expected no --validation for {task.name}: its label maps would be needed too")
    return arrays, folder_arrays(validation, size, strict=strict, progress=progress)


def start_from_recognition(encoder: nn.Module, file: str | Path) -> None:
    """Copy stem and body of an IR-SE50 face-recognition file into an encoder, as the published training does.

    A stem for other than three channels keeps its own weights. PspnbError when the file is of another architecture.
    """
    theirs, mine = load_identity(file).state_dict(), encoder.state_dict()
    shared = {key: value for key, value in theirs.items() if key.startswith(("input_layer.", "body."))}
    if encoder.in_channels != 3:
        shared.pop("input_layer.0.weight")
    wrong = [key for key, value in shared.items() if key not in mine or mine[key].shape != value.shape]
    if wrong:
        raise PspnbError(
            f"{file}: expected an IR-SE50 like the encoder's body, {len(wrong)} tensors differ, first {wrong[0]}"
        )
    encoder.load_state_dict({**mine, **shared})


def start_from(model: PSP, given: PSP, *, name: str) -> None:
    """Copy encoder and mean latent of a trained pSp. PspnbError, before anything is copied, when the encoder is another."""
    theirs, mine = given.encoder.state_dict(), model.encoder.state_dict()
    wrong = [
        key for key in mine | theirs if key not in mine or key not in theirs or mine[key].shape != theirs[key].shape
    ]
    if wrong:
        raise PspnbError(
            f"{name}: expected an encoder like the one to be trained, {len(wrong)} tensors differ, first {wrong[0]}; "
            "choose the task and the --variant that it was trained for"
        )
    model.encoder.load_state_dict(theirs)
    model.latent_avg.copy_(given.latent_avg)


def images_seen(trained: str | Path) -> int:
    """On how many images a shipped encoder (by name) or a run was trained in all; 0 where nothing says so."""
    if Path(trained).exists() and is_run(trained):
        path = checkpoint_of(trained)
        state = load_checkpoint(path)
        return int(about_run(path, state).get("init_images", 0) + state["step"] * state["identity"]["batch"])
    try:
        about = card(str(trained))
    except PspnbError:  # a file
        return 0
    return int(about.get("images", about["steps"] * about["batch"]))
