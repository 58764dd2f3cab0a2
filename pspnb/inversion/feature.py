"""Inversion by optimisation of codes and a feature map together: "near perfect reconstruction", at the price of minutes an image.

Source: Yao et al. 2022, section 3.1, which refers to Barbershop (Zhu et al. 2021) and Kang et al. 2021. What the feature makes
possible without an encoder: the bound that the Feature-Style encoder is measured against. Chapter: "The Feature-Style encoder".
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.inversion.optimise import (
    Inversion,
    Step,
    check,
    comparison,
    descend,
    first_codes,
    frozen,
    mean_latent,
)
from pspnb.nn.stylegan2 import Generator


def invert_with_feature(
    generator: Generator,
    targets: Float[Tensor, " b c h w"],
    *,
    k: int,
    distance: Callable[[Tensor, Tensor], Tensor] | None,
    start: Float[Tensor, " b2 n d"] | Float[Tensor, " b2 d"] | None = None,
    feature: Float[Tensor, " b c2 g g"] | None = None,
    steps: int = 500,
    lr: float = 0.1,
    feature_lr: float | None = None,
    l2: float = 1.0,
    lpips: float = 0.8,
    f_recon: float = 0.0,
    rgb: Literal["w", "none"] = "w",
    callback: Callable[[Step], None] | None = None,
) -> Inversion:
    """Codes w+ and features F behind convolution `k` (counted from 1) from which `generator` draws `targets`, found by Adam.

    As `pspnb.inversion.optimise.invert`, whose loss it minimises, plus f_recon * mean squared |F - G(w)^k| (equation 4, here with a
    gradient into both). `start`: codes to begin with (default: the mean latent); `feature`: F to begin with, an encoder's for a
    hybrid method (default: the generator's own for these codes, so that the search begins with the image of the codes alone).
    `feature_lr`: rate of F (default: `lr`). `rgb`: whether the skip of the layers up to k is drawn from the codes, or black.

    Raises PspnbError, in one line, for targets, starts or numbers that cannot work.
    """
    check(generator, targets, distance, steps=steps, lr=min(lr, lr if feature_lr is None else feature_lr), lpips=lpips)
    if not 1 <= k <= generator.n_convs:
        raise PspnbError(f"expected k in 1..{generator.n_convs} for a {generator.size} px generator, got {k}")
    mean = mean_latent(generator)
    with torch.inference_mode(False), torch.enable_grad(), frozen(generator, distance):
        target = targets.detach().to(mean).clone()
        codes = first_codes(generator, start, mean, len(target))
        first = _first_feature(generator, feature, codes, k)
        compare = comparison(distance, target, l2=l2, lpips=lpips)

        def measure(variables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            """Images, and the loss of each."""
            codes, feature = variables
            own, skip = generator.features(codes, upto=k)
            images = generator.synthesize(codes, start=k, feature=feature, rgb=skip if rgb == "w" else None)
            loss = compare(images)
            return images, loss + f_recon * (feature - own).square().mean(dim=(1, 2, 3)) if f_recon else loss

        def look(index: int, variables: Sequence[Tensor], images: Tensor, losses: Tensor) -> None:
            if callback is not None:
                codes, feature = (v.clone() for v in variables)
                callback(Step(index, codes, images, losses, feature))

        rates = [lr, lr if feature_lr is None else feature_lr]
        found = descend([codes, first], measure, rates=rates, steps=steps, look=look)
    return Inversion(found.best[0], found.images, found.losses, found.per_image, found.seconds, found.best[1])


def _first_feature(generator: Generator, feature: Tensor | None, codes: Tensor, k: int) -> Tensor:
    """A copy of F to begin with. PspnbError where it is none of this generator."""
    if feature is None:
        with torch.no_grad():
            return generator.features(codes, upto=k)[0].clone()
    expected = (len(codes), *generator.feature_shape(k))
    if tuple(feature.shape) != expected or not torch.isfinite(feature).all():
        raise PspnbError(f"expected a finite feature of shape {expected} for k={k}, got {tuple(feature.shape)}")
    return feature.detach().to(codes).clone()
