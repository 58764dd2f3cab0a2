"""Files that are whole or absent: what a kill, a full disk or a long name leaves behind."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pspnb
from pspnb.errors import PspnbError
from pspnb.files.atomic import new_folder, write_atomically, write_bytes, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "x.bin"
    write_bytes(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PspnbError, match=r"x\.bin: cannot write: No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["x.bin"]


def test_an_interrupt_in_the_middle_leaves_the_old_file(tmp_path):
    def interrupted(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    write_bytes(tmp_path / "x", b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", interrupted)
    assert (tmp_path / "x").read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


def test_the_file_is_renamed_into_place_not_copied(tmp_path):
    """A copy would be half there for a moment: whoever has the old file open goes on reading the old content."""
    write_bytes(tmp_path / "x", b"old")
    with open(tmp_path / "x", "rb") as reader:
        write_bytes(tmp_path / "x", b"newer")
        assert reader.read() == b"old" and os.fstat(reader.fileno()).st_nlink == 0
    assert (tmp_path / "x").read_bytes() == b"newer"


def test_names_as_long_as_the_file_system_allows(tmp_path):
    write_bytes(tmp_path / ("x" * 255), b"whole")
    with pytest.raises(PspnbError, match="cannot write: File name too long"):
        write_bytes(tmp_path / ("x" * 256), b"")
    assert os.listdir(tmp_path) == ["x" * 255]


def test_json_ends_with_a_line(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, 2]}, indent=None)
    assert (tmp_path / "x.json").read_bytes() == b'{"a": [1, 2]}\n'


def test_a_new_folder_takes_the_place_of_the_old_one_when_it_is_complete(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").touch()
    with pytest.raises(RuntimeError), new_folder(tmp_path / "f") as aside:
        (aside / "half").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["f"] and os.listdir(tmp_path / "f") == ["old"]
    with new_folder(tmp_path / "f") as aside:
        (aside / "new").touch()
        assert os.listdir(tmp_path / "f") == ["old"]
    assert os.listdir(tmp_path) == ["f"] and os.listdir(tmp_path / "f") == ["new"]


# ---- progress bars -------------------------------------------------------------------------------------------------

_RENDER = "from pspnb.facets import Facets; Facets('test', 16, n=2)"


def _environment(cache, **more):
    return {**os.environ, "PSPNB_CACHE": str(cache), "PSPNB_PROGRESS": "", **more}


def test_an_empty_cache_leaves_no_trace_in_a_pipe(tmp_path):
    """What a notebook is: its standard error is no terminal. The same output with an empty and with a full cache."""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", _RENDER], capture_output=True, env=_environment(tmp_path))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_terminal_sees_the_bar_and_so_does_who_asks_for_it(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    done = subprocess.run([sys.executable, "-c", _RENDER], stderr=slave, env=_environment(tmp_path / "a"))
    os.close(slave)
    assert done.returncode == 0 and b"rendering Facets test" in os.read(master, 100_000)
    os.close(master)
    environment = _environment(tmp_path / "b", PSPNB_PROGRESS="1")
    done = subprocess.run([sys.executable, "-c", _RENDER], capture_output=True, env=environment)
    assert b"rendering Facets test" in done.stderr


def test_every_bar_of_the_package_is_that_one():
    root = Path(pspnb.__file__).parent
    importers = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            importers |= {path.relative_to(root).as_posix() for name in names if str(name).split(".")[0] == "tqdm"}
    assert importers == {"files/progress.py"}
