"""Muon: momentum whose matrices are made orthogonal before they are applied, so that every direction of a weight moves alike.

Source: Jordan et al. 2024 (Newton-Schulz iteration, its coefficients); the scale of a step is that of Liu et al. 2025, so that
learning rates of Adam carry over. Chapter: "StyleGAN2 from the inside".
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.training.precision import computes_in_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROOT_MEAN_SQUARE = 0.2  # of a step, for a learning rate of one; that of Adam is between .2 and .4


@torch.no_grad()
def orthogonalised(g: Float[Tensor, " n o i"], *, steps: int = 5) -> Float[Tensor, " n o i"]:
    """U V^T of each g = U S V^T, roughly: singular values come out between about .7 and 1.2; zero stays zero.

    In bfloat16 where the device computes in it, elsewhere in float32: emulated it would be many times slower.
    """
    a, b, c = COEFFICIENTS
    tall = g.shape[-2] > g.shape[-1]
    x = (g.mT if tall else g).to(torch.bfloat16 if computes_in_bf16(g.device) else torch.float32)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        square = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, square, x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """For weights that are matrices (o, i) or convolutions (o, i, k, k) as (o, i k k); a modulated one has an axis of one in front.

    ValueError for others: biases, constants and the like want another optimiser. `momentum` is Nesterov's.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95):
        params = list(params)
        for p in params:
            if min(matrix_of(p).shape) < 2:
                raise ValueError(f"expected weights that are matrices of two rows at least, got {tuple(p.shape)}")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there; `closure` is not supported."""
        if closure is not None:
            raise ValueError("expected no closure: Muon takes the gradients that are there")
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    update = matrix_of(self._averaged(p, group["momentum"]))
                    alike.setdefault(tuple(update.shape), []).append((p, update))
            for shape, moved in alike.items():  # the ten heads of an encoder are ten times the same shapes
                scale = group["lr"] * ROOT_MEAN_SQUARE * max(shape) ** 0.5
                directions = orthogonalised(torch.stack([update for _, update in moved]))
                for (p, _), direction in zip(moved, directions, strict=True):
                    p.sub_(direction.view_as(p), alpha=scale)

    def _averaged(self, p: nn.Parameter, momentum: float) -> Tensor:
        """The gradient with Nesterov's momentum."""
        assert p.grad is not None
        if "average" not in self.state[p]:
            self.state[p]["average"] = torch.zeros_like(p)
        average = self.state[p]["average"]
        average.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(average, momentum)


def matrix_of(weight: Tensor) -> Float[Tensor, " o i"]:
    """(o, i), (o, i, k, k) or (1, o, i, k, k) as (o, i k k); a vector as one row."""
    if weight.ndim == 5:
        weight = weight[0]
    return weight.flatten(1) if weight.ndim > 1 else weight[None]
