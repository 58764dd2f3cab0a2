"""A trained generator in a wider w: the same pictures, with room for more. Chapter: "StyleGAN2 from the inside"."""

import math
from collections.abc import Mapping

from torch import Tensor


def widened(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights` in the shapes of `like`, a fresh network of a larger style_dim: every picture stays as it is.

    The new numbers of w come from `like` as it was drawn, and nothing reads them yet: their columns in the modulations are zero.
    Equalised layers divide by the root of their inputs, so the columns that are there grow by as much. ValueError, with the name,
    where `weights` is wider than `like` or differs elsewhere.
    """
    out = {}
    for name, value in weights.items():
        there = like[name]
        if value.shape == there.shape:
            out[name] = value.float()
            continue
        fits = value.ndim == there.ndim and all(a <= b for a, b in zip(value.shape, there.shape, strict=True))
        if not fits or not (name.startswith("style.layers.") or name.endswith("modulation.weight")):
            raise ValueError(
                f"expected {name} of shape {tuple(there.shape)} or of a narrower w, got {tuple(value.shape)}"
            )
        new = there.detach().clone().float()
        if name.endswith("modulation.weight"):
            new.zero_()
            new[:, : value.shape[1]] = value * math.sqrt(new.shape[1] / value.shape[1])
        else:
            new[: len(value)] = value
        out[name] = new
    return out
