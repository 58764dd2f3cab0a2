"""Progress bars: for people at a terminal, never in what is compared.

A bar shows how fast this machine is and whether a cache was empty, so it has no place in the output of a notebook, a log
file or a pipe. It is drawn when the standard error is a terminal; `PSPNB_PROGRESS=1` draws it everywhere (in an interactive
notebook, say), `PSPNB_PROGRESS=0` nowhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def shown(wanted: bool = True) -> bool:
    """Whether a bar would be drawn for a caller who wants one."""
    said = os.environ.get("PSPNB_PROGRESS", "").strip()
    if said:
        return wanted and said != "0"
    try:
        return wanted and sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # a closed stream
        return False


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    wanted: bool = True,
    total: int | None = None,
    unit: str = "it",
    **options: Any,
) -> tqdm:
    """A tqdm bar over `items`, or with `total` to be advanced by hand; silent where bars have no place (see the module)."""
    return tqdm(items, total=total, unit=unit, disable=not shown(wanted), **options)
