"""Inversion by optimisation: gradient descent on the codes of each image, with the generator as it is.

What pSp wants to make unnecessary ("requiring several minutes for a single image", introduction), and the best that a code can do
for an image. Sources: Image2StyleGAN (Abdal et al. 2019, section 4: Adam from the mean latent, pixel and perceptual loss, W+);
StyleGAN2 (Karras et al. 2020, appendix D: the learning rate rises, stays and falls like a cosine); the loss weights are pSp's
(section 4). Chapter: "Inversion by optimisation".
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.errors import PspnbError
from pspnb.nn.stylegan2 import Generator

Space = Literal["w_plus", "w"]
WARM_UP = 0.05  # share of the steps in which the learning rate rises, as in StyleGAN2's appendix D
COOL_DOWN = 0.25  # and in which it falls


@dataclass(frozen=True)
class Inversion:
    """What an optimisation found.

    Attributes:
        codes: of each image, those with the lowest loss on the way.
        images: what the generator draws from them, at its own size, nominally in [-1, 1], not clamped.
        losses: mean loss of the images before each step; the start is `losses[0]`.
        per_image: loss of `codes`.
        seconds: wall time of all images together.
        feature: that belongs to the codes, where one was optimised too (`pspnb.inversion.feature`).
    """

    codes: Float[Tensor, " b n d"]
    images: Float[Tensor, " b 3 h w"]
    losses: list[float]
    per_image: Float[Tensor, " b"]
    seconds: float
    feature: Float[Tensor, " b c g g"] | None = None


@dataclass(frozen=True)
class Step:
    """What a callback sees before step `index` is taken: codes, what they draw, the losses of the images. No graph."""

    index: int
    codes: Float[Tensor, " b n d"]
    images: Float[Tensor, " b 3 h w"]
    losses: Float[Tensor, " b"]
    feature: Float[Tensor, " b c g g"] | None = None


def learning_rate(step: int, steps: int, lr: float, *, warm_up: float = WARM_UP, cool_down: float = COOL_DOWN) -> float:
    """Rate of step 0 ... `steps` - 1: linear rise, plateau at `lr`, half a cosine down; the shares are of `steps`."""
    position = (step + 0.5) / steps  # the middle of the step, so that no step has rate 0
    rise = min(1.0, position / warm_up) if warm_up else 1.0
    fall = min(1.0, (1 - position) / cool_down) if cool_down else 1.0
    return lr * rise * (0.5 - 0.5 * math.cos(math.pi * fall))


def invert(
    generator: Generator,
    targets: Float[Tensor, " b c h w"],
    *,
    distance: Callable[[Tensor, Tensor], Tensor] | None,
    start: Float[Tensor, " b2 n d"] | Float[Tensor, " b2 d"] | None = None,
    steps: int = 500,
    lr: float = 0.1,
    l2: float = 1.0,
    lpips: float = 0.8,
    w_norm: float = 0.0,
    space: Space = "w_plus",
    callback: Callable[[Step], None] | None = None,
) -> Inversion:
    """Codes from which `generator` draws `targets` (b, 3, s, s), in [-1, 1], as well as Adam can find them.

    The loss of an image is l2 * mean squared error + lpips * `distance`(drawn, target) + w_norm * |codes - mean latent|.
    `distance` gives one number per pair, (b,); `None` only with lpips=0. A generator larger than the targets is pooled to
    their size first, as in pSp. `start`: codes to begin with, such as an encoder's (a hybrid method; 100 steps do); the mean
    latent otherwise. In space "w" all styles of an image stay equal.

    Images don't influence each other: a batch gives what each image gives alone, up to rounding (which a network's kinks can
    amplify over many steps). Nothing is random: stored noise maps are used. The result is never worse than the start, because
    the best codes are kept. Generator and distance are left as found; no gradient is computed for their weights. Memory grows
    with the batch, not with `steps`.

    Raises PspnbError, in one line, for targets, starts or numbers that cannot work.
    """
    check(generator, targets, distance, steps=steps, lr=lr, lpips=lpips)
    if space not in ("w_plus", "w"):
        raise PspnbError(f"expected space 'w_plus' or 'w', got {space!r}")
    mean, n_styles = mean_latent(generator), generator.n_styles
    with torch.inference_mode(False), torch.enable_grad(), frozen(generator, distance):
        target = targets.detach().to(mean).clone()
        codes = first_codes(generator, start, mean, len(target))
        compare = comparison(distance, target, l2=l2, lpips=lpips)

        def measure(variables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            """Images, and the loss of each."""
            (codes,) = variables
            images = generator.synthesize(codes.expand(-1, n_styles, -1))
            loss = compare(images)
            if w_norm:
                offset = codes.expand(-1, n_styles, -1) - mean
                loss = loss + w_norm * torch.linalg.vector_norm(offset, dim=(1, 2))
            return images, loss

        def look(index: int, variables: Sequence[Tensor], images: Tensor, losses: Tensor) -> None:
            if callback is not None:
                callback(Step(index, variables[0].expand(-1, n_styles, -1).clone(), images, losses))

        variables = [codes if space == "w_plus" else _in_w(codes)]
        found = descend(variables, measure, rates=[lr], steps=steps, look=look)
    codes = found.best[0].expand(-1, n_styles, -1).contiguous()
    return Inversion(codes, found.images, found.losses, found.per_image, found.seconds)


class Descent(NamedTuple):
    """Variables with the lowest loss of each image on the way, what they draw, mean losses before each step, loss of each image."""

    best: list[Tensor]
    images: Tensor
    losses: list[float]
    per_image: Tensor
    seconds: float


def descend(
    variables: Sequence[Tensor],
    measure: Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]],
    *,
    rates: Sequence[float],
    steps: int,
    look: Callable[[int, Sequence[Tensor], Tensor, Tensor], None],
) -> Descent:
    """Adam on `variables` (b, ...), in place, each with its own rate. Nothing is read from the device before the end, unless
    `look(index, variables, images, losses)` does. PspnbError when a loss is no longer a number."""
    begin = time.perf_counter()
    variables = [v.requires_grad_() for v in variables]
    optimiser = torch.optim.Adam([{"params": [v], "lr": rate} for v, rate in zip(variables, rates, strict=True)])
    best = [v.detach().clone() for v in variables]
    lowest = torch.full_like(variables[0].detach().flatten(1)[:, 0], torch.inf)
    means = []

    def keep(losses: Tensor) -> None:
        better = losses < lowest
        for kept, v in zip(best, variables, strict=True):
            torch.where(better.view(-1, *[1] * (v.ndim - 1)), v.detach(), kept, out=kept)
        torch.where(better, losses, lowest, out=lowest)

    for index in range(steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = learning_rate(index, steps, rate)
        images, losses = measure(variables)
        # The sum, not the mean: an image's gradient must not depend on how many others there are. Asking for the gradient
        # of the variables alone leaves every .grad of the networks untouched.
        for v, gradient in zip(variables, torch.autograd.grad(losses.sum(), variables), strict=True):
            v.grad = gradient
        keep(losses.detach())
        means.append(losses.detach().mean())
        look(index, [v.detach() for v in variables], images.detach(), losses.detach())
        del images, losses  # or two steps' pictures would be held at once
        optimiser.step()
    with torch.no_grad():
        keep(measure(variables)[1])
        images, per_image = measure(best)
    history = torch.stack(means).tolist()
    if not math.isfinite(sum(history)):
        raise PspnbError(
            f"expected a smaller learning rate than {rates[0]}, or a sound start: the loss became NaN or infinite"
        )
    return Descent(best, images, history, per_image, time.perf_counter() - begin)


@contextmanager
def frozen(*modules: Any) -> Iterator[None]:
    """No weight of these modules (other objects are passed over) asks for gradients inside; outside all is as before."""
    parameters = [p for module in modules if isinstance(module, nn.Module) for p in module.parameters()]
    asked = [p.requires_grad for p in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, before in zip(parameters, asked, strict=True):
            parameter.requires_grad_(before)


def comparison(distance: Any, target: Tensor, *, l2: float, lpips: float) -> Callable[[Tensor], Tensor]:
    """Images, larger ones pooled to the target's size, -> l2 * mean squared error + lpips * distance, of each. The target's
    features are computed once if the distance has them (`LPIPSLoss`, `PerceptualNet`)."""
    apart: Callable[[Tensor], Tensor] = lambda images: distance(images, target)  # noqa: E731
    describe, between = (getattr(distance, name, None) for name in ("features", "distance"))
    if lpips and callable(describe) and callable(between):
        with torch.no_grad():
            features = describe(target)
        apart = lambda images: between(describe(images), features)  # noqa: E731

    def compare(images: Tensor) -> Tensor:
        seen = images if images.shape == target.shape else F.adaptive_avg_pool2d(images, target.shape[-1])
        loss = l2 * (seen - target).square().mean(dim=(1, 2, 3))
        return loss + lpips * apart(seen) if lpips else loss

    return compare


def mean_latent(generator: Generator) -> Tensor:
    """The stored mean latent; a generator that was never given one draws it."""
    mean = generator.latent_avg.detach()
    return mean if mean.any() else generator.mean_latent()


def first_codes(generator: Generator, start: Tensor | None, mean: Tensor, b: int) -> Float[Tensor, " b n d"]:
    """A copy of the start in W+, of the mean latent without one. PspnbError unless it is finite and one for each target."""
    if start is None:
        codes = mean.expand(b, generator.n_styles, -1)
    else:
        codes = generator.to_w_plus(start.detach().to(mean))
    if len(codes) != b:
        raise PspnbError(f"expected one start for each of the {b} targets, got {len(codes)}")
    if not torch.isfinite(codes).all():
        raise PspnbError("expected a finite start, got NaN or infinity")
    return codes.clone()


def _in_w(codes: Float[Tensor, " b n d"]) -> Float[Tensor, " b 1 d"]:
    """One vector that all styles share."""
    if not torch.allclose(codes, codes[:, :1].expand_as(codes), atol=1e-5):
        raise PspnbError("expected a start in W, all styles of an image equal, for space='w'; got one in W+")
    return codes[:, :1].clone()


def check(generator: Generator, targets: Tensor, distance: Any, *, steps: int, lr: float, lpips: float) -> None:
    """PspnbError for targets or numbers that cannot work."""
    _, channels, height, width = targets.shape
    if channels != 3 or height != width or height > generator.size or generator.size % height:
        size = generator.size
        raise PspnbError(
            f"expected targets of shape (b, 3, s, s) with s = {size} or {size} / 2, / 4, ..., got {tuple(targets.shape)}"
        )
    # Generated pictures go a little beyond [-1, 1]; [0, 255] goes far.
    if not (len(targets) and torch.isfinite(targets).all() and targets.abs().max() <= 4):
        raise PspnbError("expected at least one target, with finite values in [-1, 1]")
    if steps < 1 or not lr > 0:
        raise PspnbError(f"expected steps >= 1 and lr > 0, got steps={steps} and lr={lr}")
    if lpips and distance is None:
        raise PspnbError("expected a distance, because lpips has a weight; without one pass lpips=0")
