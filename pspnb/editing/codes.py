"""Latent codes in files: by name in .safetensors, as an array in .npy, as a tensor or a dict of tensors in .pt.

Chapter: "Using pspnb". A code is w+ (n_styles, style_dim) with the mean latent included, as an encoder gives it (`pspnb.models`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.errors import ImageError, LoadError, PspnbError
from pspnb.files.atomic import write_bytes
from pspnb.models.base import Translator
from pspnb.models.official.reading import read_torch

ENDINGS = (".safetensors", ".npy", ".pt")


def is_codes_file(path: str | os.PathLike) -> bool:
    """Whether a path is that of codes, by the end of its name."""
    return os.fspath(path).endswith(ENDINGS)


def read_codes(path: str | os.PathLike) -> dict[str, Tensor]:
    """Codes by name. A single array is named after its file; a batch (b, n, d) gives the names x_0000, x_0001, ...

    LoadError when the file can't be read, is damaged or empty, or holds something else than arrays.
    """
    path = Path(path)
    try:
        found = {".safetensors": _safetensors, ".npy": _array, ".pt": _torch}[path.suffix](path)
    except KeyError:
        raise LoadError(f"{path}: expected codes in a file that ends in {', '.join(ENDINGS)}") from None
    except OSError as error:
        raise LoadError(f"{path}: cannot read: {error.strerror or error}") from error
    named = found if isinstance(found, Mapping) else {path.stem: found}
    codes: dict[str, Tensor] = {}
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise LoadError(f"{path}: expected tensors of codes, found {type(value).__name__} ({name})")
        batch = {f"{name}_{i:04d}": row for i, row in enumerate(value)} if value.ndim == 3 else {str(name): value}
        codes |= batch
    if not codes:
        raise LoadError(f"{path}: expected codes, found an empty file of tensors")
    return codes


def checked(code: Tensor, psp: Translator, where: str) -> Float[Tensor, " n d"]:
    """The code in float32. ImageError, starting with `where`, when it is no code of this model or not finite."""
    expected = (psp.n_styles, psp.decoder.style_dim)
    if tuple(code.shape) != expected or not code.is_floating_point():
        raise ImageError(f"{where}: expected codes of shape {expected}, floating point, found {tuple(code.shape)}")
    if not torch.isfinite(code).all():
        raise ImageError(f"{where}: the codes hold NaN or infinite values")
    return code.float()


def read_direction(path: str | os.PathLike, psp: Translator) -> Float[Tensor, " n d"]:
    """One direction in w+ (n, d), or in w (d,) or (1, d) for all styles alike. PspnbError for anything else."""
    directions = list(read_codes(path).values())
    n, d = psp.n_styles, psp.decoder.style_dim
    if len(directions) != 1 or tuple(directions[0].shape) not in {(n, d), (1, d), (d,)}:
        shapes = ", ".join(str(tuple(t.shape)) for t in directions[:3])
        raise PspnbError(f"{path}: expected one direction of shape ({n}, {d}) or ({d},), found {shapes}")
    direction = directions[0].float()
    if not torch.isfinite(direction).all():
        raise PspnbError(f"{path}: the direction holds NaN or infinite values")
    return direction.expand(n, d)


class CodesFile:
    """Codes by output name, gathered during a run and written at its end, beside those that the file already holds."""

    def __init__(self, path: str | os.PathLike, psp: Translator):
        self.path = Path(path)
        if self.path.suffix != ".safetensors":
            raise PspnbError(f"{self.path}: expected a name that ends in .safetensors for the codes")
        self.tensors = read_codes(self.path) if self.path.exists() else {}
        for name, code in self.tensors.items():
            checked(code, psp, f"{self.path}: {name}")
        self.changed = False

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __setitem__(self, name: str, code: Float[Tensor, " n d"]) -> None:
        self.tensors[name], self.changed = code.contiguous(), True

    def save(self) -> None:
        """Write the file if a code was added. PspnbError when the system refuses."""
        from safetensors.torch import save

        if self.changed:
            write_bytes(self.path, save(self.tensors))


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise LoadError(f"{path}: damaged, or not a safetensors file of codes") from error


def _array(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.array(np.load(path, allow_pickle=False)))
    except (ValueError, TypeError, EOFError) as error:
        raise LoadError(f"{path}: damaged, or not a NumPy array of numbers") from error


def _torch(path: Path) -> object:
    return read_torch(path)
