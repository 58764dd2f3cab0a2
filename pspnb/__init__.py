"""pspnb: StyleGAN encoders, exact and explained.

    psp = pspnb.load("facets64/inversion")      # a shipped model; pspnb.available() lists them
    psp = pspnb.load("psp_ffhq_encode.pt")      # an official checkpoint: the architecture is read from the file
    psp = pspnb.load("runs/mine")               # a run of `pspnb train`: the best encoder, on its own generator
    y = psp(x)                                  # x (b, c, h, w) in [-1, 1] -> (b, 3, H, H)

Importing pspnb imports nothing heavy, touches no GPU and opens no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pspnb.models.feature_style import FeatureStyle
    from pspnb.models.psp import PSP
    from pspnb.nn.stylegan2 import Generator

__version__ = "0.1.0"
__all__ = ["__version__", "available", "load", "load_generator", "load_identity"]


def available() -> list[str]:
    """Names of the shipped models, such as "facets64/generator"; each can be given to `load`."""
    from pspnb.models import zoo

    return zoo.available()


def load(
    name_or_file: str | Path,
    *,
    device: str = "cpu",
    generator: str | Path | Generator | None = None,
    start_from_latent_avg: bool | None = None,
) -> PSP | FeatureStyle | nn.Module:
    """A model in eval mode on `device`: a shipped one by name, an official pSp checkpoint by path, or a run of `pspnb train`
    by its folder (the best weights) or one of its checkpoint files.

    `generator`: of an encoder's run, where it isn't any more where training found it. `start_from_latent_avg`: of a
    checkpoint that doesn't say. Raises `pspnb.errors.LoadError` with one line that says what was expected.
    """
    from pspnb.models import load

    return load.load(name_or_file, device=device, generator=generator, start_from_latent_avg=start_from_latent_avg)


def load_generator(name_or_file: str | Path, *, device: str = "cpu") -> Generator:
    """A generator: shipped, a rosinality `.pt` file, an NVIDIA StyleGAN2-ADA `.pkl` file, or a run of `pspnb train generator`;
    also that of an encoder or its run."""
    from pspnb.models import load

    return load.load_generator(name_or_file, device=device)


def load_identity(name_or_file: str | Path, *, device: str = "cpu") -> nn.Module:
    """A face-recognition network with unit-length embeddings: shipped, IR-SE50 or CurricularFace file, or the run of one."""
    from pspnb.models import load

    return load.load_identity(name_or_file, device=device)
