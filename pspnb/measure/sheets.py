"""Sheets of unselected images, to be looked at: numbers do not see a broken face. Chapter: "StyleGAN2 from the inside"."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.files.pictures import grid, write_png
from pspnb.measure.answer_key import answer_key, synthesize
from pspnb.measure.between import codes_between
from pspnb.measure.styles import mixing_grid
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import Style

COLUMNS = 16


@torch.no_grad()
def write_sheets(
    generator: Generator,
    z: Float[Tensor, " n k"],
    out: Path,
    *,
    each: int = 256,
    style: Style = "photo",
    device: str | torch.device = "cpu",
) -> list[Path]:
    """The first `each` images of each kind, none left out, 16 a row; returns the files. `style`: in which the truth is drawn.

    truth.png and samples.png show the same z; midpoint.png, truncated.png (psi .5) and mixed.png those of `codes_between`;
    latent_avg.png goes from the mean latent (left) to eight z (right) in ten steps; mixing.png swaps groups of styles.
    """
    w = generator.map(z[: 2 * each].to(device))
    half = len(w) // 2
    codes = codes_between(generator, w[:half], w[half : 2 * half])
    sheets = {
        "truth": (answer_key(z[:half], generator.size, device, style=style).images, COLUMNS),
        "samples": (synthesize(generator, codes["unmixed"]), COLUMNS),
        **{kind: (synthesize(generator, codes[kind]), COLUMNS) for kind in ("midpoint", "truncated", "mixed")},
        "latent_avg": (synthesize(generator, _from_the_mean(generator, w[:8])), 11),
        "mixing": (mixing_grid(generator), 5),
    }
    for name, (images, columns) in sheets.items():
        write_png(out / f"{name}.png", grid(images, columns=columns))
    return [out / f"{name}.png" for name in sheets]


def _from_the_mean(generator: Generator, w: Float[Tensor, " b d"]) -> Float[Tensor, " m d"]:
    """psi = 0, .1, ..., 1 of each w."""
    return torch.stack([generator.truncate(w, psi / 10) for psi in range(11)], dim=1).flatten(0, 1)
