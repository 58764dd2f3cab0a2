"""Where files are kept that can be made or fetched again: downloads, the rendered Facets, decoded picture folders."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`$PSPNB_CACHE`, or `pspnb` in the platform's user cache folder. It may not exist yet."""
    if given := os.environ.get("PSPNB_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pspnb" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pspnb"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pspnb"
