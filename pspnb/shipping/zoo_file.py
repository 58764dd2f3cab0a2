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
from pspnb.models.zoo import ZOO, weight_files

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

    Weights above 4 MB go to several files, see `pspnb.models.zoo.weight_files`. `card` needs "architecture", "title", "data",
    "seed", "steps", "metrics"; hardware, commit, licence, size, sha256 (of the files one after the other) and the number of
    files are added. The card is written last, so it always belongs to whole files. Raises ValueError for one tensor above 4 MB.
    """
    payloads = [save(part) for part in _parts(name, half(tensors))]
    made = {"commit": commit(), "hardware": hardware()}  # before the files below are ones that differ from the commit
    folder = Path(folder)
    paths = weight_files(name, parts=len(payloads), folder=folder)
    for path, payload in zip(paths, payloads, strict=True):
        write_bytes(path, payload)
    whole = b"".join(payloads)
    added = {"name": name, "licence": "MIT", "bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    if len(paths) > 1:
        added["parts"] = len(paths)
    write_json(paths[0].with_suffix(".json"), {**made, **card, **added})
    return paths[0]


def _parts(name: str, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors in their order, in groups that fit into a file with its header."""
    parts: list[dict[str, Tensor]] = [{}]
    room = MAX_BYTES - 100 * len(tensors) - 1000
    left = room
    for key, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room:
            raise ValueError(f"expected at most {room} bytes for a tensor of {name}, got {size} in {key}")
        if size > left:
            parts.append({})
            left = room
        parts[-1][key] = tensor
        left -= size
    return parts


def add_metrics(name: str, metrics: Mapping[str, float], *, folder: str | os.PathLike[str] = ZOO) -> None:
    """Put measured numbers on the card of a shipped file."""
    path = Path(folder) / f"{name.replace('/', '_')}.json"
    card = read_json(path)
    card["metrics"] = dict(metrics)
    write_json(path, card)
