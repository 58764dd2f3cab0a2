"""Files and folders that are never half written: made aside, brought to the disk, renamed.

A reader, a kill or a full disk sees the new content, or what was there before, and nothing in between.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pspnb.errors import PspnbError


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with an open temporary file beside `path`, then rename it to `path`. Missing folders are made.

    Raises PspnbError, one line, when the system refuses (no space, no permission, read-only); its cause is the OSError.
    """
    path = Path(path)
    # The temporary name is short whatever the final one is: file systems allow 255 bytes a name.
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise PspnbError(f"{path}: cannot write: {error.strerror or error}") from error
        raise
    _sync_folder(path.parent)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """All of `data` as the file `path`, or the file stays as it was. Errors as `write_atomically`."""
    write_atomically(path, lambda stream: stream.write(data))


def write_text(path: str | os.PathLike, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, value: Any, *, indent: int | None = 1) -> None:
    """A value as JSON with a line end, whole or not at all. Errors as `write_atomically`."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `path` when the block ends without an error.

    Whatever folder was at `path` is removed only after the new one stands there; whether that may be is for the caller
    to know. When the block fails, `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
    old = aside.with_name(f"{aside.name}-old")
    try:
        yield aside
        os.chmod(aside, 0o755)  # mkdtemp's folders are private
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(aside, path)
        except OSError:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system lets us open a folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
