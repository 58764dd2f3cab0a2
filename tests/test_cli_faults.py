"""Faults that users reported, one kind a section: what the command line does with them now."""

import os
from pathlib import Path

import pytest
import torch
from _files import psp_content, tiny_psp
from _golden import uint8_image
from PIL import Image

from pspnb import cli


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """The checkpoint of a 32 px model for photographs."""
    path = tmp_path_factory.mktemp("models") / "photo.pt"
    torch.save(psp_content(tiny_psp()), path)
    return path


@pytest.fixture
def pspnb_command(capsys):
    """Run a command in this process: (exit code, lines on stdout, lines on stderr)."""

    def run(*arguments):
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture
def mistake(pspnb_command):
    """Run a command that must fail: one line on stderr, nothing on stdout, exit code 2; returns the line."""

    def run(*arguments):
        code, out, errors = pspnb_command(*arguments)
        assert code == 2 and out == [] and len(errors) == 1 and errors[0].startswith("pspnb: "), (code, out, errors)
        return errors[0]

    return run


def _picture(path: Path, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(uint8_image(path.stem[:8], side, side, 3)).save(path)
    return path


# ---- empty arguments, long names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["translate", "--model", "x", "--output", "out", "--input", ""],
        ["translate", "--model", "x", "--output", "out", "--input="],
        ["translate", "--model", "x", "--input", ".", "--output", " "],
        ["align", "", "--output", "out"],
        ["facets", "--output", ""],
        ["train", "inversion", "--out", ""],
        ["evaluate", ""],
    ],
)
def test_an_unset_shell_variable_is_not_the_current_folder(mistake, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    _picture(tmp_path / "x.png")
    assert "got an empty one; is a variable of the shell not set?" in mistake(*arguments)
    assert os.listdir(tmp_path) == ["x.png"]


def test_an_empty_path_from_python(tmp_path, monkeypatch):
    from pspnb.folders import plan_jobs
    from pspnb.images import find_images

    monkeypatch.chdir(tmp_path)
    _picture(tmp_path / "x.png")
    for call in (lambda: find_images(""), lambda: plan_jobs("", "out", endings=[".png"])):
        with pytest.raises(ValueError, match="empty path"):
            call()
    with pytest.raises(ValueError, match="expected an output folder, got an empty path"):
        plan_jobs("x.png", "", endings=[".png"])


def test_long_names_are_written_and_one_that_is_too_long_fails_alone(pspnb_command, photo, tmp_path):
    long = f"0{'名' * 81}"  # 244 bytes
    _picture(tmp_path / "in" / f"{long}.png")
    _picture(tmp_path / "in" / "z.png")
    arguments = ("translate", "--model", photo, "--input", tmp_path / "in")
    assert pspnb_command(*arguments, "--output", tmp_path / "a")[:2] == (0, ["2 written"])
    assert sorted(os.listdir(tmp_path / "a")) == [f"{long}.png", "z.png"]
    extra = ("--n-samples", 1, "--layers", "7", "--batch-size", 1)
    code, lines, errors = pspnb_command(*arguments, "--output", tmp_path / "b", *extra)
    assert (code, lines) == (1, ["1 written, 1 failed"]) and os.listdir(tmp_path / "b") == ["z_sample0.png"]
    assert len(errors) == 1 and errors[0].endswith("cannot write: File name too long")


def test_a_system_error_is_one_line(mistake, photo, tmp_path):
    """Here: the output lies below a file."""
    _picture(tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    said = mistake("facets", "--n", 1, "--size", 16, "--output", tmp_path / "file" / "below")
    assert str(tmp_path / "file") in said and ("Not a directory" in said or "File exists" in said)
