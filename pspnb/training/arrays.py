"""Facets as arrays in memory: what the trainers index. Rendered (a GPU does that at once), or read from the cache or a file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.progress import progress_bar
from pspnb.world2 import (
    SPLIT_SIZES,
    Facets,
    Factors,
    Style,
    combine,
    identity_of,
    render,
    sample_factors,
    sample_free,
    sample_identity,
)


@dataclass(frozen=True)
class FacetsArrays:
    """`n` portraits: pixels 0..255, label ids 0..18, every factor by name, identity numbers."""

    images: UInt8[Tensor, " n 3 s s"]
    labels: UInt8[Tensor, " n s s"]
    factors: Factors
    identity: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, index: Int[Tensor, " m"] | slice) -> "FacetsArrays":
        """The rows at `index`."""
        factors = {name: value[index] for name, value in self.factors.items()}
        return FacetsArrays(self.images[index], self.labels[index], factors, self.identity[index])


def concat_arrays(parts: Sequence[FacetsArrays]) -> FacetsArrays:
    """All rows of `parts` (at least one), in their order."""
    factors = {name: torch.cat([p.factors[name] for p in parts]) for name in parts[0].factors}
    images, labels, identity = (torch.cat([getattr(p, k) for p in parts]) for k in ("images", "labels", "identity"))
    return FacetsArrays(images, labels, factors, identity)


def save_arrays(path: str | Path, data: FacetsArrays) -> Path:
    """One safetensors file with everything, written aside and renamed: several processes can train on one rendering."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"factors.{name}": value for name, value in data.factors.items()}
    tensors |= {"images": data.images, "labels": data.labels, "identity": data.identity}
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: value.contiguous() for name, value in tensors.items()}, aside)
    os.replace(aside, path)
    return path


def load_arrays(path: str | Path, *, device: str | torch.device = "cpu") -> FacetsArrays:
    """What `save_arrays` wrote; pixels and labels on `device`, factors on the CPU. Raises PspnbError for any other file."""
    try:
        tensors = load_file(path)
        factors = {k.removeprefix("factors."): v for k, v in tensors.items() if k.startswith("factors.")}
        images, labels = tensors["images"].to(device), tensors["labels"].to(device)
        return FacetsArrays(images, labels, factors, tensors["identity"])
    except (OSError, KeyError, SafetensorError) as error:
        raise PspnbError(f"{path} is not a file of Facets arrays: {error}; make one with save_arrays") from error


def to_unit(images: UInt8[Tensor, " *n 3 s s"]) -> Tensor:
    """0..255 -> [-1, 1] float32."""
    return images.float().div(127.5).sub(1)


def render_arrays(
    factors: Factors,
    identity: Int[Tensor, " n"],
    size: int,
    *,
    device: str | torch.device = "cpu",
    batch: int = 64,
    progress: str | None = None,
    style: Style = "photo",
) -> FacetsArrays:
    """Render every row of `factors`; arrays stay on `device`. `progress`: label of a progress bar, None for none."""
    n = len(identity)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8, device=device)
    labels = torch.empty(n, size, size, dtype=torch.uint8, device=device)
    for start in progress_bar(range(0, n, batch), desc=progress, wanted=progress is not None):
        rows = slice(start, start + batch)
        out = render({name: value[rows] for name, value in factors.items()}, size, device=device, style=style)
        images[rows] = ((out.image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        labels[rows] = out.labels.to(torch.uint8)
    return FacetsArrays(images, labels, factors, identity)


def split_arrays(split: str, size: int, *, n: int | None = None, device: str | torch.device = "cpu") -> FacetsArrays:
    """The first `n` (default: all) portraits of a split: from the cache on a CPU, rendered anew on a GPU."""
    if torch.device(device).type == "cuda":
        index = torch.arange(n or SPLIT_SIZES[split])
        return render_arrays(
            sample_factors(split, index), identity_of(split, index), size, device=device, batch=1024, progress=split
        )
    data = Facets(split, size, n=n)
    # Copy on write: torch wants writable memory, and nothing may write to the cache.
    images, labels = (
        torch.from_numpy(np.load(data.folder / f"{k}.npy", mmap_mode="c")[: data.n]) for k in ("images", "labels")
    )
    return FacetsArrays(images, labels, data.factors(), identity_of(split, torch.arange(data.n)))


def several_views(split: str, people: int, views: int, size: int, *, seed: int) -> FacetsArrays:
    """`views` portraits each of the first `people` of a split, with fresh free factors drawn from `seed`."""
    identity = torch.arange(people).repeat_interleave(views)
    factors = combine(sample_identity(split, identity), sample_free(seed, torch.arange(people * views)))
    return render_arrays(factors, identity, size, progress=None)
