"""Inversion by optimisation: gradient descent on the codes of each image, with the generator as it is.

What pSp wants to make unnecessary ("requiring several minutes for a single image", introduction), and the best that a code can do
for an image. Sources: Image2StyleGAN (Abdal et al. 2019, section 4: Adam from the mean latent, pixel and perceptual loss, W+);
StyleGAN2 (Karras et al. 2020, appendix D: the learning rate rises, stays and falls like a cosine); the loss weights are pSp's
(section 4). Chapter: "Inversion by optimisation".
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

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
    """What `invert` found.

    Attributes:
        codes: of each image, those with the lowest loss on the way.
        images: what the generator draws from them, at its own size, nominally in [-1, 1], not clamped.
        losses: mean loss of the images before each step; the start is `losses[0]`.
        per_image: loss of `codes`.
        seconds: wall time of all images together.
    """

    codes: Float[Tensor, " b n d"]
    images: Float[Tensor, " b 3 h w"]
    losses: list[float]
    per_image: Float[Tensor, " b"]
    seconds: float


@dataclass(frozen=True)
class Step:
    """What a callback sees before step `index` is taken: codes, what they draw, the losses of the images. No graph."""

    index: int
    codes: Float[Tensor, " b n d"]
    images: Float[Tensor, " b 3 h w"]
    losses: Float[Tensor, " b"]


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
    _check(generator, targets, distance, steps=steps, lr=lr, lpips=lpips, space=space)
    mean = _mean_latent(generator)
    with torch.inference_mode(False), torch.enable_grad(), frozen(generator, distance):
        target = targets.detach().to(mean).clone()
        codes = _first_codes(generator, start, mean, len(target), space).requires_grad_()
        compare = _comparison(distance, target)

        def measure(codes: Tensor) -> tuple[Tensor, Tensor]:
            """Images, and the loss of each."""
            images = generator.synthesize(codes.expand(-1, generator.n_styles, -1))
            seen = images if images.shape == target.shape else F.adaptive_avg_pool2d(images, target.shape[-1])
            loss = l2 * (seen - target).square().mean(dim=(1, 2, 3))
            if lpips:
                loss = loss + lpips * compare(seen)
            if w_norm:
                offset = codes.expand(-1, generator.n_styles, -1) - mean
                loss = loss + w_norm * torch.linalg.vector_norm(offset, dim=(1, 2))
            return images, loss

        return _descend(codes, measure, generator.n_styles, steps=steps, lr=lr, callback=callback)


def _descend(
    codes: Tensor,
    measure: Callable[[Tensor], tuple[Tensor, Tensor]],
    n_styles: int,
    *,
    steps: int,
    lr: float,
    callback: Callable[[Step], None] | None,
) -> Inversion:
    """Adam on `codes`, in place. Nothing is read from the device before the end, unless the callback does."""
    begin = time.perf_counter()
    optimiser = torch.optim.Adam([codes], lr=lr)
    best, lowest = codes.detach().clone(), torch.full_like(codes[:, 0, 0], torch.inf, requires_grad=False)
    means = []

    def keep(losses: Tensor) -> None:
        better = losses < lowest
        torch.where(better[:, None, None], codes.detach(), best, out=best)
        torch.where(better, losses, lowest, out=lowest)

    for index in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate(index, steps, lr)
        images, losses = measure(codes)
        # The sum, not the mean: an image's gradient must not depend on how many others there are. Asking for the gradient
        # of the codes alone leaves every .grad of the networks untouched.
        (codes.grad,) = torch.autograd.grad(losses.sum(), codes)
        keep(losses.detach())
        means.append(losses.detach().mean())
        if callback is not None:
            shown = codes.detach().expand(-1, n_styles, -1).clone()
            callback(Step(index, shown, images.detach(), losses.detach()))
        del images, losses  # or two steps' pictures would be held at once
        optimiser.step()
    with torch.no_grad():
        keep(measure(codes)[1])
        images, per_image = measure(best)
    history = torch.stack(means).tolist()
    if not math.isfinite(sum(history)):
        raise PspnbError(
            f"expected a smaller learning rate than {lr}, or a sound start: the loss became NaN or infinite"
        )
    found = best.expand(-1, n_styles, -1).contiguous()
    return Inversion(found, images, history, per_image, time.perf_counter() - begin)


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


def _comparison(distance: Any, target: Tensor) -> Callable[[Tensor], Tensor]:
    """Distance to the target, whose features are computed once if the distance has them (`LPIPSLoss`, `PerceptualNet`)."""
    if distance is None:
        return lambda images: images.new_zeros(len(images))
    describe, between = (getattr(distance, name, None) for name in ("features", "distance"))
    if callable(describe) and callable(between):
        with torch.no_grad():
            features = describe(target)
        return lambda images: between(describe(images), features)
    return lambda images: distance(images, target)


def _mean_latent(generator: Generator) -> Tensor:
    """The stored mean latent; a generator that was never given one draws it."""
    mean = generator.latent_avg.detach()
    return mean if mean.any() else generator.mean_latent()


def _first_codes(generator: Generator, start: Tensor | None, mean: Tensor, b: int, space: Space) -> Tensor:
    """(b, n, d), or (b, 1, d) in W: one vector that all styles share."""
    if start is None:
        codes = mean.expand(b, generator.n_styles, -1)
    else:
        codes = generator.to_w_plus(start.detach().to(mean))
    if len(codes) != b:
        raise PspnbError(f"expected one start for each of the {b} targets, got {len(codes)}")
    if not torch.isfinite(codes).all():
        raise PspnbError("expected a finite start, got NaN or infinity")
    if space == "w_plus":
        return codes.clone()
    if not torch.allclose(codes, codes[:, :1].expand_as(codes), atol=1e-5):
        raise PspnbError("expected a start in W, all styles of an image equal, for space='w'; got one in W+")
    return codes[:, :1].clone()


def _check(
    generator: Generator, targets: Tensor, distance: Any, *, steps: int, lr: float, lpips: float, space: str
) -> None:
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
    if space not in ("w_plus", "w"):
        raise PspnbError(f"expected space 'w_plus' or 'w', got {space!r}")
