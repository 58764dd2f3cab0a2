"""Recipes of the instruments: `pspnb train instrument NAME`. The step is in `pspnb.training.instruments`."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from pspnb.checks import given
from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.models.runs import RunFolder
from pspnb.training.arrays import FacetsArrays, concat_arrays, load_arrays, split_arrays
from pspnb.training.instruments import INSTRUMENTS, InstrumentConfig, InstrumentStepper, architecture
from pspnb.training.lookalikes import lookalike_arrays
from pspnb.training.loop import Every, fit
from pspnb.world2 import SPLIT_SIZES

Preset = Literal["cpu", "gpu"]

# (name, preset) -> configuration. The judges share neither weights nor seed, identity_eval nor people, with what they judge.
CONFIGS: Mapping[tuple[str, str], InstrumentConfig] = {
    ("perceptual", "cpu"): InstrumentConfig("perceptual", steps=1500, seed=55),
    ("perceptual_eval", "cpu"): InstrumentConfig("perceptual_eval", steps=1500, lr=1e-3, seed=66),
    ("identity", "cpu"): InstrumentConfig("identity", steps=4000, seed=11),
    ("factors", "cpu"): InstrumentConfig("factors", steps=4400, seed=44),
    ("parsing", "cpu"): InstrumentConfig("parsing", steps=2000, batch=32, seed=33),
    ("identity_eval", "cpu"): InstrumentConfig("identity_eval", steps=4400, seed=22),
    # About 70 s each on one H200: `steps` is what it does at most, `seconds` ends it.
    ("perceptual", "gpu"): InstrumentConfig("perceptual", steps=6000, batch=256, lr=4e-3, seed=55, seconds=70.0),
    ("perceptual_eval", "gpu"): InstrumentConfig(
        "perceptual_eval", steps=6000, batch=256, lr=1.5e-3, seed=66, seconds=70.0
    ),
    ("identity", "gpu"): InstrumentConfig("identity", steps=12_000, batch=512, lr=4e-3, seed=11, seconds=75.0),
    ("factors", "gpu"): InstrumentConfig("factors", steps=12_000, batch=512, lr=4e-3, seed=44, seconds=80.0),
    ("parsing", "gpu"): InstrumentConfig("parsing", steps=8000, batch=256, lr=4e-3, seed=33, seconds=80.0),
    ("identity_eval", "gpu"): InstrumentConfig(
        "identity_eval", steps=12_000, batch=512, lr=4e-3, seed=22, seconds=75.0
    ),
}


def instrument_config(name: str, preset: str | None = None, *, device: str = "cpu") -> InstrumentConfig:
    """The configuration of an instrument and preset ("cpu", "gpu"; default: as the device)."""
    key = (name, preset or ("gpu" if device.startswith("cuda") else "cpu"))
    if name not in INSTRUMENTS or key not in CONFIGS:
        raise PspnbError(
            f"expected an instrument of {', '.join(INSTRUMENTS)} and a preset of cpu, gpu; got {name!r}, {key[1]!r}"
        )
    return CONFIGS[key]


def training_arrays(
    *, n: int = SPLIT_SIZES["train"], people: int = SPLIT_SIZES["train"] // 4, device: str = "cpu"
) -> FacetsArrays:
    """What the instruments train on: the first `n` images of the train split, and 4 views each of `people` look-alikes.

    A GPU renders them anew, and more than the split's 50,000 if asked; a CPU reads the split's cache and renders the look-alikes.
    """
    own = split_arrays("train", 64, n=n, device=device)
    if not people:
        return own
    batch = 1024 if device.startswith("cuda") else 64
    return concat_arrays([own, lookalike_arrays(people, 4, device=device, batch=batch)])


def train_instrument(
    name: str,
    *,
    out: str | Path,
    resume: bool = False,
    steps: int | None = None,
    seed: int | None = None,
    seconds: float | None = None,
    preset: Preset | None = None,
    device: str | None = None,
    n_images: int | None = None,
    arrays: FacetsArrays | str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train one instrument of Facets in the folder `out`; returns the checkpoint. Resumable; SIGTERM saves and stops.

    `arrays`: what to train on, or a file of it (`save_arrays`); default: the train split (its first `n_images`), for the
    two recognition networks with as many look-alikes. `seconds`: a budget that replaces the preset's.
    """
    if name not in INSTRUMENTS:
        raise PspnbError(f"expected an instrument of {', '.join(INSTRUMENTS)}, got {name!r}")
    device = pick_device(device)
    said = given(steps=steps, seed=seed, seconds=seconds)
    config = replace(instrument_config(name, preset, device=device), **said)
    if isinstance(arrays, str | Path):
        arrays = load_arrays(arrays, device=device)
    if arrays is None:
        n = SPLIT_SIZES["train"] if n_images is None else n_images
        arrays = training_arrays(n=n, people=n // 4 if name.startswith("identity") else 0, device=device)
    stepper = InstrumentStepper(config, arrays, device=device)
    about = {"kind": "instrument", "architecture": architecture(name), "config": asdict(config), **stepper.made}
    every = Every(checkpoint=500 if stepper.device.type == "cpu" else 2000)
    fit(stepper, out, about=about, every=every, resume=resume, progress=progress)
    return RunFolder(out).latest
