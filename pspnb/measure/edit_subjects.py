"""People to try an edit on: they can be drawn with any step in the space of codes, and all their factors are known.

Generated ones have exact codes; encoded ones are test pictures and what a model makes of them. Chapter: "Directions".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pspnb.measure.answer_key import batch_size, draw_z
from pspnb.models.redraw import redraw
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import Factors, render, sample_factors
from pspnb.world2.prior import factors_of


@dataclass(frozen=True)
class Subjects:
    """`state`: what `draw(state, shift)` makes pictures of; `images`: without a step, in [-1, 1].

    A shift is (d,) or (n_styles, d), the same for all, or (n, 1, d) or (n, n_styles, d), one for each subject.
    """

    factors: Factors
    state: Tensor
    draw: Callable[[Tensor, Tensor | None], Tensor]
    images: Float[Tensor, " n 3 s s"]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    def truth(self, factors: Factors | None = None) -> Float[Tensor, " n 3 s s"]:
        """The renderer's pictures of the subjects, or of other `factors`, at the same size."""
        return rendered(self.factors if factors is None else factors, self.size, self.images.device)

    @torch.no_grad()
    def edited(self, shift: Tensor) -> Float[Tensor, " n 3 s s"]:
        """Pictures with `shift` added to the codes, clamped as stored pictures are, in batches."""
        size = batch_size(self.state.device)
        own = shift.ndim == 3
        parts = []
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            parts.append(self.draw(self.state[rows], shift[rows] if own else shift).float().clamp(-1, 1))
        return torch.cat(parts)

    def take(self, chosen: Bool[Tensor, " n"]) -> "Subjects":
        """Those for which `chosen` holds."""
        factors = {name: value[chosen.to(value.device)] for name, value in self.factors.items()}
        here = chosen.to(self.state.device)
        return Subjects(factors, self.state[here], self.draw, self.images[here])


@torch.no_grad()
def rendered(factors: Factors, size: int, device: str | torch.device) -> Float[Tensor, " n 3 s s"]:
    """Pictures of factors, in batches."""
    n, step = len(factors["yaw"]), batch_size(device)
    rows = [slice(i, i + step) for i in range(0, n, step)]
    return torch.cat([render({k: v[r] for k, v in factors.items()}, size, device=device).image for r in rows])


@torch.no_grad()
def generated_subjects(generator: Generator, n: int, *, seed: int) -> Subjects:
    """`n` random people of a generator with an answer key, with their exact codes in W."""
    device = generator.latent_avg.device
    z = draw_z(generator, n, seed=seed)
    factors = factors_of(z)

    def draw(w: Tensor, shift: Tensor | None) -> Tensor:
        codes = generator.to_w_plus(w)
        return generator.synthesize(codes if shift is None else codes + shift)

    w = torch.cat([generator.map(part.to(device)) for part in z.split(batch_size(device))])
    images = torch.cat([draw(part, None).float().clamp(-1, 1) for part in w.split(batch_size(device))])
    return Subjects(factors, w, draw, images)


@torch.no_grad()
def encoded_subjects(model: nn.Module, n: int, *, size: int, device: str | torch.device = "cpu") -> Subjects:
    """The first `n` test people of Facets through a model that encodes and decodes pictures of `size` px."""
    factors = sample_factors("test", range(n))
    truth = rendered(factors, size, device)

    def draw(x: Tensor, shift: Tensor | None) -> Tensor:
        return redraw(model, x, shift)

    images = torch.cat([draw(part, None).float().clamp(-1, 1) for part in truth.split(batch_size(device))])
    return Subjects(factors, truth, draw, images)
