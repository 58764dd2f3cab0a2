"""What an imitating generator learns from: the renderer's pictures and label maps of drawn factors, beside their numbers.

Half of the pictures are drawn as in the world, the others with even choices, so that rare kinds are seen often. They are rendered
before the training, or (`GrowingLessons`) by other processes while it runs. Chapter: "StyleGAN2 from the inside".
"""

import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from pspnb.training.arrays import render_arrays
from pspnb.world2 import Factors, Style
from pspnb.world2.prior import draw_z, even_choices, factors_of, numbers


@dataclass(frozen=True)
class Lessons:
    """The teacher's pictures, their classes and the numbers of their factors; the first `n_true` are drawn as in the world, the
    others evenly."""

    images: UInt8[Tensor, " n 3 s s"]
    labels: UInt8[Tensor, " n s s"]
    numbers: Float[Tensor, " n m"]
    n_true: int

    def ready(self) -> tuple[int, int]:
        """How many of both kinds can be learned from: all."""
        return self.n_true, len(self.images) - self.n_true

    def save(self, path: str | Path) -> None:
        """To one safetensors file, written aside and renamed."""
        path = Path(path)
        aside = path.with_suffix(".tmp")
        tensors = {name: getattr(self, name).cpu() for name in ("images", "labels", "numbers")}
        tensors["n_true"] = torch.tensor(self.n_true)
        save_file(tensors, aside)
        aside.replace(path)

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> "Lessons":
        """What `save` wrote."""
        t = load_file(path)
        images, labels, numbers_ = (t[name].to(device) for name in ("images", "labels", "numbers"))
        return cls(images, labels, numbers_, int(t["n_true"]))


def lesson_factors(n: int, *, even: float, seed: int) -> tuple[Factors, int]:
    """Factors of `n` lessons, and how many of them, the first, are drawn as in the world; `even`: share of the others."""
    n_even = int(n * even)
    n_true = n - n_even
    true = factors_of(draw_z(n_true, seed=seed + 10_001))
    others = even_choices(factors_of(draw_z(n_even, seed=seed + 10_002)), seed=seed)
    return {name: torch.cat([value, others[name]]) for name, value in true.items()}, n_true


def draw_lessons(
    n: int,
    *,
    size: int = 64,
    even: float = 0.5,
    seed: int = 0,
    device: str | torch.device = "cpu",
    workers: int = 0,
    progress: str | None = None,
    style: Style = "photo",
) -> Lessons:
    """Render `n` lessons: a function of `seed`, sizes, shares and style. `workers`: processes that render, 0: this one does."""
    factors, n_true = lesson_factors(n, even=even, seed=seed)
    if workers:
        images = torch.empty(n, 3, size, size, dtype=torch.uint8)
        labels = torch.empty(n, size, size, dtype=torch.uint8)
        for rows, part, classes in rendered(factors, [range(n)], size, workers=workers, style=style):
            images[rows], labels[rows] = torch.from_numpy(part), torch.from_numpy(classes)
    else:
        batch = 1024 if torch.device(device).type == "cuda" else 64
        drawn = render_arrays(
            factors, torch.arange(n), size, device=device, batch=batch, progress=progress, style=style
        )
        images, labels = drawn.images, drawn.labels
    return Lessons(images.to(device), labels.to(device), numbers(factors).to(device), n_true)


CHUNK = 256  # images a process renders at a time


def rendered(
    factors: Factors, parts: list[range], size: int, *, workers: int, style: Style = "photo"
) -> Iterator[tuple[slice, UInt8[np.ndarray, " k 3 s s"], UInt8[np.ndarray, " k s s"]]]:
    """Rows of `factors`, rendered by `workers` processes in chunks taken from the `parts` in turn: (rows, images, labels)."""
    queues = [[range(i, min(i + CHUNK, part.stop)) for i in range(part.start, part.stop, CHUNK)] for part in parts]
    longest = max((len(q) for q in queues), default=0)
    order = [q[i] for i in range(longest) for q in queues if i < len(q)]
    jobs = (({k: v[r.start : r.stop].numpy() for k, v in factors.items()}, size, style) for r in order)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process imports torch
    try:
        pool = multiprocessing.get_context("spawn").Pool(workers)
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    with pool:
        for rows, (images, labels) in zip(order, pool.imap(_render, jobs), strict=True):
            yield slice(rows.start, rows.stop), images, labels


def _render(
    job: tuple[dict[str, np.ndarray], int, Style],
) -> tuple[UInt8[np.ndarray, " k 3 s s"], UInt8[np.ndarray, " k s s"]]:
    torch.set_num_threads(1)
    factors, size, style = job
    given = {name: torch.from_numpy(value) for name, value in factors.items()}
    drawn = render_arrays(given, torch.arange(len(given["yaw"])), size, style=style)
    return drawn.images.numpy(), drawn.labels.numpy()


class GrowingLessons:
    """Lessons that other processes render while the training runs: those that are there are learned from.

    For a machine with many cores beside its GPU. What a step sees depends on how far the renderers are, so a run cannot be repeated
    to the bit; with all lessons there it is like `Lessons`. Use it as a context: it ends the renderers.
    """

    def __init__(
        self,
        n: int,
        *,
        size: int = 64,
        even: float = 0.5,
        seed: int = 0,
        device: str | torch.device = "cpu",
        workers: int,
        style: Style = "photo",
    ):
        factors, self.n_true = lesson_factors(n, even=even, seed=seed)
        self.images = torch.zeros(n, 3, size, size, dtype=torch.uint8, device=device)
        self.labels = torch.zeros(n, size, size, dtype=torch.uint8, device=device)
        self.numbers = numbers(factors).to(device)
        self._counts = [0, 0]
        self._made: queue.SimpleQueue[tuple[slice, Any, Any] | Exception] = queue.SimpleQueue()
        self._ended = threading.Event()
        parts = [range(self.n_true), range(self.n_true, n)]
        self._thread = threading.Thread(target=self._collect, args=(factors, parts, size, workers, style), daemon=True)

    def _collect(self, factors: Factors, parts: list[range], size: int, workers: int, style: Style) -> None:
        try:
            for made in rendered(factors, parts, size, workers=workers, style=style):
                self._made.put(made)
                if self._ended.is_set():
                    return
        except Exception as error:  # raised again where the lessons are asked for
            self._made.put(error)

    def __enter__(self) -> "GrowingLessons":
        self._thread.start()
        wanted = (self.n_true > 0, self.n_true < len(self.images))
        while not all(count or not kind for count, kind in zip(self._counts, wanted, strict=True)):
            self.ready(wait=60.0)  # nothing can be learned before both kinds have begun
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def ready(self, *, wait: float = 0.0) -> tuple[int, int]:
        """How many of both kinds are there by now; takes in what was rendered since the last call, and waits for the first of it
        up to `wait` seconds. Raises what ended the renderers."""
        try:
            made = self._made.get(timeout=wait) if wait else self._made.get_nowait()
            while True:
                if isinstance(made, Exception):
                    raise made
                rows, images, labels = made
                self.images[rows] = torch.from_numpy(images).to(self.images.device)
                self.labels[rows] = torch.from_numpy(labels).to(self.labels.device)
                kind = int(rows.start >= self.n_true)
                self._counts[kind] = rows.stop - kind * self.n_true
                made = self._made.get_nowait()
        except queue.Empty:
            return self._counts[0], self._counts[1]
