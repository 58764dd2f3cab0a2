"""What the models of this book share: an encoder that reads an image, a frozen generator that draws it, a mean latent between them.

`PSP` and `FeatureStyle` differ in what the encoder finds: codes, or codes and a feature of the generator. `read` and `draw` give
both the same face, which is what translating, editing and measuring use. Chapter: "Using pspnb".
"""

import math
import warnings
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.nn.stylegan2 import Generator

# Beyond this no sum of effects explains a pixel value: it is one of 0 ... 255.
FAR_OUTSIDE = 10.0


class Translator(nn.Module):
    """Encoder and generator. Codes are w+ (b, n_styles, style_dim), the mean latent included, everywhere.

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

    def read(self, x: Float[Tensor, " b c h w"]) -> tuple[Float[Tensor, " b n d"], Float[Tensor, " b f g g"] | None]:
        """Images -> codes, and the feature where the model has one."""
        raise NotImplementedError

    def draw(
        self,
        codes: Float[Tensor, " b n d"],
        feature: Float[Tensor, " b f g g"] | None = None,
        *,
        before: Float[Tensor, " b n d"] | None = None,
        resize: int | None = None,
    ) -> Float[Tensor, " b 3 H H"]:
        """Images from what `read` found; `before`: the codes that it found, where `codes` are edited ones."""
        raise NotImplementedError

    def numbers(self) -> dict[str, int]:
        """How many numbers an inversion is made of: those of its codes (of one style, where all are alike), and of a feature."""
        styles = getattr(self.encoder, "n_styles", 1)
        return {"feature": 0, "codes": styles * self.decoder.style_dim}

    def from_z(self, z: Float[Tensor, " b k"], *, truncation: float = 1.0) -> Float[Tensor, " b n d"]:
        """Codes of random faces: the generator's mapping network, repeated for every style."""
        return self.decoder.to_w_plus(self.decoder.map(z, truncation=truncation))

    def random_codes(self, n: int, *, seed: int = 0) -> Float[Tensor, " n m d"]:
        """Codes of `n` random faces, drawn on the CPU: the same on every device, and the first k are those of n = k."""
        z = torch.randn(n, self.decoder.z_dim, generator=torch.Generator().manual_seed(seed))
        return self.from_z(z.to(self.latent_avg))

    def mix_styles(
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

    def _check(self, x: Float[Tensor, " b c h w"]) -> None:
        """Refuses NaN; outside training and graphs, which can't look at values."""
        if not (self.training or torch.compiler.is_compiling() or torch.jit.is_tracing()):
            _check_range(x)

    def _with_average(self, offsets: Float[Tensor, " b n d"]) -> Float[Tensor, " b n d"]:
        return offsets + self.latent_avg if self.start_from_latent_avg else offsets


def _check_range(x: Float[Tensor, " b c h w"]) -> None:
    """ValueError for NaN and infinity; a warning for pictures in 0 ... 255, of which an encoder makes some other face."""
    largest = float(x.detach().abs().amax()) if x.numel() else 0.0
    if not math.isfinite(largest):
        raise ValueError("expected finite pixel values, got NaN or infinity in the encoder's input")
    if largest > FAR_OUTSIDE:
        warnings.warn(
            f"expected pixel values in [-1, 1], got {largest:.4g}; a picture in 0 ... 255 needs x / 127.5 - 1",
            stacklevel=4,
        )
