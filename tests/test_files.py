"""Files that are whole or absent: what a kill, a full disk or a long name leaves behind."""

import errno
import os

import pytest

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
