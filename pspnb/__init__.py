"""pspnb: StyleGAN encoders, exact and explained.

    psp = pspnb.load("facets64/inversion")      # a shipped model; pspnb.available() lists them
    psp = pspnb.load("psp_ffhq_encode.pt")      # an official checkpoint: the architecture is read from the file
    y = psp(x)                                  # x (b, c, h, w) in [-1, 1] -> (b, 3, H, H)

Importing pspnb imports nothing heavy, touches no GPU and opens no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pspnb.nn.stylegan2 import Generator
    from pspnb.psp import PSP

__version__ = "0.1.0"
__all__ = ["__version__", "available", "load", "load_generator", "load_identity"]


def available() -> list[str]:
    """Names of the shipped models, such as "facets64/generator"; each can be given to `load`."""
    from pspnb import hub

    return hub.available()


def load(name_or_file: str | Path, *, device: str = "cpu") -> PSP | nn.Module:
    """A shipped model by name, or an official pSp checkpoint by path, in eval mode on `device`.

    Raises `pspnb.errors.LoadError` with one line that says what was expected.
    """
    from pspnb import checkpoints

    shipped = _shipped(name_or_file, device)
    return shipped if shipped is not None else checkpoints.load_psp(name_or_file, device=device)


def load_generator(name_or_file: str | Path, *, device: str = "cpu") -> Generator:
    """A generator: shipped, a rosinality `.pt` file, or an NVIDIA StyleGAN2-ADA `.pkl` file."""
    from pspnb import checkpoints
    from pspnb.errors import LoadError
    from pspnb.nn.stylegan2 import Generator

    shipped = _shipped(name_or_file, device)
    if shipped is None:
        return checkpoints.load_generator(name_or_file, device=device)
    if not isinstance(shipped, Generator):
        raise LoadError(f"expected a generator, but {name_or_file} is a {type(shipped).__name__}")
    return shipped


def load_identity(name_or_file: str | Path, *, device: str = "cpu") -> nn.Module:
    """A face-recognition network with unit-length embeddings: shipped, IR-SE50 or CurricularFace file."""
    from pspnb import checkpoints

    shipped = _shipped(name_or_file, device)
    return shipped if shipped is not None else checkpoints.load_identity(name_or_file, device=device)


def _shipped(name: str | Path, device: str) -> nn.Module | None:
    from pspnb import hub

    return hub.load_shipped(str(name), device=device) if str(name) in hub.available() else None
