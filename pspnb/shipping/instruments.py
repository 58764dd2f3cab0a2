"""From the run of an instrument (or a small export of it) to a shipped file, with its measured errors on the card.

An export is one safetensors file: fp16 weights with their history and where they were made, small enough to carry.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pspnb.errors import PspnbError
from pspnb.measure.instrument_reports import (
    factors_report,
    identity_report,
    lookalikes_report,
    parsing_report,
    perceptual_report,
)
from pspnb.models.runs import RunFolder
from pspnb.models.zoo import ZOO, build
from pspnb.shipping.zoo_file import half, ship
from pspnb.training.arrays import FacetsArrays, several_views, split_arrays
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.instruments import architecture
from pspnb.training.journal import read_journal
from pspnb.training.lookalikes import lookalike_test
from pspnb.world2 import RENDER_VERSION

TITLES = {
    "identity": "Face recognition on Facets (ArcFace margin): the R of the identity loss",
    "identity_eval": "Face recognition on Facets (CurricularFace margin), for measuring only",
    "parsing": "Labels of Facets images, 19 classes",
    "factors": "Factors of Facets images: pose, expression, light, accessories, identity",
    "perceptual": "Trunk of an LPIPS-form distance on Facets, for training",
    "perceptual_eval": "Another trunk of an LPIPS-form distance on Facets, for measuring only",
}


def export_instrument(run: str | Path, out: str | Path, *, points: int = 100) -> Path:
    """The weights of a run in fp16 in one safetensors file, with config, steps, hardware and a log of `points` lines."""
    state = load_checkpoint(RunFolder(run).latest)
    records = read_journal(RunFolder(run).log)
    about = {k: state[k] for k in ("config", "made", "images", "people", "step", "seconds", "finished")}
    about["log"] = records[:: max(1, len(records) // points)]
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(half(state["network"]), out, metadata={"about": json.dumps(about)})
    return out


def read_run(run: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights in fp16 and what is known of a run: from its folder or from a file of `export_instrument`."""
    path = Path(run)
    if path.is_dir():
        state = load_checkpoint(RunFolder(path).latest)
        return half(state["network"]), {k: v for k, v in state.items() if k not in ("network", "head", "optimizer")}
    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {})["about"]
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(about)  # noqa: SIM118
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise PspnbError(f"{path} is neither the folder of a run nor an exported instrument: {error}") from error


def load_instrument(name: str, run: str | Path) -> nn.Module:
    """The instrument of a run or export, in eval mode, as it will be shipped: from its card, weights rounded to float16."""
    weights, _ = read_run(run)
    network = build(json.loads(json.dumps(architecture(name))))
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return network.eval()


def ship_instrument(name: str, run: str | Path, *, folder: str | Path = ZOO, note: str = "") -> Path:
    """An instrument of a run (or export) as a zoo file; on the card its errors on people it never saw and where it was made."""
    weights, about = read_run(run)
    metrics = {k: round(v, 5) for k, v in report(name, load_instrument(name, run)).items()}
    card = card_of(name, about, metrics=metrics) | ({"note": note} if note else {})
    return ship(f"world2/{name}", weights, card, folder=folder)


def card_of(name: str, about: Mapping[str, Any], *, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The card of an instrument, from what its run knows of itself (`read_run`)."""
    c = about["config"]
    return {
        "title": TITLES[name],
        "architecture": architecture(name),
        "metrics": dict(metrics),
        "world": RENDER_VERSION,
        "data": f"Facets, train split: {about['images']} images of {about['people']} people",
        "seed": c["seed"],
        "steps": about["step"],
        "batch": c["batch"],
        "hours": round(about["seconds"] / 3600, 4),
        **{k: v for k, v in about["made"].items() if v != "unknown"},
        "config": c,
    }


def report(name: str, network: Any, *, data: FacetsArrays | None = None) -> dict[str, float]:
    """The instrument's numbers on `data`; default: test people, for identities 300 people with 6 views and look-alikes."""
    if name in ("identity", "identity_eval"):
        if data is not None:
            return identity_report(network, data)
        everyone = identity_report(network, several_views("test", 300, 6, 64, seed=900))
        return everyone | lookalikes_report(network, lookalike_test())
    data = data or split_arrays("test", 64)
    if name == "parsing":
        return parsing_report(network, data)
    return factors_report(network, data) if name == "factors" else perceptual_report(network, data)
