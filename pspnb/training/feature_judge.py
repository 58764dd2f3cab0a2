"""A second discriminator that looks through a frozen instrument: small heads on the feature maps of `PerceptualNet`.

The idea of projected and vision-aided GANs (Sauer et al. 2021, Kumari et al. 2022) with a trunk of our own: it knows from the
first step what eyes, glasses and hats are, which a discriminator trained from scratch learns slowly.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.instruments import PerceptualNet
from pspnb.training.gan_losses import GradientTurn


class FeatureHead(nn.Module):
    """One feature map (b, c, s, s) -> one logit per image: 1x1, strided 3x3s down to 4 px, then the mean of a 3x3's map."""

    def __init__(self, c_in: int, size: int, *, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(c_in, width, 1), nn.LeakyReLU(0.2)]
        while size > 4:
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU(0.2)]
            size //= 2
        layers += [nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3, 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, " b c s s"]) -> Float[Tensor, " b 1"]:
        return self.layers(x).float().mean(dim=(1, 2, 3))[:, None]


class FeatureJudge(nn.Module):
    """Logits (b, k) from the last `k` maps of a frozen trunk; each head's gradient can be turned for one-pass training."""

    def __init__(self, trunk: PerceptualNet, *, taps: Sequence[int] = (1, 2, 3, 4), size: int = 64):
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)
        self.taps = tuple(taps)
        widths = [stage[-1][0].out_channels for stage in trunk.stages]  # type: ignore[index]
        self.heads = nn.ModuleList(FeatureHead(widths[i], size // 2**i) for i in self.taps)

    def train(self, mode: bool = True) -> "FeatureJudge":
        super().train(mode)
        self.trunk.eval()  # its batch statistics belong to the instrument
        return self

    def forward(
        self, images: Float[Tensor, " b 3 s s"], *, turns: Sequence[GradientTurn] | None = None
    ) -> Float[Tensor, " b k"]:
        maps = self.trunk.maps(images)
        logits = []
        for k, (i, head) in enumerate(zip(self.taps, self.heads, strict=True)):
            feature = maps[i] if turns is None else turns[k](maps[i])
            logits.append(head(feature))
            if turns is not None:
                turns[k].remember(logits[-1])
        return torch.cat(logits, dim=1)
