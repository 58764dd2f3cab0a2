"""A 3x3 convolution with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3), from three matrix products.

A convolution is a product of polynomials, and a polynomial is known from its values at enough points. To get 4 outputs of a
filter with 3 taps, look at 6 inputs: evaluate both at 6 points, multiply value by value, interpolate. In two dimensions
that is 36 products for 16 outputs, where the sum over taps takes 144. Sources: Winograd 1980; Lavin and Gray 2016, "Fast
algorithms for convolutional neural networks"; Barabasz et al. 2020 on the choice of points and the rounding error.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

OUT, TAPS = 4, 3
IN = OUT + TAPS - 1
# With 0, +-1, +-2 the rounding error is about three times as large. The sixth point is infinity (the leading coefficient).
POINTS = (0.0, 2**-0.5, -(2**-0.5), 2**0.5, -(2**0.5))


def matrices(
    points: tuple[float, ...] = POINTS,
) -> tuple[Float[Tensor, "6 6"], Float[Tensor, "6 3"], Float[Tensor, "4 6"]]:
    """(B, G, A) with A ((G g) * (B d)) = the 4 sums d_i g_0 + d_(i+1) g_1 + d_(i+2) g_2 (float64), for any 5 points."""
    p = torch.tensor(points, dtype=torch.float64)
    powers = torch.stack([p**k for k in range(OUT)])  # k j
    a = torch.cat([powers, torch.eye(OUT, dtype=torch.float64)[:, -1:]], dim=1)
    norm = torch.stack([(p[j] - p[p != p[j]]).prod() for j in range(len(p))])
    g = torch.cat([(powers[:TAPS] / norm).T, torch.eye(TAPS, dtype=torch.float64)[-1:]])
    b = torch.stack([F.pad(_with_roots(p[p != p[j]]), (0, 1)) for j in range(len(p))] + [_with_roots(p)])
    return b, g, a


def _with_roots(roots: Float[Tensor, " n"]) -> Float[Tensor, " n+1"]:
    """Coefficients of the product of (x - root), constant first."""
    c = torch.ones(1, dtype=roots.dtype)
    for root in roots:
        c = F.pad(c, (1, 0)) - root * F.pad(c, (0, 1))
    return c


class Winograd:
    """Convolution of one image with fixed weights (o, i, 3, 3), stride 1, padding 1; height and width are multiples of 4.

    Pays from about 256 channels on: with fewer, the transforms cost more than the products save. No gradients. float32 only; the
    error is about ten times that of the sum over taps (5e-5 for outputs of size 1 and 512 channels).
    """

    def __init__(self, weight: Float[Tensor, " o i 3 3"]):
        b, g, a = matrices()
        values = torch.kron(g, g).float() @ weight.detach().flatten(2).permute(2, 0, 1).flatten(1)  # 36 (o i)
        self.weights = [_packed(v.view(weight.shape[:2])) for v in values]
        self.evaluate, self.interpolate = torch.kron(b, b).float(), torch.kron(a, a).float()

    def __call__(self, x: Float[Tensor, "1 i h w"]) -> Float[Tensor, "1 o h w"]:
        _, c, h, w = x.shape
        rows, columns = h // OUT, w // OUT
        padded = F.pad(x.permute(0, 2, 3, 1)[0], (0, 0, 1, 1, 1, 1)).contiguous()
        down, right, _ = padded.stride()
        tiles = padded.as_strided((IN, IN, rows, columns, c), (down, right, OUT * down, OUT * right, 1))
        values = (self.evaluate @ tiles.reshape(IN * IN, -1)).view(IN * IN, rows * columns, c)
        products = torch.stack([_linear(v, weight) for v, weight in zip(values, self.weights, strict=True)])
        y = (self.interpolate @ products.flatten(1)).view(OUT, OUT, rows, columns, -1)
        return y.permute(2, 0, 3, 1, 4).reshape(1, h, w, -1).permute(0, 3, 1, 2)


def has_onednn() -> bool:
    """Whether PyTorch was built with oneDNN and shows the operations that take weights in its layout."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _packed(weight: Float[Tensor, " o i"]) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, None) if has_onednn() else weight


def _linear(x: Float[Tensor, " n i"], weight: Tensor) -> Float[Tensor, " n o"]:
    if has_onednn():
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return F.linear(x, weight)
