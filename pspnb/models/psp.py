"""pSp: an encoder that looks at an image and a frozen generator that draws it again.

Source: pSp, equation 1: pSp(x) = G(E(x) + mean latent). Chapter: "The architecture".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.models.base import Translator
from pspnb.nn.stylegan2 import NoiseSpec


class PSP(Translator):
    """Encoder and generator: `psp(x)` is `decode(encode(x))`. Codes are w+ (b, n_styles, style_dim), the mean latent included.

    `latent_avg` and `start_from_latent_avg`: see `Translator`.
    """

    def encode(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b n d"]:
        """Images in [-1, 1] (label maps: one-hot) -> codes, mean latent included. Outside training (and graphs) NaN is refused."""
        self._check(x)
        return self._with_average(self.decoder.to_w_plus(self.encoder(x)))

    def decode(
        self,
        codes: Float[Tensor, " b n d"] | Float[Tensor, " b d"],
        *,
        noise: NoiseSpec = "const",
        resize: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b 3 H H"]:
        """Codes -> images at the generator's size, or pooled by averaging to `resize` px (published: 256)."""
        y = self.decoder.synthesize(codes, noise=noise, generator=generator)
        return y if resize is None else F.adaptive_avg_pool2d(y, resize)

    def read(self, x: Float[Tensor, " b c h w"]) -> tuple[Float[Tensor, " b n d"], None]:
        """Codes, and no feature."""
        return self.encode(x), None

    def draw(
        self,
        codes: Float[Tensor, " b n d"],
        feature: Float[Tensor, " b f g g"] | None = None,
        *,
        before: Float[Tensor, " b n d"] | None = None,
        resize: int | None = None,
    ) -> Float[Tensor, " b 3 H H"]:
        """`decode(codes)`; what the codes were before an edit makes no difference."""
        del before
        if feature is not None:
            raise ValueError("expected no feature: the codes are all that pSp has of an image")
        return self.decode(codes, resize=resize)

    def mix(
        self,
        codes: Float[Tensor, " b n d"],
        latent_mask: Sequence[int],
        inject_latent: Float[Tensor, " b2 n2 d2"] | None = None,
        alpha: float | None = None,
    ) -> Float[Tensor, " b n d"]:
        """`mix_styles`: replace the styles in `latent_mask` (0-based) by those of `inject_latent`, or blend by `alpha`."""
        return self.mix_styles(codes, latent_mask, inject_latent, alpha)

    def forward(
        self,
        x: Float[Tensor, " b c h w"],
        *,
        resize: int | None = None,
        latent_mask: Sequence[int] | None = None,
        inject_latent: Float[Tensor, " b2 n2 d2"] | None = None,
        alpha: float | None = None,
        noise: NoiseSpec = "const",
        return_codes: bool = False,
    ) -> Float[Tensor, " b 3 H H"] | tuple[Float[Tensor, " b 3 H H"], Float[Tensor, " b n d"]]:
        """Encode, optionally mix, decode. Images, or (images, codes) with `return_codes`."""
        codes = self.encode(x)
        if latent_mask is not None:
            codes = self.mix(codes, latent_mask, inject_latent, alpha)
        y = self.decode(codes, noise=noise, resize=resize)
        return (y, codes) if return_codes else y

    @torch.no_grad()
    def sample(
        self,
        x: Float[Tensor, " b c h w"],
        *,
        n: int = 5,
        layers: Sequence[int],
        alpha: float | None = None,
        seed: int = 0,
        resize: int | None = None,
    ) -> Float[Tensor, " b n 3 H H"]:
        """Several outputs for each input: `layers` take the styles of `n` random w (pSp section 3.2).

        Output k uses the same w for every image and any n, drawn on the CPU from `seed`.
        """
        codes = self.encode(x)
        mixed = [self.mix(codes, layers, w[None], alpha) for w in self.random_codes(n, seed=seed)]
        outputs = [self.decode(w, resize=resize) for w in mixed]
        return torch.stack(outputs, dim=1)
