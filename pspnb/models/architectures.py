"""Architectures as plain values, {"class": name, "kwargs": {...}}: what cards and runs hold and `zoo.build` makes a network of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pspnb.world2.prior import N_NUMBERS, Z_DIM


def generator_architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """The generator of a training's configuration; with a `hidden` width its mapping network starts from the world's factors."""
    kwargs: dict[str, Any] = {
        "size": config["size"],
        "style_dim": config["style_dim"],
        "channels": {str(resolution): width for resolution, width in config["channels"]},
        "noise": config.get("noise", False),
    }
    if "hidden" not in config:
        return {"class": "Generator", "kwargs": kwargs | {"n_mlp": config["n_mlp"]}}
    sizes = {name: config[name] for name in ("style_dim", "hidden", "n_mlp", "lr_mlp")}
    mapping = {"class": "PriorMapping", "kwargs": {**sizes, "n_numbers": N_NUMBERS, "z_dim": Z_DIM}}
    return {"class": "Generator", "kwargs": kwargs | {"z_dim": Z_DIM, "mapping": mapping}}
