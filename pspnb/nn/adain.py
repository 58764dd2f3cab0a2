"""StyleGAN1's way of using a style, adaptive instance normalisation: for teaching, not in the inference path.

Sources: StyleGAN (Karras et al. 2019), equation 1; pSp for super-resolution, section "Method". StyleGAN2's modulated
convolution replaces the measured statistics by expected ones. Chapter: "StyleGAN2 from the inside".
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.ops import EqualLinear


def instance_norm(x: Float[Tensor, " b c h w"], eps: float = 1e-8) -> Float[Tensor, " b c h w"]:
    """(x_i - mu(x_i)) / sigma(x_i): each feature map of each image on its own; sigma is the population deviation."""
    mu = x.mean(dim=(2, 3), keepdim=True)
    variance = (x - mu).square().mean(dim=(2, 3), keepdim=True)
    return (x - mu) * torch.rsqrt(variance + eps)


class AdaIN(nn.Module):
    """AdaIN(x_i, y) = y_s,i (x_i - mu(x_i)) / sigma(x_i) + y_b,i, with y = (y_s, y_b) a learned affine map of w.

    x (b, channels, h, w), w (b, style_dim) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, *, style_dim: int = 512):
        super().__init__()
        self.affine = EqualLinear(style_dim, 2 * channels)
        with torch.no_grad():
            self.affine.bias[:channels] = 1.0  # starts as plain instance normalisation

    def forward(self, x: Float[Tensor, " b c h w"], w: Float[Tensor, " b d"]) -> Float[Tensor, " b c h w"]:
        scale, bias = self.affine(w)[:, :, None, None].chunk(2, dim=1)
        return scale * instance_norm(x) + bias
