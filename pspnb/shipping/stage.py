"""One run of `make weights`: how to train it, how to ship it, what it takes and what it is for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """A run, mostly of one shipped file: how to train it into a folder, how to ship it, and what it takes.

    `images`: how many it trains on in all; `rate`: images per second on one CPU core, the estimate before it has started. `feeds`:
    the chapters and tables that need it. `file`: the shipped name, None where it is the first part of another. `ready`: whether
    what it is trained on is final; one that is not is trained only when it is asked for by name.
    """

    name: str
    steps: int
    images: int
    rate: float
    train: Callable[[Path], object]
    ship: Callable[[Path], object]
    feeds: str = ""
    file: str | None = None
    ready: bool = True

    @property
    def core_hours(self) -> float:
        """Of one CPU core, estimated."""
        return self.images / self.rate / 3600
