"""A discriminator whose logit of one image has no gradient into another image, as one-pass training needs."""

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.nn.discriminator import Discriminator


def batch_deviation(x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c+1 h w"]:
    """Append one channel: each image's mean distance from the batch mean, the mean taken as a constant.

    Like the minibatch standard deviation it shows a batch of lookalikes to D (all distances small), but image i's gradient
    stays in image i.
    """
    b, _, h, w = x.shape
    centred = x.float() - x.detach().float().mean(dim=0)
    distance = (centred.square() + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, distance.to(x.dtype).view(b, 1, 1, 1).expand(b, 1, h, w)], dim=1)


class OnePassDiscriminator(Discriminator):
    """`Discriminator` with `batch_deviation` in place of the minibatch standard deviation; same keys and shapes."""

    def append_statistic(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c+1 h w"]:
        return batch_deviation(x)
