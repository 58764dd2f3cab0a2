"""Albedo and labels of a list of samples while features are painted over each other."""

import torch
from torch import Tensor

from pspnb.classes import CLASS_ID
from pspnb.world2.geometry.fields import ramp
from pspnb.world2.geometry.pixels import Samples

RGB = tuple[Tensor, Tensor, Tensor]


class Canvas:
    """Colour planes, class ids, gloss and occlusion of the samples `s`; painted in place, back to front."""

    def __init__(self, s: Samples, colour: RGB, label: str) -> None:
        n = len(s.idx)
        self.s = s
        self.rgb = [c.clone() for c in colour]
        self.label = torch.full((n,), CLASS_ID[label], dtype=torch.uint8, device=s.idx.device)
        self.gloss = torch.zeros(n, device=s.idx.device)
        self.occlusion = torch.ones(n, device=s.idx.device)
        self.flat = torch.zeros(n, device=s.idx.device)  # how much a sample ignores the surface's normal (eyes, teeth)

    def cover(self, colour, alpha: Tensor, rows: Tensor | None = None) -> None:
        """Mixes in a colour (three numbers or tensors) with weight alpha, on all samples or on `rows`; a cartoon's flat colours
        end where the weight is a half."""
        if self.s.cartoon:
            alpha = ramp(alpha, 0.42, 0.58)
        for k in range(3):
            old = self.rgb[k] if rows is None else self.rgb[k].index_select(0, rows)
            new = old + (colour[k] - old) * alpha
            if rows is None:
                self.rgb[k] = new
            else:
                self.rgb[k].index_copy_(0, rows, new)

    def tint(self, factor, alpha: Tensor, rows: Tensor | None = None) -> None:
        """Multiplies the colour by `factor` (three numbers) with weight alpha; a cartoon's spots have one strength."""
        if self.s.cartoon:
            alpha = ramp(alpha, 0.50, 0.60) * 0.7
        for k in range(3):
            gain = 1.0 + (factor[k] - 1.0) * alpha
            if rows is None:
                self.rgb[k] = self.rgb[k] * gain
            else:
                self.rgb[k].index_copy_(0, rows, self.rgb[k].index_select(0, rows) * gain)

    def name(self, label: str | Tensor, where: Tensor, rows: Tensor | None = None) -> None:
        """Gives samples a class (one name, or a tensor of ids)."""
        value = torch.full_like(self.label[:1], CLASS_ID[label]) if isinstance(label, str) else label.to(torch.uint8)
        if rows is None:
            self.label = torch.where(where, value, self.label)
        else:
            self.label.index_copy_(0, rows, torch.where(where, value, self.label.index_select(0, rows)))
