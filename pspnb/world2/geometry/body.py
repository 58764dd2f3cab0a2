"""Neck and shoulders, in the body's frame."""

import torch
from torch import Tensor

from pspnb.world2.geometry.fields import ellipsoid, smin
from pspnb.world2.geometry.pixels import Measured

BOUND = ((0.0, -1.05, -0.12), (1 / 1.08, 1 / 0.78, 1 / 0.62))


def body_field(x: Tensor, y: Tensor, z: Tensor, s: Measured) -> Tensor:
    """Signed distance, approximately, to neck and shoulders together."""
    ax = x.abs()
    nx, nz = x, z + 0.10 + 0.12 * (y + 0.7)
    neck = torch.sqrt(nx * nx + nz * nz) - (0.205 + 0.10 * (s.jaw_w - 0.36))
    neck = torch.maximum(neck, y + 0.34)
    shoulder = ellipsoid(ax - 0.42, y + 1.27, z + 0.10, (2.05, 3.0, 2.9), 0.34)
    chest = ellipsoid(x, y + 1.32, z + 0.04, (1.5, 2.1, 2.5), 0.42)
    return smin(smin(shoulder, chest, 0.2), neck, 0.22)
