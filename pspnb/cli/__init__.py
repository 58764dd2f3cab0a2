"""The command line: a module for each command, whose options are the fields of one dataclass.

It imports nothing heavy until a command really runs, so that `--help` answers at once. A user's mistake is one line on stderr
and exit code 2; some inputs of many failing is exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import Annotated

import tyro
from tyro.conf import subcommand

from pspnb.cli.align import Align
from pspnb.cli.evaluate import Evaluate
from pspnb.cli.export import Export
from pspnb.cli.facets import Facets
from pspnb.cli.models import Models
from pspnb.cli.train import Train
from pspnb.cli.translate import Translate
from pspnb.cli.video import Video
from pspnb.errors import PspnbError

Command = (
    Annotated[Translate, subcommand("translate")]
    | Annotated[Align, subcommand("align")]
    | Annotated[Video, subcommand("video")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Facets, subcommand("facets")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Export, subcommand("export")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        from pspnb import __version__

        print(f"pspnb {__version__}")
        return 0
    try:
        _refuse_empty(arguments)
        return _parse(arguments).run()
    except KeyboardInterrupt:
        print("pspnb: interrupted; what was written is whole", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except (ValueError, MemoryError, OSError) as error:
        if os.environ.get("PSPNB_DEBUG"):
            raise
        print(f"pspnb: {_one_line(error)}", file=sys.stderr)
        return 2


def _refuse_empty(arguments: list[str]) -> None:
    """PspnbError for an empty argument: an unset shell variable in `--input "$FOLDER"` would mean the current folder."""
    before = ["", *arguments]
    for previous, argument in zip(before, arguments, strict=False):
        name, equals, value = argument.partition("=")
        if not argument.strip() or (name.startswith("--") and equals and not value.strip()):
            after = f" for {name if equals else previous}" if equals or previous.startswith("--") else ""
            raise PspnbError(f"expected a value{after}, got an empty one; is a variable of the shell not set?")


def _parse(arguments: list[str]) -> Translate | Align | Video | Models | Facets | Train | Evaluate | Export:
    """Parse, with tyro's boxed page of advice reduced to the line that says what was wrong."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.cli(
                Command,
                prog="pspnb",
                description="StyleGAN encoders for image-to-image translation: pSp, exact and explained. "
                "Options of a command: pspnb COMMAND --help.",
                args=arguments,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise PspnbError(_advice(caught.getvalue())) from end


def _advice(box: str) -> str:
    """The text of tyro's first box, up to its first ruler."""
    body: list[str] = []
    for line in box.splitlines()[1:]:  # the first line is a title; in ASCII a ruler follows it
        text = line.strip("│|╭╮╰╯+ ")
        if text.strip("─- "):
            body.append(" ".join(text.split()))
        elif body:
            break
    text = re.sub(r"^Error parsing \w+: ", "", " ".join(body))  # an option out of range
    return f"{text} (see pspnb --help)"


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, ValueError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
