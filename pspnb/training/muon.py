"""Muon: momentum whose matrices are made orthogonal before they are applied, so that every direction of a weight moves alike.

Source: Jordan et al. 2024 (Newton-Schulz iteration, its coefficients); the scale of a step is that of Liu et al. 2025, so that
learning rates of Adam carry over. Chapter: "StyleGAN2 from the inside".
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROOT_MEAN_SQUARE = 0.2  # of a step, for a learning rate of one; that of Adam is between .2 and .4


@torch.no_grad()
def orthogonalised(g: Float[Tensor, " o i"], *, steps: int = 5) -> Float[Tensor, " o i"]:
    """U V^T of g = U S V^T, roughly: singular values come out between about .7 and 1.2. In bfloat16; zero stays zero."""
    a, b, c = COEFFICIENTS
    tall = g.shape[0] > g.shape[1]
    x = (g.T if tall else g).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """For weights that are matrices (o, i) or convolutions (o, i, k, k), also with axes of one in front, as (o, i k k).

    ValueError for others: biases, constants and the like want another optimiser. `momentum` is Nesterov's.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95):
        params = list(params)
        for p in params:
            if min(_matrix(p).shape) < 2:
                raise ValueError(f"expected weights that are matrices of two rows at least, got {tuple(p.shape)}")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there; `closure` is not supported."""
        if closure is not None:
            raise ValueError("expected no closure: Muon takes the gradients that are there")
        for group in self.param_groups:
            momentum = group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - momentum)
                update = _matrix(p.grad.lerp(average, momentum))
                scale = ROOT_MEAN_SQUARE * max(update.shape) ** 0.5
                p.sub_(orthogonalised(update).view_as(p), alpha=group["lr"] * scale)


def _matrix(weight: Tensor) -> Float[Tensor, " o i"]:
    """(1, ..., o, i, k, k) as (o, i k k)."""
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    return weight.flatten(1) if weight.ndim > 1 else weight[None]
