"""Open a file from the internet without running it: weights only, mapped into memory, errors in words."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from pspnb.errors import LoadError
from pspnb.files.sniff import kind_of, web_page_reason

_EXPECTED = {
    "empty": "the file is empty (0 bytes); expected a PyTorch checkpoint",
    "unknown": "not a PyTorch checkpoint (expected the zip or pickle that torch.save writes)",
    "pickle": "a plain pickle; expected a PyTorch checkpoint (.pt); NVIDIA's .pkl generators: pspnb.load_generator",
}


_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")


def _path_text(*parts: str) -> str:
    """A path among the stored options, which no loader looks at: its text, whatever system wrote it."""
    return "/".join(map(str, parts))


# What old checkpoints keep beside their weights and is only data: a bag of attributes, paths.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    *((_path_text, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in _PATHS),
]


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

    A safetensors file becomes {"state_dict": tensors, "opts": its text entries}.

    Raises LoadError, one line, when the file is missing, a web page, damaged, or asks to run code.
    """
    path = existing_file(path)
    kind = kind_of(path)
    if kind in _EXPECTED:
        raise LoadError(f"{path}: {_EXPECTED[kind]}")
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind == "zip":
        _check_sums(path)
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "zip")
    except pickle.UnpicklingError as error:
        raise LoadError(f"{path}: {_unpickling_reason(error)}") from error
    except Exception as error:  # damaged bytes surface as RuntimeError, EOFError, KeyError, UnicodeDecodeError, ...
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_first_line(error)})") from error


def glance(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a checkpoint, unchecked and mapped into memory, to look at its keys; {} where that isn't possible."""
    try:
        if kind_of(Path(path)) != "zip":
            return {}
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whoever opens the file in earnest says why it can't be
        return {}
    return content if isinstance(content, dict) else {}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors, texts = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise LoadError(f"{path}: damaged safetensors file ({_first_line(error)})") from error
    try:
        texts |= json.loads(texts.get("opts", "{}"))
    except (ValueError, TypeError):
        raise LoadError(f"{path}: damaged safetensors file (its opts are no JSON object)") from None
    return {"state_dict": tensors, "opts": texts}


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
        asked = name.group(1)
        advice = "; save its state_dict() instead of the whole module" if _is_module(asked) else ""
        return f"refused: the file asks for {asked}, and weights need no code; nothing of it was run{advice}"
    return f"damaged checkpoint, or one that needs code to open ({_first_line(error)})"


def _is_module(name: str) -> bool:
    """Whether a refused name looks like a network class, such as torch.nn.Module's or NVIDIA's persistent ones."""
    return name.startswith("torch_utils.persistence") or bool(re.search(r"\.[A-Z]\w*$", name))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__
