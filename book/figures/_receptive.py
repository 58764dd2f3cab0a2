"""Receptive fields of the pyramid's three taps, counted from the library's own convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pspnb.nn.backbones import WIDTHS, IRBackbone


def receptive_fields(*, units: Sequence[int] | None = None, widths: Sequence[int] = WIDTHS) -> list[tuple[int, int]]:
    """(receptive field, stride) in input pixels of c1, c2, c3, squeeze-excitation not counted.

    The longest path decides: stem, then both 3x3 convolutions of every unit; shortcuts see less.
    """
    with torch.device("meta"):
        backbone = IRBackbone(units=units, widths=widths)
    field, jump, taps, start = 1, 1, [], 0
    path = [backbone.input_layer[0]]
    for n in backbone.units:
        for unit in backbone.body[start : start + n]:
            path += [layer for layer in unit.res_layer if isinstance(layer, nn.Conv2d)]
        start += n
        for conv in path:
            field += (conv.kernel_size[0] - 1) * jump
            jump *= conv.stride[0]
        taps.append((field, jump))
        path = []
    return taps[1:]
