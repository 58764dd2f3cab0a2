"""What a trainer reads: 8-bit pictures in arrays, and batches that are a function of (seed, step).

Pictures come from Facets, from a folder, or from two folders matched by name. Folders are decoded once, at the size of
training, into a memory-mapped file in the cache; after that a step costs a copy of a few rows. Mirroring, shrinking and
the like happen on the device (`Task.pair`). Book: chapter "Training the encoder".
"""

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pspnb import facets, world2
from pspnb.files.pictures import from_levels
from pspnb.tasks import Task
from pspnb.training.order import batch_indices, step_generator

log = logging.getLogger(__name__)

_AHEAD = 3  # batches read before they are asked for


class Pair(NamedTuple):
    """A batch: what the encoder reads, and the image it should return, both as in `Task.pair`."""

    source: Float[Tensor, " b c h w"]
    target: Float[Tensor, " b 3 h w"]

    def part(self, rows: slice) -> "Pair":
        """Some rows of the batch; a source that is the target stays so."""
        target = self.target[rows]
        return Pair(target if self.source is self.target else self.source[rows], target)


@dataclass(frozen=True)
class PairArrays:
    """n target images, and what a source needs beside them: label maps, sketches, source pictures, or nothing.

    Values are 0 ... 255 (label maps: class ids). The tensors may lie in memory, in a memory-mapped file, or on a GPU.
    """

    images: UInt8[Tensor, " n 3 s s"]
    given: UInt8[Tensor, " n c s s"] | UInt8[Tensor, " n s s"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[-1]

    def resident(self, device: str | torch.device, *, limit: int = 4 << 30) -> "PairArrays":
        """The arrays in the device's memory if they fit into `limit` bytes, else these."""
        parts = [a for a in (self.images, self.given) if a is not None]
        if sum(a.numel() * a.element_size() for a in parts) > limit:
            return self
        return PairArrays(self.images.to(device), None if self.given is None else self.given.to(device))

    def take(self, index: Int[Tensor, " b"]) -> tuple[Tensor, Tensor | None]:
        """Rows of both arrays, 8-bit, where the arrays are."""
        index = index.to(self.images.device, non_blocking=True)
        return self.images[index], None if self.given is None else self.given[index]


class Batches:
    """Batches of a task. Images and augmentation of batch k depend on (seed, k) only.

    So a resumed run sees what the uninterrupted one would have seen, and several processes can each make the whole
    batch and keep their part: the run doesn't depend on their number. `batch` is the number of images per optimiser
    step, over all processes.
    """

    def __init__(self, arrays: PairArrays, task: Task, *, batch: int, seed: int = 0) -> None:
        if not 1 <= batch <= len(arrays):
            raise ValueError(f"expected a batch of 1 ... {len(arrays)} images (all there are), got {batch}")
        if task.needs_given and arrays.given is None:
            raise ValueError(f"expected {task.source.what} for {task.name}, got images alone")
        self.arrays, self.task, self.batch, self.seed = arrays, task, batch, seed

    def __len__(self) -> int:
        return len(self.arrays)

    def endless(self, first_step: int = 0, *, device: str | torch.device = "cpu") -> Generator[Pair, None, None]:
        """Training batches from `first_step` on, read ahead in a thread."""
        device = torch.device(device)

        def read(step: int) -> tuple[Tensor, Tensor | None]:
            return self._read(batch_indices(len(self), self.batch, step, seed=self.seed), device)

        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            waiting: list[Future] = [reader.submit(read, first_step + i) for i in range(_AHEAD)]
            step = first_step
            try:
                while True:
                    rows = waiting.pop(0).result()
                    waiting.append(reader.submit(read, step + _AHEAD))
                    yield self._pair(rows, device, step_generator(self.seed, step, stream=2), train=True)
                    step += 1
            finally:
                for future in waiting:
                    future.cancel()

    def once(self, *, device: str | torch.device = "cpu", part: int = 0, parts: int = 1) -> Iterator[Pair]:
        """Every image once, in order and without augmentation, the last batch incomplete: for validation.

        Of several processes each takes every `parts`-th batch.
        """
        device = torch.device(device)
        for start in range(0, len(self), self.batch)[part::parts]:
            index = torch.arange(start, min(start + self.batch, len(self)))
            generator = step_generator(self.seed, start, stream=3)
            yield self._pair(self._read(index, device), device, generator, train=False)

    def _read(self, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor | None]:
        images, given = self.arrays.take(index)
        if device.type == "cuda" and images.device.type == "cpu":
            images, given = images.pin_memory(), None if given is None else given.pin_memory()
        return images, given

    def _pair(
        self, rows: tuple[Tensor, Tensor | None], device: torch.device, generator: torch.Generator, *, train: bool
    ) -> Pair:
        images, given = rows
        target = from_levels(images.to(device, non_blocking=True))
        if given is not None:
            given = self.task.source.unit(given.to(device, non_blocking=True))
        return Pair(*self.task.pair(target, generator=generator, given=given, train=train))


def facets_arrays(
    task: Task,
    split: Literal["train", "validation", "test"],
    size: int = 64,
    *,
    n: int | None = None,
    second: bool = False,
    progress: bool = True,
) -> PairArrays:
    """Facets for a task: the first `n` images (default: all) of a split, from its cache, which is rendered if missing.

    `second`: of world 2, as are those of tasks between photographs and cartoons.
    """
    if task.paired:
        photo, cartoon = (
            world2.Facets(split, size, n=n, style=style, progress=progress) for style in ("photo", task.outputs)
        )
        return PairArrays(_stored(cartoon, "images"), _stored(photo, "images"))
    data = (
        world2.Facets(split, size, n=n, progress=progress)
        if second
        else facets.Facets(split, size, n=n, progress=progress)
    )
    return PairArrays(_stored(data, "images"), task.source.of_labels(_stored(data, "labels")))


def _stored(data: facets.Facets | world2.Facets, name: str) -> Tensor:
    return _mapped(data.folder / f"{name}.npy")[: len(data)]


def _mapped(path) -> Tensor:
    # "c", copy on write: torch warns about arrays that it could not write to, though nobody does.
    return torch.from_numpy(np.load(path, mmap_mode="c"))
