"""The Feature-Style model: an image is kept as codes and as a feature of the generator, and both are edited together.

Source: Yao et al. 2022, section 3: inversion G(F, w), editing by equation 1, mixing as in figure 8. Layer k is counted from 1, as
in the paper; styles, in this book, from 0: G(F, w) reads the styles k, ..., n - 1. Chapter: "The Feature-Style encoder".
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.models.base import Translator
from pspnb.nn.feature_style import FeatureStyleEncoder
from pspnb.nn.stylegan2 import Generator, NoiseSpec

Codes = Float[Tensor, " b n d"]
Feature = Float[Tensor, " b f g g"]
Images = Float[Tensor, " b 3 H H"]


class FeatureStyle(Translator):
    """Encoder and generator: `model(x)` is `decode(*encode(x))`, G(F, w). ValueError where F does not fit into the generator.

    An encoder without a feature branch (k = 0) finds no F, and all is done with the codes alone.
    `latent_avg` and `start_from_latent_avg`: see `Translator`.
    """

    encoder: FeatureStyleEncoder

    def __init__(
        self,
        encoder: FeatureStyleEncoder,
        decoder: Generator,
        *,
        latent_avg: Float[Tensor, " d"] | Float[Tensor, " n d"] | None = None,
        start_from_latent_avg: bool = True,
    ):
        super().__init__(encoder, decoder, latent_avg=latent_avg, start_from_latent_avg=start_from_latent_avg)
        if not 0 <= encoder.k <= decoder.n_convs:
            raise ValueError(f"expected k in 0..{decoder.n_convs}, the convolutions of the generator, got {encoder.k}")
        expected = decoder.feature_shape(encoder.k)
        if encoder.k and encoder.feature_shape != expected:
            raise ValueError(
                f"expected an encoder with a feature of {' x '.join(map(str, expected))}, what the generator of "
                f"{decoder.size} px has behind convolution {encoder.k}, got {' x '.join(map(str, encoder.feature_shape))}"
            )

    @property
    def k(self) -> int:
        """Behind how many convolutions of the generator F takes over."""
        return self.encoder.k

    def encode(self, x: Float[Tensor, " b c h w"]) -> tuple[Codes, Feature | None]:
        """Images in [-1, 1] -> (w, F): codes with the mean latent included, and the feature. NaN is refused outside training."""
        self._check(x)
        offsets, feature = self.encoder(x)
        return self._with_average(offsets), feature

    def decode(
        self,
        codes: Codes,
        feature: Feature | None = None,
        *,
        noise: NoiseSpec = "const",
        resize: int | None = None,
    ) -> Images:
        """G(F, w), or without a feature G(w); at the generator's size, or pooled by averaging to `resize` px."""
        if feature is None:
            y = self.decoder.synthesize(codes, noise=noise)
        else:
            rgb = self.rgb(codes, feature, noise=noise)
            y = self.decoder.synthesize(codes, start=self.k, feature=feature, rgb=rgb, noise=noise)
        return y if resize is None else F.adaptive_avg_pool2d(y, resize)

    def rgb(
        self, codes: Codes, feature: Feature, *, noise: NoiseSpec = "const", drawn: Tensor | None = None
    ) -> Float[Tensor, " b 3 r r"] | None:
        """What stands for the image of the layers up to k at inversion, as the encoder's `rgb` says; `drawn`: that of the codes,
        if it is known already."""
        if self.encoder.rgb == "w":
            return self.decoder.features(codes, upto=self.k, noise=noise)[1] if drawn is None else drawn
        return self.encoder.predict_rgb(feature)

    def invert(self, x: Float[Tensor, " b c h w"], *, resize: int | None = None) -> Images:
        """G(F, w) of images in [-1, 1]."""
        return self.decode(*self.encode(x), resize=resize)

    def moved(self, feature: Feature, before: Codes, after: Codes) -> Feature:
        """Equation 1: F + G(after)^k - G(before)^k, what the layers up to k would have changed. Unmoved codes leave F as it is."""
        there, here = (self.decoder.features(codes, upto=self.k)[0] for codes in (after, before))
        return feature + (there - here)

    def edit(
        self,
        x: Float[Tensor, " b c h w"],
        direction: Float[Tensor, " n d"] | Float[Tensor, " d"],
        strength: float = 1.0,
        *,
        resize: int | None = None,
    ) -> Images:
        """Images with their codes moved by `strength` times a direction in W+ or W, and F by equation 1."""
        codes, feature = self.encode(x)
        return self.draw(codes + strength * direction.to(codes), feature, before=codes, resize=resize)

    def mix(self, a: Float[Tensor, " b c h w"], b: Float[Tensor, " b c h w"], *, resize: int | None = None) -> Images:
        """G(F of a, w of b), figure 8: shape and pose of `a`, colours of `b`; where there is no F, `b` alone."""
        return self.decode(self.encode(b)[0], self.encode(a)[1], resize=resize)

    def read(self, x: Float[Tensor, " b c h w"]) -> tuple[Codes, Feature | None]:
        """`encode`."""
        return self.encode(x)

    def draw(
        self,
        codes: Codes,
        feature: Feature | None = None,
        *,
        before: Codes | None = None,
        resize: int | None = None,
    ) -> Images:
        """G(F, w) with F moved from the codes `before` to these, by equation 1; without a feature G(w)."""
        if feature is not None and before is not None:
            feature = self.moved(feature, before, codes)
        return self.decode(codes, feature, resize=resize)

    def forward(self, x: Float[Tensor, " b c h w"], *, resize: int | None = None) -> Images:
        """`invert`."""
        return self.invert(x, resize=resize)

    def numbers(self) -> dict[str, int]:
        """How many numbers an inversion is made of: those of F, and of the styles that it reads."""
        used = set(range(self.k, self.n_styles))
        if self.encoder.rgb == "w" and self.k > 1:
            used |= set(range(2 * (self.k // 2)))  # of the layers up to the last ToRGB in front of convolution k
        return {"feature": self.encoder.feature_numbers, "codes": len(used) * self.decoder.style_dim}
