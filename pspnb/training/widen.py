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
        reads = name.endswith("modulation.weight")  # w is read along the columns, and written along the rows
        axis = 1 if reads else 0
        same = [value.shape[:axis] + value.shape[axis + 1 :], there.shape[:axis] + there.shape[axis + 1 :]]
        if (
            not (reads or name.startswith("style.layers."))
            or same[0] != same[1]
            or value.shape[axis] > there.shape[axis]
        ):
            raise ValueError(
                f"expected {name} of shape {tuple(there.shape)} or of a narrower w, got {tuple(value.shape)}"
            )
        new = there.detach().clone().float()
        if reads:
            new.zero_()
            new[:, : value.shape[1]] = value * math.sqrt(new.shape[1] / value.shape[1])
        else:
            new[: len(value)] = value
        out[name] = new
    return out
