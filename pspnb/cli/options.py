"""What the commands have in common: options with one help text, and the reading of values such as id=0.5,w_norm=0.0005."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from pspnb.errors import PspnbError
from pspnb.recipes.recipe import option

Model = Annotated[
    str,
    arg(
        metavar="MODEL",
        help="Shipped model (see `pspnb models`), official checkpoint file, or the folder of a run of `pspnb train`.",
    ),
]
MovedGenerator = Annotated[
    str | None,
    arg(
        metavar="NAME_OR_FILE",
        help="Generator of a model that `pspnb train` made, if its file is no longer where it was during training.",
        help_behavior_hint="",
    ),
]
Output = Annotated[Path, arg(metavar="FOLDER", help="Output folder; it gets the same sub-folders as the input.")]
Detector = Annotated[
    Path | None,
    arg(
        metavar="PATH",
        help="File of the YuNet face detector; default: $PSPNB_YUNET, else downloaded once (0.3 MB).",
        help_behavior_hint="",
    ),
]
Device = Annotated[
    str,
    arg(
        metavar="DEVICE",
        help="Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps (untested), ...",
    ),
]
Directions = Annotated[
    Path | None,
    arg(
        metavar="PATH",
        help="File of named latent directions (.safetensors) for --edit; default: the built-in ones of a generator of Facets.",
        help_behavior_hint="",
    ),
]


def optional(name: str) -> Any:
    """A positional argument that may be left out, shown in brackets."""
    return option(f"[{name}]")


def refuse_given(command: Any, names: Sequence[str], reason: str) -> None:
    """PspnbError for the first of these options that is not at its default: one that would be ignored is a mistake."""
    defaults = {entry.name: entry.default for entry in fields(command)}
    for name in names:
        if getattr(command, name) != defaults[name]:
            raise PspnbError(f"--{name.replace('_', '-')} {reason}")


def pairs(text: str) -> list[tuple[str, str]]:
    """ "a=1, b=2" in parts; a part without "=" has an empty value."""
    parts = (part.partition("=") for part in text.split(","))
    return [(name.strip(), value.strip()) for name, _, value in parts]


def finish(report: Any) -> int:
    """The summary on stdout, a line for every failure on stderr."""
    print(report)
    for failure in report.failures:
        print(f"pspnb: {failure}", file=sys.stderr)
    return 1 if report.failures else 0
