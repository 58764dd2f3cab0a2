"""Inversion and edit in one call, for every kind of model: codes alone, or codes and a feature. Chapter: "Directions"."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@torch.no_grad()
def redraw(
    model: nn.Module, x: Float[Tensor, " b c h w"], shift: Float[Tensor, " *b d"] | None = None
) -> Float[Tensor, " b 3 H H"]:
    """Images in, inverted images out, with `shift` added to their codes: (d,), (n, d), or one for each image (b, 1 or n, d).

    A model that reads more than codes (`read`, `draw`) moves the rest by its own rule, such as equation 1.
    """
    found: Any = model
    if hasattr(model, "read"):
        codes, feature = found.read(x)
        if shift is None:
            return found.draw(codes, feature)
        return found.draw(codes + shift, feature, before=codes)
    codes = found.encode(x)
    return found.decode(codes if shift is None else codes + shift)
