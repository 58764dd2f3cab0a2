"""What made a result: every file of numbers and every card carries it, written in one way."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]  # of the repository, where this package lies in one


def stamp(*, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Commit, seed, device and date (UTC). Take it before the first file is written: that makes the commit "-dirty"."""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return {"commit": commit(), "seed": seed, "device": hardware(device), "date": date}


def commit() -> str:
    """Commit of the repository this package lies in, "-dirty" when files differ from it; "unknown" outside one.

    `$PSPNB_COMMIT` says it where a copy of the files was carried to another machine without their history.
    """
    if told := os.environ.get("PSPNB_COMMIT"):
        return told
    try:
        short = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "diff", "--quiet", "HEAD", "--", "pspnb"], cwd=ROOT, capture_output=True, check=False
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return short.stdout.strip() + ("-dirty" if dirty.returncode else "")


def whereabouts(name: str) -> str:
    """What to write down of where a network came from: a shipped name as it is, a file or folder with its whole path."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def hardware(device: str = "cpu") -> str:
    """One line: the GPU's name, or the processor, and how many threads torch uses."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"
