"""Recipes of the generators: `pspnb train generator` (a GAN) and `pspnb train imitation` (taught by the renderer)."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pspnb.checks import above_zero, at_least, given, seed_in_range
from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.files.provenance import hardware
from pspnb.models.architectures import generator_architecture
from pspnb.models.runs import RunFolder
from pspnb.models.zoo import load_shipped
from pspnb.nn.instruments import PerceptualNet
from pspnb.recipes.scales import FACETS64, FACETS128
from pspnb.training.arrays import split_arrays
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.gan import GanConfig, GanStepper
from pspnb.training.imitation import SHIPPED, ImitationConfig, ImitationStepper, shipped_state
from pspnb.training.lessons import Lessons, draw_lessons
from pspnb.training.loop import Every, fit
from pspnb.world2 import Style
from pspnb.world2.render import RENDER_VERSION

Preset = Literal["cpu", "gpu"]

_WIDE = ((4, 384), (8, 384), (16, 256), (32, 128), (64, 64))
# Scale and preset -> configuration. The gpu rows use the published batch and the alternating updates of StyleGAN2.
GENERATORS: dict[tuple[str, str], GanConfig] = {
    (FACETS64.name, "cpu"): GanConfig(),
    (FACETS64.name, "gpu"): GanConfig(
        steps=80_000,
        batch=64,
        lr=2.5e-3,
        one_pass=False,
        ema_images=20_000,
        compile=True,
        picture_every=2000,
        checkpoint_every=2000,
    ),
    (FACETS128.name, "gpu"): GanConfig(
        size=128,
        channels=((4, 192), (8, 192), (16, 128), (32, 96), (64, 64), (128, 32)),
        d_channels=(*_WIDE, (128, 32)),
        steps=120_000,
        batch=64,
        lr=2.5e-3,
        one_pass=False,
        ema_images=20_000,
        compile=True,
        picture_every=2000,
        checkpoint_every=2000,
    ),
}


# The generator with an answer key. On a GPU larger batches and more lessons, within a budget of time.
IMITATIONS: dict[tuple[str, str], ImitationConfig] = {
    (FACETS64.name, "cpu"): ImitationConfig(),
    (FACETS64.name, "gpu"): ImitationConfig(steps=100_000, batch=32, n_images=600_000, ema_images=20_000),
    (FACETS128.name, "gpu"): ImitationConfig(
        size=128,
        channels=((4, 192), (8, 192), (16, 160), (32, 128), (64, 96), (128, 48)),
        d_channels=(*_WIDE, (128, 32)),
        steps=30_000,
        batch=32,
        n_images=150_000,
        ema_images=20_000,
    ),
}


def imitation_config(scale: str = FACETS64.name, preset: str | None = None, *, device: str = "cpu") -> ImitationConfig:
    """The configuration of a scale and preset ("cpu", "gpu"; default: as the device) of the generator that imitates."""
    key = (scale, preset or ("gpu" if device.startswith("cuda") else "cpu"))
    if key not in IMITATIONS:
        known = ", ".join(f"{s} --preset {p}" for s, p in IMITATIONS)
        raise PspnbError(f"no recipe for {key[0]} --preset {key[1]}; there are {known}")
    return IMITATIONS[key]


def generator_config(scale: str = FACETS64.name, preset: str | None = None, *, device: str = "cpu") -> GanConfig:
    """The configuration of a scale (FACETS64.name, "facets128") and preset ("cpu", "gpu"; default: as the device)."""
    key = (scale, preset or ("gpu" if device.startswith("cuda") else "cpu"))
    if key not in GENERATORS:
        known = ", ".join(f"{s} --preset {p}" for s, p in GENERATORS)
        raise PspnbError(f"no recipe for {key[0]} --preset {key[1]}; there are {known}")
    return GENERATORS[key]


def train_generator(
    *,
    out: str | Path,
    scale: str = FACETS64.name,
    preset: Preset | None = None,
    resume: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    n_images: int | None = None,
    progress: bool = True,
) -> Path:
    """Train a StyleGAN2 generator on Facets in the folder `out`; returns the checkpoint. Resumable; SIGTERM saves and stops."""
    at_least(1, steps=steps, batch=batch, images=n_images)
    seed_in_range(seed)
    device = pick_device(device)
    said = given(steps=steps, batch=batch, seed=seed)
    config = replace(generator_config(scale, preset, device=device), **said)
    return fit_generator(config, out=out, resume=resume, device=device, n_images=n_images, progress=progress)


def fit_generator(
    config: GanConfig,
    *,
    out: str | Path,
    resume: bool = False,
    device: str | None = None,
    n_images: int | None = None,
    progress: bool = True,
) -> Path:
    """`train_generator` with a configuration of your own."""
    device = pick_device(device)
    data = split_arrays("train", config.size, n=n_images, device=device)
    stepper = GanStepper(config, lambda i: data.images[i.to(data.images.device)], len(data), device=device)
    every = Every(log=config.log_every, pictures=config.picture_every, checkpoint=config.checkpoint_every)
    fit(stepper, out, about=about_generator(config, device), every=every, resume=resume, progress=progress)
    return RunFolder(out).latest


def about_generator(config: GanConfig | ImitationConfig, device: str) -> dict[str, Any]:
    """What the run of a generator says of itself."""
    described = {"architecture": generator_architecture(asdict(config)), "config": asdict(config)}
    return {"kind": "generator", **described, "hardware": hardware(device)}


def train_imitation(
    *,
    out: str | Path,
    scale: str = FACETS64.name,
    preset: Preset | None = None,
    resume: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    seconds: float | None = None,
    style: Style | None = None,
    n_images: int | None = None,
    init: str | Path | None = None,
    compile: bool = False,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Train a generator that imitates world 2 in the folder `out`; returns the checkpoint. Resumable; SIGTERM saves and stops.

    `n_images` lessons are rendered into the folder first, in the `style` "photo" (default) or "cartoon". `seconds`: a budget of
    time for the training after that. `init`: weights to start from, "shipped" or another run (its folder or checkpoint);
    optimisers start afresh.
    """
    at_least(1, steps=steps, batch=batch, images=n_images)
    above_zero(seconds=seconds)
    seed_in_range(seed)
    device, out = pick_device(device), Path(out)
    said = {"steps": steps, "batch": batch, "seed": seed, "seconds": seconds, "n_images": n_images, "style": style}
    try:
        config = replace(imitation_config(scale, preset, device=device), compile=compile, **given(**said))
    except ValueError as error:
        raise PspnbError(str(error)) from error
    return fit_imitation(config, out=out, init=init, resume=resume, device=device, progress=progress)


def fit_imitation(
    config: ImitationConfig,
    *,
    out: str | Path,
    init: str | Path | None = None,
    resume: bool = False,
    device: str | None = None,
    lessons: Lessons | None = None,
    progress: bool = True,
) -> Path:
    """`train_imitation` with a configuration of your own; `lessons` that are there already, on `device`, need no rendering."""
    device, out = pick_device(device), Path(out)
    run = RunFolder(out)
    run.check_new(resume=resume)  # before minutes go into lessons, and so with what the run starts from
    start = None if init is None or run.begun() else _start(init)
    lessons = teach(config, out, device) if lessons is None else lessons
    stepper = ImitationStepper(config, lessons, _trunk(device), device=device)
    if start is not None:
        stepper.start_from(start)
    every = Every(pictures=1000, checkpoint=500)
    fit(stepper, out, about=about_generator(config, device), every=every, resume=resume, progress=progress)
    return run.latest


def _start(init: str | Path) -> dict[str, Any]:
    """The weights to start from: the shipped ones, or those of a run by its folder or checkpoint."""
    if str(init) in ("shipped", SHIPPED):
        return shipped_state()
    path = Path(init)
    return load_checkpoint(RunFolder(path).latest if path.is_dir() else path)


def teach(config: ImitationConfig, out: Path, device: str) -> Lessons:
    """The lessons of a run, rendered into its folder by all cores the first time."""
    name = f"lessons-v{RENDER_VERSION}-{config.n_images}-{config.size}-{config.even:g}-{config.seed}.safetensors"
    name = name if config.style == "photo" else f"{config.style}-{name}"
    if not (out / name).exists():
        out.mkdir(parents=True, exist_ok=True)
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        draw_lessons(
            config.n_images,
            size=config.size,
            even=config.even,
            seed=config.seed,
            style=config.style,
            workers=workers if config.n_images > 1000 else 0,
        ).save(out / name)
    return Lessons.load(out / name, device=device)


def _trunk(device: str) -> PerceptualNet:
    """The shipped perceptual instrument, a loss of the imitation."""
    trunk = load_shipped("world2/perceptual").to(device)
    assert isinstance(trunk, PerceptualNet)
    return trunk
