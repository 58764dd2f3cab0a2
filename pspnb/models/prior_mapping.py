"""The mapping network of a generator with an answer key: z -> factors -> numbers -> w.

The prior (`pspnb.world2.prior`) says which factors a z stands for, a multi-layer perceptron takes their numbers to w, so the true
picture of any z can be rendered. Chapter: "StyleGAN2 from the inside".
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.ops import EqualLinear
from pspnb.world2.prior import N_NUMBERS, Z_DIM, factors_of, numbers


class PriorMapping(nn.Module):
    """z (b, Z_DIM) -> w (b, style_dim): the fixed prior, then `n_mlp` layers of `hidden` units.

    `n_numbers` and `z_dim` are those of the world the network was trained in; ValueError where this world has others.
    """

    def __init__(
        self,
        *,
        style_dim: int = 128,
        hidden: int = 256,
        n_mlp: int = 4,
        lr_mlp: float = 0.3,
        n_numbers: int = N_NUMBERS,
        z_dim: int = Z_DIM,
    ):
        super().__init__()
        if (n_numbers, z_dim) != (N_NUMBERS, Z_DIM):
            raise ValueError(
                f"expected a mapping network for this world ({N_NUMBERS} numbers from {Z_DIM} normals), got one for "
                f"{n_numbers} from {z_dim}: it belongs to another version of Facets"
            )
        widths = [n_numbers, *[hidden] * (n_mlp - 1), style_dim]
        layers = [EqualLinear(a, b, lr_mul=lr_mlp, activation=True) for a, b in zip(widths, widths[1:], strict=False)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, " b k"]) -> Float[Tensor, " b d"]:
        """w of the factors that z stands for."""
        return self.map_factors(factors_of(z))

    def map_numbers(self, given: Float[Tensor, " b m"]) -> Float[Tensor, " b d"]:
        """w of the numbers of factors (`prior.numbers`), on this network's device."""
        return self.layers(given)

    def map_factors(self, factors: Mapping[str, Tensor]) -> Float[Tensor, " b d"]:
        """w of named factors."""
        device = next(self.layers.parameters()).device
        return self.map_numbers(numbers({name: value.to(device) for name, value in factors.items()}))
