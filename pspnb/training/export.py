"""From a trained network to a shipped file: fp16 safetensors and the card beside it."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

ZOO = Path(__file__).parents[1] / "zoo"
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
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace("/", "_")
    path = folder / f"{stem}.safetensors"
    write_whole(path, payload)
    added = {"name": name, "licence": "MIT", "bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    whole = {**made, **card, **added}
    write_whole(folder / f"{stem}.json", (json.dumps(whole, indent=1) + "\n").encode())
    return path


def add_metrics(name: str, metrics: Mapping[str, float], *, folder: str | os.PathLike[str] = ZOO) -> None:
    """Put measured numbers on the card of a shipped file."""
    path = Path(folder) / f"{name.replace('/', '_')}.json"
    card = json.loads(path.read_text())
    card["metrics"] = dict(metrics)
    write_whole(path, (json.dumps(card, indent=1) + "\n").encode())


def write_whole(path: Path, payload: bytes) -> None:
    """All of a file or nothing of it: written aside and renamed. Makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(payload)
    os.replace(temporary, path)


def commit() -> str:
    """Commit of the repository this package lies in, "-dirty" when files differ from it; "unknown" outside one.

    `$PSPNB_COMMIT` says it where a copy of the files was carried to another machine without their history.
    """
    if told := os.environ.get("PSPNB_COMMIT"):
        return told
    root = Path(__file__).parents[2]
    try:
        short = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "diff", "--quiet", "HEAD", "--", "pspnb"], cwd=root, capture_output=True, check=False
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return short.stdout.strip() + ("-dirty" if dirty.returncode else "")


def hardware(device: str = "cpu") -> str:
    """One line: the GPU's name, or the processor, and how many threads torch uses."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"
