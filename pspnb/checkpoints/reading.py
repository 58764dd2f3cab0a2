"""Open a file from the internet without running it: weights only, mapped into memory, errors in words."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from pspnb.checkpoints.sniff import kind_of, web_page_reason
from pspnb.errors import LoadError

_EXPECTED = {
    "empty": "the file is empty (0 bytes); expected a PyTorch checkpoint",
    "safetensors": "a safetensors file; expected a PyTorch checkpoint (.pt) in the official format",
    "unknown": "not a PyTorch checkpoint (expected the zip or pickle that torch.save writes)",
    "pickle": "a plain pickle; expected a PyTorch checkpoint (.pt); NVIDIA's .pkl generators: pspnb.load_generator",
}


def existing_file(path: str | os.PathLike) -> Path:
    """The path, if it is a readable file with something in it that is no web page. Raises LoadError otherwise."""
    path = Path(path)
    try:
        kind = kind_of(path)
    except OSError as error:
        raise LoadError(f"{path}: cannot read: {error.strerror or error}") from error
    if kind == "empty":
        raise LoadError(f"{path}: {_EXPECTED[kind]}")
    if kind == "web page":
        raise LoadError(f"{path}: {web_page_reason(path)}")
    return path


def read_torch(path: str | os.PathLike) -> Any:
    """What `torch.save` wrote, tensors on the CPU and backed by the file itself (no copy), nothing executed.

    Raises LoadError, one line, when the file is missing, a web page, damaged, or asks to run code.
    """
    path = existing_file(path)
    kind = kind_of(path)
    if kind in _EXPECTED:
        raise LoadError(f"{path}: {_EXPECTED[kind]}")
    if kind == "zip":
        _check_sums(path)
    try:
        # Old checkpoints keep their options as a Namespace, which is only a bag of attributes.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "zip")
    except pickle.UnpicklingError as error:
        raise LoadError(f"{path}: {_unpickling_reason(error)}") from error
    except Exception as error:  # damaged bytes surface as RuntimeError, EOFError, KeyError, UnicodeDecodeError, ...
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_first_line(error)})") from error


def _check_sums(path: Path) -> None:
    """Compare every record of the zip with its CRC: a memory-mapped load would take damaged weights for good ones."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            names = {record.filename.split("/", 1)[-1] for record in records}
            if "constants.pkl" in names:
                raise LoadError(f"{path}: a TorchScript program, which runs code; expected a checkpoint of weights")
            if "data.pkl" not in names or any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise LoadError(f"{path}: a zip archive, but not one that torch.save wrote")
            # All zero: written with torch's checksums switched off.
            broken = archive.testzip() if any(record.CRC for record in records) else None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_first_line(error)})") from error
    if broken is not None:
        raise LoadError(f"{path}: damaged checkpoint (the checksum of {broken} is wrong); download it again")


def _unpickling_reason(error: Exception) -> str:
    """PyTorch's page of advice in one line; its advice to load the file anyway is not repeated."""
    text = str(error)
    name = re.search(r"(?:GLOBAL|global|class) ([\w]+(?:\.[\w]+)+)", text)
    if "nsupported" in text and name:
        return f"refused: the file asks for {name.group(1)}, and weights need no code; nothing of it was run"
    return f"damaged checkpoint, or one that needs code to open ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__
