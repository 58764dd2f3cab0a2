"""A log of one JSON object a line, and a graceful stop on SIGTERM or Ctrl-C. A kill at any moment leaves a log that can be read."""

import json
import math
import os
import signal
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_text


class Journal:
    """Appends records to a JSON-lines file. On resume, lines of steps after `keep_until` are dropped: they will come again."""

    def __init__(self, path: str | os.PathLike[str], *, keep_until: int = 0):
        self.path = Path(path)
        kept = [line for line in read_journal(self.path) if line["step"] <= keep_until]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, record: dict[str, Any]) -> None:
        """`record` holds `step` and plain numbers."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def read_journal(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a log. A line cut short by a kill, or damaged, is left out.

    PspnbError for a file of lines none of which is a record: it is something else than a log.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    records = [record for line in lines if (record := _record(line)) is not None]
    if len(lines) > 1 and not records:
        raise PspnbError(f"{path}: damaged, expected the log of a training run")
    return records


def training_hours(records: Iterable[Mapping[str, Any]]) -> float:
    """How long the training took, by the rates of its log; NaN without one. Validations and pauses are not counted."""
    seconds, before, seen = 0.0, 0, False
    for record in records:
        if rate := record.get("images_per_s"):
            seconds += (record["images"] - before) / rate
            before, seen = record["images"], True
    return seconds / 3600 if seen else math.nan


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("step"), int) else None


class StopRequest:
    """Context in which SIGTERM and SIGINT set `requested` instead of ending the process; the loop looks at it each step."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
