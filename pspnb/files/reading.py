"""Small text files that may be damaged: read, or refused in one line that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pspnb.errors import PspnbError


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The object in a JSON file. PspnbError when the file can't be read, is cut short, or holds something else."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PspnbError(f"{path}: cannot read: {error.strerror or error}") from error
    except ValueError as error:
        raise PspnbError(f"{path}: damaged or cut short, expected JSON ({error})") from error
    if not isinstance(value, dict):
        raise PspnbError(f"{path}: damaged, expected a JSON object, found {type(value).__name__}")
    return value
