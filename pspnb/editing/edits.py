"""What `pspnb translate` does to codes before they are drawn: several outputs, mixing with another picture, a direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.models.base import Translator
from pspnb.tasks import Task


@dataclass(frozen=True)
class Edits:
    """First `shift` is added to every code. Then each of `injected` gives one output: it replaces the styles `layers`, or is
    blended with them by `alpha`. Without `injected` there is one output."""

    shift: Float[Tensor, " n d"] | None = None
    injected: Float[Tensor, " k n d"] | None = None
    layers: tuple[int, ...] = ()
    alpha: float | None = None

    def __call__(self, psp: Translator, codes: Float[Tensor, " b n d"]) -> list[Float[Tensor, " b n d"]]:
        """The codes of every output, for a batch."""
        if self.shift is not None:
            codes = codes + self.shift.to(codes)
        if self.injected is None:
            return [codes]
        return [psp.mix_styles(codes, self.layers, other[None].to(codes), self.alpha) for other in self.injected]


@torch.no_grad()
def planned_edits(
    psp: Translator,
    task: Task,
    *,
    n_samples: int = 0,
    other: Float[Tensor, " n d"] | None = None,
    layers: Sequence[int] | None = None,
    alpha: float | None = None,
    seed: int = 0,
    direction: Float[Tensor, " n d"] | None = None,
    strength: float | None = None,
    shift: Float[Tensor, " n d"] | None = None,
) -> Edits:
    """The edits that the options ask for. `layers` and `alpha` default to the task's; `shift` is added beside `strength` times
    `direction`. PspnbError where they make no sense."""
    if n_samples < 0:
        raise PspnbError(f"expected a number of samples of at least 0, got {n_samples}")
    if (direction is None) != (strength is None):
        raise PspnbError("--direction and --strength belong together; expected both")
    if strength is not None and not math.isfinite(strength):
        raise PspnbError(f"expected a finite strength, got {strength}")
    if direction is not None and strength is not None:
        shift = strength * direction if shift is None else shift + (strength * direction).to(shift)
    if n_samples == 0 and other is None:
        if layers is not None or alpha is not None:
            raise PspnbError("--layers and --alpha belong to --n-samples or --mix; expected one of them too")
        return Edits(shift)
    if n_samples and other is not None:
        raise PspnbError("--n-samples takes styles from random codes, --mix from a picture; expected one of them")
    chosen, alpha = _layers(psp, task, layers, alpha)
    injected = psp.random_codes(n_samples, seed=seed) if other is None else other[None]
    return Edits(shift, injected, chosen, alpha)


def _layers(
    psp: Translator, task: Task, layers: Sequence[int] | None, alpha: float | None
) -> tuple[tuple[int, ...], float | None]:
    if layers is None:
        layers, alpha = task.layers(psp.n_styles), task.sample_alpha if alpha is None else alpha
        if not layers:
            raise PspnbError(f"the task {task.name} has one answer; expected --layers to say which styles to redraw")
    if alpha is not None and not 0 <= alpha <= 1:
        raise PspnbError(f"expected an alpha within 0 and 1, got {alpha}")
    return tuple(layers), alpha
