"""Which images and which random numbers a training step sees: a function of (seed, step) and of nothing else."""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor


def step_generator(seed: int, step: int, stream: int = 0, *, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one step, on `device`; `stream` separates independent uses within it.

    The same on a CPU always; a GPU draws other numbers than a CPU from the same seed, but always the same ones.
    """
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + stream * 0x94D049BB133111EB) % 2**63
    return torch.Generator(device).manual_seed(mixed)


@lru_cache(maxsize=4)
def _epoch_order(n: int, epoch: int, seed: int, device: str) -> Tensor:
    return torch.randperm(n, generator=step_generator(seed, epoch, stream=1)).to(device)


def batch_indices(n: int, batch: int, step: int, *, seed: int, device: str | torch.device = "cpu") -> Int[Tensor, " b"]:
    """Indices of batch number `step` on `device`: the data in a fresh order every epoch, no image twice within one."""
    first, last = step * batch, (step + 1) * batch
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        start = epoch * n
        parts.append(_epoch_order(n, epoch, seed, str(device))[max(first - start, 0) : last - start])
    return torch.cat(parts)
