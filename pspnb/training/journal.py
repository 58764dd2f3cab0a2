"""A log of one JSON object a line, and a polite way to stop: both safe against a kill at any moment."""

import json
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any


class Journal:
    """Appends records to a JSON-lines file. On resume, lines of steps after `keep_until` are dropped: they will come again."""

    def __init__(self, path: str | os.PathLike[str], *, keep_until: int = 0):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_journal(self.path) if line["step"] <= keep_until]
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(temporary, self.path)

    def write(self, record: dict[str, Any]) -> None:
        """`record` holds `step` and plain numbers."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def read_journal(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a log; a last line cut short by a kill is ignored."""
    path = Path(path)
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


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
