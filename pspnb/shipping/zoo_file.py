"""From a trained network to a shipped file: fp16 safetensors and the card beside it."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from pspnb.files.atomic import write_bytes, write_json
from pspnb.files.provenance import commit, hardware
from pspnb.files.reading import read_json
from pspnb.models.zoo import ZOO

MAX_BYTES = 4_000_000  # of one shipped file


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as float16, contiguous; raises ValueError for a value float16 cannot hold."""
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.is_floating_point():
            small = tensor.to(torch.float16)
            if not bool(torch.isfinite(small).all()):
                raise ValueError(
                    f"expected values within the range of float16, got {float(tensor.abs().max()):.3g} in {name}"
                )
            tensor = small
        out[name] = tensor.clone()
    return out


def ship(
    name: str,
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any],
    *,
    folder: str | os.PathLike[str] = ZOO,
) -> Path:
    """Write `facets64/x` as facets64_x.safetensors and facets64_x.json; returns the weights' path.

    `card` needs "architecture", "title", "data", "seed", "steps", "metrics"; hardware, commit, licence, size and sha256 are
    added. The card is written last, so it always belongs to a whole file. Raises ValueError above 4 MB.
    """
    payload = save(half(tensors))
    if len(payload) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes for {name}, got {len(payload)}")
    made = {"commit": commit(), "hardware": hardware()}  # before the file below is one that differs from the commit
    folder = Path(folder)
    stem = name.replace("/", "_")
    path = folder / f"{stem}.safetensors"
    write_bytes(path, payload)
    added = {"name": name, "licence": "MIT", "bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    whole = {**made, **card, **added}
    write_json(folder / f"{stem}.json", whole)
    return path


def add_metrics(name: str, metrics: Mapping[str, float], *, folder: str | os.PathLike[str] = ZOO) -> None:
    """Put measured numbers on the card of a shipped file."""
    path = Path(folder) / f"{name.replace('/', '_')}.json"
    card = read_json(path)
    card["metrics"] = dict(metrics)
    write_json(path, card)
