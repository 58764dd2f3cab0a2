"""Ranger: rectified Adam + Lookahead + gradient centralisation (paper section 3.3); book chapter "Training".

Liu et al. 2020 (RAdam), Zhang et al. 2019 (Lookahead), Yong et al. 2020 (gradient centralisation). The trajectories are
those of the optimiser that trained the published encoders, version 20.4.11.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Temporaries are as large as the parameters updated together: 2^25 floats are 128 MB, where the 267-million-parameter
# encoder at once would need 1 GB, and on a GPU it is still only a handful of launches.
CHUNK_ELEMENTS = 2**25


class Ranger(Optimizer):
    """RAdam steps on centralised gradients, pulled every `k` steps towards a slow copy of the weights.

    Args:
        params: parameters or parameter groups; every option below except `params` can differ between groups.
        lr: learning rate (the published training used 1e-4, the paper says 1e-3).
        alpha, k: Lookahead: every `k` steps slow += alpha (fast - slow), and fast = slow.
        n_sma_threshold: below this length of the variance's moving average a step is plain momentum (t <= 5 here).
        betas, eps, weight_decay: as in AdamW (decay is decoupled).
        use_gc, gc_conv_only: centralise the gradients of parameters of more than one axis, or of more than three.

    Unlike the published version it leaves `p.grad` as it is, obeys `use_gc`, evaluates a closure, and computes the step
    size for each group's own betas.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1e-3,
        alpha: float = 0.5,
        k: int = 6,
        n_sma_threshold: float = 5.0,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        use_gc: bool = True,
        gc_conv_only: bool = False,
    ) -> None:
        for name, value, valid in (
            ("lr above 0", lr, lr > 0),
            ("alpha from 0 to 1", alpha, 0 <= alpha <= 1),
            ("k of at least 1", k, k >= 1),
            # Between N = 2 and N = 4 the rectification is the root of a negative number.
            ("n_sma_threshold of at least 4", n_sma_threshold, n_sma_threshold >= 4),
            ("eps above 0", eps, eps > 0),
            ("betas from 0 to below 1", betas, all(0 <= beta < 1 for beta in betas)),
            ("weight_decay of at least 0", weight_decay, weight_decay >= 0),
        ):
            if not valid:
                raise ValueError(f"expected {name}, got {value}")
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "k": k,
            "n_sma_threshold": n_sma_threshold,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "use_gc": use_gc,
            "gc_conv_only": gc_conv_only,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update from the gradients that are there; a parameter without one keeps its value and its step count.

        Returns what `closure` returns (evaluated first, with gradients on), else None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_step: dict[int, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise RuntimeError("expected dense gradients, got a sparse one; Ranger has no sparse form")
                by_step.setdefault(self._count(parameter), []).append(parameter)
            for t, parameters in by_step.items():
                for chunk in _chunks(parameters):
                    self._update(chunk, t, group)
        return loss

    def _count(self, parameter: Tensor) -> int:
        """The number of this step for this parameter, from 1; makes its state at the first."""
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["slow_buffer"] = parameter.detach().clone()
        state["step"] += 1
        return state["step"]

    def _update(self, parameters: list[Tensor], t: int, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr = group["lr"]
        mean, square, slow = (
            [self.state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq", "slow_buffer")
        )
        gradients = [p.grad for p in parameters if p.grad is not None]
        if group["use_gc"]:
            gradients = _centralise(gradients, min_axes=4 if group["gc_conv_only"] else 2)

        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, gradients, gradients, 1 - beta2)
        torch._foreach_mul_(mean, beta1)
        torch._foreach_add_(mean, gradients, alpha=1 - beta1)
        del gradients

        if group["weight_decay"]:
            torch._foreach_add_(parameters, parameters, alpha=-group["weight_decay"] * lr)
        size, adaptive = rectified_step(t, beta1=beta1, beta2=beta2, threshold=group["n_sma_threshold"])
        if adaptive:
            root = torch._foreach_sqrt(square)
            torch._foreach_add_(root, group["eps"])
            torch._foreach_addcdiv_(parameters, mean, root, -size * lr)
        else:
            torch._foreach_add_(parameters, mean, alpha=-size * lr)

        if t % group["k"] == 0:
            torch._foreach_add_(slow, torch._foreach_sub(parameters, slow), alpha=group["alpha"])
            torch._foreach_copy_(parameters, slow)


def rectified_step(t: int, *, beta1: float, beta2: float, threshold: float = 5.0) -> tuple[float, bool]:
    """RAdam's step size (without the learning rate) at step t, and whether to divide by the root of the variance.

    The variance of 1/sqrt(v) diverges while the moving average is short (length N <= 4): until N passes the
    threshold, the step is bias-corrected momentum. With beta2 = 0.999 that is t = 1 ... 5.
    """
    correction1, correction2 = 1 - beta1**t, 1 - beta2**t
    n_max = 2 / (1 - beta2) - 1
    n = n_max - 2 * t * beta2**t / correction2
    if n <= threshold:
        return 1 / correction1, False
    rectification = (n - 4) / (n_max - 4) * (n - 2) / n * n_max / (n_max - 2)
    return (correction2 * rectification) ** 0.5 / correction1, True


def _centralise(gradients: list[Tensor], *, min_axes: int) -> list[Tensor]:
    """Gradients minus their mean over all axes but the first, as new tensors; short-axed ones pass unchanged."""
    wide = [g for g in gradients if g.ndim >= min_axes]
    if not wide:
        return gradients
    means = [g.mean(dim=tuple(range(1, g.ndim)), keepdim=True) for g in wide]
    # Not torch._foreach_sub: its fast path needs equal shapes, and the means are broadcast.
    centred = iter([g - m for g, m in zip(wide, means, strict=True)])
    return [next(centred) if g.ndim >= min_axes else g for g in gradients]


def _chunks(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters in order, in runs of at most CHUNK_ELEMENTS values (a larger one alone)."""
    chunk: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if chunk and size + parameter.numel() > CHUNK_ELEMENTS:
            yield chunk
            chunk, size = [], 0
        chunk.append(parameter)
        size += parameter.numel()
    if chunk:
        yield chunk
