"""Recipes of the instruments: `pspnb train instrument NAME`. What decides their weights is in `pspnb.training.instruments`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pspnb.device import pick_device
from pspnb.errors import PspnbError
from pspnb.models.runs import RunFolder
from pspnb.training.arrays import FacetsArrays, concat_arrays, load_arrays, split_arrays
from pspnb.training.instruments import INSTRUMENTS, InstrumentStepper, architecture, instrument_config
from pspnb.training.lookalikes import lookalike_arrays
from pspnb.training.loop import Every, fit
from pspnb.world2 import SPLIT_SIZES

Preset = Literal["cpu", "gpu"]


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
    wanted: dict[str, Any] = {"steps": steps, "seed": seed, "seconds": seconds}
    given = {key: value for key, value in wanted.items() if value is not None}
    config = replace(instrument_config(name, preset, device=device), **given)
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
