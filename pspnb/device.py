"""Which device a command runs on, chosen in one place."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from pspnb.errors import LoadError, PspnbError

Module = TypeVar("Module", bound=nn.Module)


def pick_device(name: str | None = "auto") -> str:
    """ "auto" or None: a CUDA GPU if there is one, else Apple's (mps), else the CPU; any other name as it is.

    mps is untested: no machine that tests this package has one. Raises PspnbError, one line, if a named device cannot be used.
    """
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name).cpu()
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        raise PspnbError(
            f"cannot use the device {name!r} ({_reason(name, error)}); expected auto, cpu or cuda"
        ) from error
    return name


def placed(module: Module, device: str | torch.device) -> Module:
    """The module on the device. Raises LoadError where there is none of that name."""
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise LoadError(f"cannot use the device {str(device)!r}: {reason}") from error


def _reason(name: str, error: Exception) -> str:
    kind = name.split(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        return "no CUDA GPU here, or a PyTorch without CUDA"
    if kind == "cuda":
        return f"there are {torch.cuda.device_count()} GPUs, counted from 0"
    if kind == "mps":
        return "no Apple GPU here, or a PyTorch without it"
    return str(error).strip().splitlines()[0][:120]
