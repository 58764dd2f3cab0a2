"""Which images and which random numbers a training step sees: a function of (seed, step) and of nothing else."""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """A CPU generator for one step; `stream` separates independent uses within it."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB) % 2**63
    return torch.Generator().manual_seed(mixed)


@lru_cache(maxsize=4)
def _epoch_order(n: int, epoch: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=step_generator(seed, epoch, stream=1))


def batch_indices(n: int, batch: int, step: int, *, seed: int) -> Int[Tensor, "b"]:
    """Indices of batch number `step`: the data in a fresh order every epoch, no image twice within one."""
    positions = range(step * batch, (step + 1) * batch)
    return torch.stack([_epoch_order(n, p // n, seed)[p % n] for p in positions])
