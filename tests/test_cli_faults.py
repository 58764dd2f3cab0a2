"""Faults that users reported, one kind a section: what the command line does with them now."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from _files import psp_content, tiny_psp
from _golden import uint8_image
from PIL import Image

from pspnb import cli
from pspnb.training.journal import read_journal
from pspnb.transforms import downsample


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """The checkpoint of a 32 px model for photographs."""
    path = tmp_path_factory.mktemp("models") / "photo.pt"
    torch.save(psp_content(tiny_psp()), path)
    return path


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
    from pspnb.files.folders import find_images, plan_jobs

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


# ---- numbers out of range -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what, options",
    [
        ("inversion", [["--steps", "0"], ["--steps", "-1"], ["--lr", "0"], ["--lr", "-1"], ["--lr", "nan"]]),
        ("inversion", [["--lr", "inf"], ["--batch", "0"], ["--batch", "-2"], ["--images", "0"], ["--images", "-5"]]),
        ("inversion", [["--decay-from", "1.5"], ["--decay-from", "-0.1"], ["--decay-from", "nan"], ["--seed", "-1"]]),
        ("inversion", [["--seed", str(2**64)], ["--steps", "-7"]]),
        ("generator", [["--steps", "0"], ["--batch", "0"], ["--images", "0"], ["--seed", "-1"], ["--steps", "-7"]]),
        ("instrument parsing", [["--steps", "0"], ["--images", "-1"], ["--seed", "-1"]]),
    ],
)
def test_training_takes_no_number_for_a_default(mistake, tmp_path, what, options):
    for option in options:
        said = mistake("train", *what.split(), "--out", tmp_path / "run", *option)
        assert said.startswith("pspnb: expected ") and option[0][2:].replace("-", "_").rstrip("s") in said, said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_loss_weight_that_is_none(mistake, tmp_path, value):
    said = mistake("train", "inversion", "--out", tmp_path / "run", "--lambdas", f"id={value}")
    assert "expected finite loss weights of at least 0" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["align", "x.png", "--output", "o", "--size", "0"], "expected a size from 16 to 8192 px, got 0"),
        (["align", "x.png", "--output", "o", "--size", "1000000"], "expected a size from 16 to 8192 px"),
        (["facets", "--output", "o", "--seed", "-1"], "expected seed from 0 to 4294967295, got -1"),
        (["facets", "--output", "o", "--n", "-2"], "expected n of at least 1, got -2"),
        (["evaluate", "facets64/inversion", "--n", "0"], "expected n of at least 1, got 0"),
        (["evaluate", "facets64/inversion", "--n", "-3"], "expected n of at least 1, got -3"),
        (["evaluate", "facets64/inversion", "--seed", "-3"], "expected seed from 0"),
        (["evaluate", "--table1", "--n", "0"], "expected n from 1 to 1000, got 0"),
        (["evaluate", "--table1", "--n-optimise", "-1"], "expected n_optimise of at least 0, got -1"),
    ],
)
def test_counts_and_sizes_of_the_other_commands(mistake, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    _picture(tmp_path / "x.png")
    assert says in mistake(*arguments)
    assert os.listdir(tmp_path) == ["x.png"]


@pytest.mark.parametrize("factor", ["0", "-4"])
def test_a_factor_that_shrinks_nothing(mistake, photo, tmp_path, factor):
    _picture(tmp_path / "x.png")
    arguments = ("translate", "--model", photo, "--input", tmp_path / "x.png", "--output", tmp_path / "o")
    said = mistake(*arguments, "--task", "super_resolution", "--factor", factor)
    assert said == f"pspnb: expected factor of at least 1, got {factor}"
    with pytest.raises(ValueError, match="down-sampling factor of at least 1"):
        downsample(torch.zeros(1, 3, 32, 32), int(factor))


# ---- options that would be ignored --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, option",
    [
        (["train", "generator", "--data", "no/such/folder"], "--data is not an option of generator"),
        (["train", "generator", "--init", "nonsense"], "--init is not an option of generator"),
        (["train", "generator", "--lr", "5"], "--lr is not an option of generator"),
        (["train", "generator", "--variant", "w"], "--variant is not an option of generator"),
        (["train", "instrument", "parsing", "--batch", "5"], "--batch is not an option of instrument"),
        (["train", "instrument", "parsing", "--scale", "facets128"], "--scale is not an option of instrument"),
        (["train", "inversion", "--preset", "gpu"], "--preset is not an option of the task inversion"),
        (["train", "inversion", "--identity", "x.pth"], "--identity belongs to other scales"),
        (["train", "inversion", "--validation", "x"], "--validation belongs to --data FOLDER"),
        (["train", "inversion", "--strict"], "--strict belongs to --data FOLDER"),
    ],
)
def test_training_refuses_what_it_would_not_look_at(mistake, tmp_path, arguments, option):
    assert option in mistake(*arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_commands_refuse_what_they_would_not_look_at(mistake, photo, tmp_path):
    _picture(tmp_path / "x.png")
    arguments = ("translate", "--model", photo, "--input", tmp_path / "x.png", "--output", tmp_path / "o")
    assert "--seed belongs to --n-samples" in mistake(*arguments, "--seed", 1)
    assert "--seed belongs to images without --split" in mistake(
        "facets", "--output", tmp_path / "f", "--split", "test", "--seed", 3
    )
    assert "--data is not an option of --table1" in mistake("evaluate", "--table1", "--data", tmp_path)
    assert "--n-optimise belongs to --table1" in mistake("evaluate", photo, "--n-optimise", 3)
    assert not (tmp_path / "o").exists() and not (tmp_path / "f").exists()


# ---- runs of another kind, damaged files of a run -----------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs of one step: an instrument, and an encoder on eight pictures."""
    folder = tmp_path_factory.mktemp("runs")
    for i in range(8):
        _picture(folder / "photos" / f"{i}.png", 64)
    common = ("--steps", "1", "--seed", "3")
    assert cli.main(["train", "instrument", "parsing", "--out", f"{folder}/parsing", "--images", "8", *common]) == 0
    data = ("--data", f"{folder}/photos", "--batch", "2")
    assert cli.main(["train", "inversion", "--out", f"{folder}/encoder", *data, *common]) == 0
    return folder


def test_a_run_of_another_kind_is_not_continued(mistake, runs, tmp_path):
    for what, other in ((["instrument", "factors"], "encoder"), (["inversion"], "parsing"), (["generator"], "encoder")):
        out = tmp_path / what[0]
        shutil.copytree(runs / other, out)
        before = (out / "checkpoint.pt").read_bytes()
        said = mistake("train", *what, "--out", out, "--resume", "--steps", 3, "--images", 8)
        assert f"{what[0]}/checkpoint.pt: " in said and "expected" in said
        assert (out / "checkpoint.pt").read_bytes() == before


def test_damaged_files_of_a_run(mistake, pspnb_command, runs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs / "encoder", out)
    again = ("train", "inversion", "--out", out, "--data", runs / "photos", "--batch", 2, "--seed", 3, "--resume")
    recipe = (out / "recipe.json").read_text()
    (out / "recipe.json").write_text(recipe[: len(recipe) // 2])
    assert "recipe.json: damaged or cut short, expected JSON" in mistake(*again, "--steps", 2)
    (out / "recipe.json").write_text(recipe)
    (out / "log.jsonl").write_bytes(
        b'{"step": 1, "loss": 0.5}\n{"step": 1, "lo\xff\n{"step": 1, "val_loss": 0.25}\n[1]\n'
    )
    assert pspnb_command(*again, "--steps", 2)[0] == 0
    assert [r.get("val_loss", r.get("loss")) for r in read_journal(out / "log.jsonl")[:2]] == [0.5, 0.25]
    (out / "log.jsonl").write_bytes(b"\x89PNG\r\n\x1a\nnonsense\n\n")
    assert "log.jsonl: damaged, expected the log of a training run" in mistake(*again, "--steps", 3)
