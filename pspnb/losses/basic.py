"""Pixel loss, code regulariser and the one face crop (paper sections 3.1 and 4.2); book chapter "Losses"."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pspnb.nn.ops import widen


class CropBox(NamedTuple):
    """A square in fractions of the image side, so that one box serves every resolution."""

    top: float
    left: float
    side: float


# Rows 35..222 and columns 32..219 of an FFHQ-aligned 256 px image: the published crop, 188 px square.
FACE_BOX = CropBox(top=35 / 256, left=32 / 256, side=188 / 256)


def inner_face(images: Float[Tensor, " b c h w"], box: CropBox = FACE_BOX) -> Float[Tensor, " b c _s _t"]:
    """The inner face of aligned portraits, as a view without resizing.

    At 256 px this is exactly the published slice [35:223, 32:220]; at other sizes the same fractions, to the nearest
    pixel, with height and width rounded independently of the offset (a 64 px image gives 47 x 47).
    """
    height, width = images.shape[-2:]
    top, left = round(box.top * height), round(box.left * width)
    return images[..., top : top + round(box.side * height), left : left + round(box.side * width)]


def l2(output: Float[Tensor, " b c h w"], target: Float[Tensor, " b c h w"]) -> Float[Tensor, ""]:
    """Mean squared error over pixels, channels and batch; the target gets no gradient.

    The paper writes the norm ||x - pSp(x)||_2; the published code, and so every published number, is its mean square.
    """
    return F.mse_loss(widen(output), widen(target.detach()))


def w_norm(
    codes: Float[Tensor, " b n d"], latent_avg: Float[Tensor, " n d"] | Float[Tensor, " d"] | None = None
) -> Float[Tensor, ""]:
    """Distance of the codes from the average code: Frobenius norm over (n, d), not squared, mean over the batch.

    `codes` are those the generator receives, with the average included; without `latent_avg` the norm of the codes
    themselves (for an encoder that doesn't start from the average). Used by every conditional task of the published
    code, and absent from the paper.
    """
    offset = widen(codes)
    if latent_avg is not None:
        offset = offset - widen(latent_avg.detach())
    # vector_norm has gradient 0 at 0, where sqrt(sum of squares) has NaN: codes equal to the average are legal.
    return torch.linalg.vector_norm(offset, dim=(1, 2)).mean()
