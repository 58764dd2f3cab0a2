"""An edit for every kind of model: a step in the space of codes, drawn by the model itself. Chapter: "Directions"."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def prepared(model: nn.Module, x: Float[Tensor, " b c h w"]) -> Tensor:
    """What `drawn` needs of images: their codes; the images themselves for a model whose `edit` wants them."""
    found: Any = model
    return x if hasattr(model, "edit") else found.encode(x)


def drawn(
    model: nn.Module, state: Tensor, shift: Float[Tensor, " n d"] | Float[Tensor, " b n d"] | None = None
) -> Float[Tensor, " b 3 H H"]:
    """The model's pictures of images that were `prepared`, with `shift` added to their codes."""
    found: Any = model
    if hasattr(model, "edit"):
        return found.invert(state) if shift is None else found.edit(state, shift, 1.0)
    return found.decode(state if shift is None else state + shift)


@torch.no_grad()
def redraw(
    model: nn.Module, x: Float[Tensor, " b c h w"], shift: Float[Tensor, " n d"] | None = None
) -> Float[Tensor, " b 3 H H"]:
    """Images in, inverted and edited images out."""
    return drawn(model, prepared(model, x), shift)
