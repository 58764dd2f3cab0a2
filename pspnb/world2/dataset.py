"""The Facets data set: fixed splits, rendered once into a memory-mapped cache, then read.

The cache lies under `$PSPNB_CACHE` or the platform's user cache folder. A folder is complete or absent: it is built aside
and renamed. It is rebuilt when it is damaged, when it is of another renderer version, or when today's renderer draws
its first image differently.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor
from torch.utils.data import Dataset

from pspnb.files.atomic import new_folder, write_json
from pspnb.files.cache import cache_folder
from pspnb.files.pictures import to_levels
from pspnb.files.progress import progress_bar
from pspnb.world2.factors import Factors
from pspnb.world2.geometry.pixels import Style
from pspnb.world2.render import RENDER_VERSION, render
from pspnb.world2.sampling import SPLIT_SIZES, global_identity, sample_factors

_BLOCK: Final = 256
_CHECKED_ROWS: Final = 16


class Facets(Dataset):
    """A split at a size. `Facets("test", 64)[i]` is a mapping: `image` (3, s, s) float32 in [-1, 1] (from 8 bits), `labels`
    (s, s) int64 ids 0-18, `factors` name -> 0-d tensor, `identity` int (unique over the splits), `landmarks` (5, 2) pixels.

    `n`: only the first n images. `style`: how they are drawn. `device`: where a missing cache is rendered. `progress`: show a
    bar while rendering.
    """

    def __init__(
        self,
        split: str,
        size: int = 64,
        *,
        n: int | None = None,
        style: Style = "photo",
        cache: str | Path | None = None,
        device: str | torch.device = "cpu",
        progress: bool = True,
    ) -> None:
        if split not in SPLIT_SIZES:
            raise ValueError(f"expected a split of {', '.join(SPLIT_SIZES)}, got {split!r}")
        full = SPLIT_SIZES[split]
        if n is not None and not 1 <= n <= full:
            raise ValueError(f"expected n in [1, {full}] for the {split} split, got {n}")
        self.split, self.size, self.n = split, size, full if n is None else n
        root = Path(cache) if cache is not None else cache_folder()
        folder = root / "facets" / f"v{RENDER_VERSION}"
        kind = f"{split}-{size}" if style == "photo" else f"{style}-{split}-{size}"
        self.style, self.folder = style, folder / f"{kind}-{full}"
        if self.n != full and not _is_sound(self.folder, split, size, full, style):
            self.folder = folder / f"{kind}-{self.n}"
        n = self.n if self.folder.name.endswith(f"-{self.n}") else full
        _ensure(self.folder, split, size, n, style, device, progress)
        self._images = np.load(self.folder / "images.npy", mmap_mode="r")
        self._labels = np.load(self.folder / "labels.npy", mmap_mode="r")
        self._landmarks = np.load(self.folder / "landmarks.npy", mmap_mode="r")

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not -self.n <= i < self.n:
            raise IndexError(f"expected an index below {self.n}, got {i}")
        one = self.batch([i % self.n])
        factors = {name: value[0] for name, value in one["factors"].items()}
        return {k: v[0] for k, v in one.items() if k not in ("factors", "identity")} | {
            "factors": factors,
            "identity": int(one["identity"][0]),
        }

    def batch(self, indices: Sequence[int] | Integer[Tensor, " b"]) -> dict[str, Any]:
        """The same mapping for many images at once: every tensor gains a leading axis b; `identity` is int64 (b,)."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        rows = index.numpy()
        if len(rows) and (rows.min() < 0 or rows.max() >= self.n):
            raise IndexError(f"expected indices in [0, {self.n}), got {rows.min()} to {rows.max()}")
        return {
            "image": self.images(index),
            "labels": torch.from_numpy(self._labels[rows].astype(np.int64)),
            "landmarks": torch.from_numpy(self._landmarks[rows]),
            "factors": self.factors(index),
            "identity": global_identity(self.split, index),
        }

    def images(self, indices: Sequence[int] | Integer[Tensor, " b"]) -> Tensor:
        """Only the images (b, 3, s, s), float32 in [-1, 1]: what a generator's trainer reads."""
        rows = torch.as_tensor(indices, dtype=torch.int64).numpy()
        return torch.from_numpy(self._images[rows]).float() * (2.0 / 255.0) - 1.0

    def factors(self, indices: Sequence[int] | Integer[Tensor, " b"] | None = None) -> Factors:
        """Factors by name, (b,) each; of all images without `indices`."""
        return sample_factors(self.split, torch.arange(self.n) if indices is None else torch.as_tensor(indices))


def _ensure(
    folder: Path, split: str, size: int, n: int, style: Style, device: str | torch.device, progress: bool
) -> None:
    if _is_sound(folder, split, size, n, style):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(folder.name + ".lock")):
        if _is_sound(folder, split, size, n, style):  # another process built it while this one waited
            return
        with new_folder(folder) as aside:
            _build(aside, split, size, n, style, device, progress)


def _build(
    folder: Path, split: str, size: int, n: int, style: Style, device: str | torch.device, progress: bool
) -> None:
    shapes = {
        "images": ((n, 3, size, size), np.uint8),
        "labels": ((n, size, size), np.uint8),
        "landmarks": ((n, 5, 2), np.float32),
    }
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, (shape, dtype) in shapes.items()
    }

    def draw(start: int) -> int:
        stop = min(start + _BLOCK, n)
        out = render(sample_factors(split, range(start, stop)), size, device=device, style=style)
        arrays["images"][start:stop] = to_levels(out.image).cpu().numpy()
        arrays["labels"][start:stop] = out.labels.cpu().numpy()
        arrays["landmarks"][start:stop] = out.landmarks.cpu().numpy()
        return stop - start

    # Blocks are independent, and torch lets go of Python's lock while it computes.
    workers = _cores() if torch.device(device).type == "cpu" else 1
    with (
        ThreadPoolExecutor(workers) as pool,
        progress_bar(total=n, desc=f"rendering Facets {split} {size} px", unit="image", wanted=progress) as bar,
    ):
        blocks = [pool.submit(draw, start) for start in range(0, n, _BLOCK)]
        try:
            for block in blocks:
                bar.update(block.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for array in arrays.values():
        array.flush()
    meta = _about(split, size, n, style) | {"crc": _checksums(arrays)}
    write_json(folder / "meta.json", meta, indent=None)


def _about(split: str, size: int, n: int, style: Style) -> dict[str, Any]:
    about = {"renderer": RENDER_VERSION, "split": split, "size": size, "n": n}
    return about if style == "photo" else about | {"style": style}


def _cores() -> int:
    """Cores this process may use, at most 8 (each worker holds the intermediate images of one block)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)


def _checksums(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """CRC-32 of evenly spaced rows, first and last among them: cheap enough to check whenever the cache is opened."""
    rows = np.unique(np.linspace(0, len(arrays["images"]) - 1, _CHECKED_ROWS).astype(int))
    return {name: zlib.crc32(np.ascontiguousarray(a[rows]).tobytes()) for name, a in arrays.items()}


def _is_sound(folder: Path, split: str, size: int, n: int, style: Style) -> bool:
    """Whether the cache is complete, intact in its checked rows, and what today's renderer would draw."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in ("images", "labels", "landmarks")}
        expected = _about(split, size, n, style) | {"crc": _checksums(arrays)}
    except (OSError, ValueError, KeyError, EOFError, IndexError):
        return False
    shapes = [a.shape for a in arrays.values()] == [(n, 3, size, size), (n, size, size), (n, 5, 2)]
    if meta != expected or not shapes:
        return False
    first = to_levels(render(sample_factors(split, [0]), size, style=style).image)[0].numpy().astype(int)
    # one step of 255 is what another device may differ by
    return int(np.abs(first - arrays["images"][0].astype(int)).max()) <= 1


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time; the system frees the lock when its holder dies. Without POSIX locks (Windows) two processes
    may both render; the rename keeps that safe."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
