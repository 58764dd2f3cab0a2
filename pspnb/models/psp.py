"""pSp: an encoder that looks at an image and a frozen generator that draws it again.

Source: pSp, equation 1: pSp(x) = G(E(x) + mean latent). Chapter: "The architecture".
"""

import math
import warnings
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.stylegan2 import Generator, NoiseSpec

# Beyond this no sum of effects explains a pixel value: it is one of 0 ... 255.
FAR_OUTSIDE = 10.0


class PSP(nn.Module):
    """Encoder and generator. Codes are w+ (b, n_styles, style_dim), the mean latent included, everywhere in this class.

    `latent_avg` may be (n_styles, d), (1, d) or (d,), as in the various official files; it is kept as a buffer
    (n_styles, d), so it moves with the module and is saved with it. With `start_from_latent_avg=False` the encoder's
    output is the code itself.
    """

    latent_avg: Tensor
    task: str | None = None
    """Name of the task it was trained for (`pspnb.tasks`), where its card, file or run says so."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Generator,
        *,
        latent_avg: Float[Tensor, " d"] | Float[Tensor, " n d"] | None = None,
        start_from_latent_avg: bool = True,
    ):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.start_from_latent_avg = start_from_latent_avg
        avg = decoder.latent_avg if latent_avg is None else latent_avg
        shape = (decoder.n_styles, decoder.style_dim)
        if avg.shape not in {shape, (1, shape[1]), shape[1:]}:
            raise ValueError(f"expected latent_avg of shape {shape}, got {tuple(avg.shape)}")
        self.register_buffer("latent_avg", avg.detach().expand(shape).clone())

    @property
    def n_styles(self) -> int:
        return self.decoder.n_styles

    @property
    def input_size(self) -> int:
        """Side in pixels of the images the encoder reads."""
        return cast(int, self.encoder.input_size)

    def encode(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b n d"]:
        """Images in [-1, 1] (label maps: one-hot) -> codes, mean latent included. Outside training (and graphs) NaN is refused."""
        if not (self.training or torch.compiler.is_compiling() or torch.jit.is_tracing()):
            _check_range(x)  # a graph can't look at values
        codes = self.decoder.to_w_plus(self.encoder(x))
        return codes + self.latent_avg if self.start_from_latent_avg else codes

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

    def from_z(self, z: Float[Tensor, " b k"], *, truncation: float = 1.0) -> Float[Tensor, " b n d"]:
        """Codes of random faces: the generator's mapping network, repeated for every style."""
        return self.decoder.to_w_plus(self.decoder.map(z, truncation=truncation))

    def random_codes(self, n: int, *, seed: int = 0) -> Float[Tensor, " n m d"]:
        """Codes of `n` random faces, drawn on the CPU: the same on every device, and the first k are those of n = k."""
        z = torch.randn(n, self.decoder.z_dim, generator=torch.Generator().manual_seed(seed))
        return self.from_z(z.to(self.latent_avg))

    def mix(
        self,
        codes: Float[Tensor, " b n d"],
        latent_mask: Sequence[int],
        inject_latent: Float[Tensor, " b2 n2 d2"] | None = None,
        alpha: float | None = None,
    ) -> Float[Tensor, " b n d"]:
        """Replace the styles in `latent_mask` (0-based) by those of `inject_latent`, or blend: alpha inject + (1 - alpha) codes.

        Without `inject_latent` the masked styles become zero, as published. `codes` is not changed.
        """
        bad = [i for i in latent_mask if not 0 <= i < self.n_styles]
        if bad:
            raise ValueError(f"expected latent_mask entries in 0..{self.n_styles - 1}, got {bad}")
        expected = codes.shape[1:]
        if inject_latent is not None and (
            inject_latent.shape[1:] != expected or inject_latent.shape[0] not in (1, codes.shape[0])
        ):
            shape = (codes.shape[0], *expected)
            raise ValueError(f"expected inject_latent of shape {shape}, got {tuple(inject_latent.shape)}")
        mask = torch.zeros(self.n_styles, 1, dtype=torch.bool)
        mask[list(latent_mask)] = True
        mask = mask.to(codes.device)
        if inject_latent is None:
            return codes.masked_fill(mask, 0.0)
        injected = inject_latent if alpha is None else alpha * inject_latent + (1 - alpha) * codes
        return torch.where(mask, injected, codes)

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


def _check_range(x: Float[Tensor, " b c h w"]) -> None:
    """ValueError for NaN and infinity; a warning for pictures in 0 ... 255, of which an encoder makes some other face."""
    largest = float(x.detach().abs().amax()) if x.numel() else 0.0
    if not math.isfinite(largest):
        raise ValueError("expected finite pixel values, got NaN or infinity in the encoder's input")
    if largest > FAR_OUTSIDE:
        warnings.warn(
            f"expected pixel values in [-1, 1], got {largest:.4g}; a picture in 0 ... 255 needs x / 127.5 - 1",
            stacklevel=3,
        )
