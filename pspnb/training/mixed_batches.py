"""Batches of real and of generated images (Yao et al. 2022, section 4): half and half, or one kind alone for the ablation.

Chapter: "The Feature-Style encoder".
"""

from collections.abc import Generator as Iterate
from contextlib import closing
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.nn.stylegan2 import Generator
from pspnb.tasks import TASKS
from pspnb.training.data import Batches, Pair, PairArrays
from pspnb.training.order import step_generator

Images = Literal["both", "real", "synthetic"]


class MixedBatches(Batches):
    """Inversion's batches: real images, mirrored at random, in the even rows, images of `generator` in the odd ones.

    `images`: "real" or "synthetic" fills all rows with one kind. Batch k depends on (seed, k) only.
    """

    def __init__(
        self, arrays: PairArrays, generator: Generator, *, batch: int, images: Images = "both", seed: int = 0
    ) -> None:
        if images == "both" and batch % 2:
            raise ValueError(f"expected an even batch, half of it real images and half synthetic ones, got {batch}")
        real = {"both": batch // 2, "real": batch, "synthetic": 0}[images]
        super().__init__(arrays, TASKS["inversion"], batch=max(real, 1), seed=seed)
        self._real = Batches(arrays, self.task, batch=real, seed=seed) if real else None
        self.batch, self.images, self.generator = batch, images, generator

    def endless(self, first_step: int = 0, *, device: str | torch.device = "cpu") -> Iterate[Pair, None, None]:
        """Training batches from `first_step` on; source and target are one tensor."""
        step = first_step
        if self._real is None:
            while True:
                made = self._made(step, device)
                yield Pair(made, made)
                step += 1
        with closing(self._real.endless(first_step, device=device)) as pairs:
            for pair in pairs:
                target = pair.target
                if self.images == "both":
                    target = torch.stack([target, self._made(step, device)], dim=1).flatten(0, 1)
                yield Pair(target, target)
                step += 1

    def synthetic(self, first: int, n: int, *, device: str | torch.device = "cpu") -> Bool[Tensor, " n"]:
        """Which of the rows `first`, ..., `first` + n - 1 of a batch are generated."""
        rows = torch.arange(first, first + n, device=device)
        return (rows % 2 == 1) if self.images == "both" else torch.full_like(rows, self._real is None, dtype=torch.bool)

    @property
    def share(self) -> float:
        """Of synthetic images in a batch."""
        return {"both": 0.5, "real": 0.0, "synthetic": 1.0}[self.images]

    @torch.no_grad()
    def _made(self, step: int, device: str | torch.device) -> Float[Tensor, " m 3 s s"]:
        """This step's generated images, of fresh w, at the size of the real ones."""
        n = self.batch if self._real is None else self.batch // 2
        z = torch.randn(n, self.generator.z_dim, generator=step_generator(self.seed, step, stream=4))
        made = self.generator(z.to(device)).float()
        size = self.arrays.size
        return made if made.shape[-1] == size else F.adaptive_avg_pool2d(made, size)
