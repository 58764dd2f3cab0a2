"""`pspnb facets --overwrite` replaces what it wrote itself and nothing else."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pspnb.cli import main
from pspnb.errors import PspnbError
from pspnb.facets import export


@pytest.fixture
def again(tmp_path):
    """A new export of one image of 16 px over an existing folder."""

    def again(folder, **options):
        return export(folder, **{"n": 1, "size": 16, "overwrite": True, "progress": False, **options})

    return again


def _tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_an_earlier_export_is_replaced(again, tmp_path):
    out = again(tmp_path / "set", n=3)
    assert again(out, size=32) == out and os.listdir(tmp_path) == ["set"]
    assert _tree(out) == ["about.json", "factors.csv", "images", "images/000000.png", "labels", "labels/000000.png"]
    assert Image.open(out / "images" / "000000.png").size == (32, 32)


@pytest.mark.parametrize("name", ["thesis.tex", "images/mine.png", "images/more/000000.png", "labels/000000.jpg"])
def test_a_folder_with_anything_else_in_it_is_left_alone(again, tmp_path, name):
    out = again(tmp_path / "set")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("years of work")
    before = _tree(tmp_path)
    with pytest.raises(PspnbError, match=r"--overwrite replaces only a folder that `pspnb facets` wrote"):
        again(out)
    assert _tree(tmp_path) == before and (out / name).read_text() == "years of work"


@pytest.mark.parametrize("about", [None, "", "{}", "[]", '{"renderer": 1}', "{", "\u00e9"])
def test_a_folder_that_is_no_export_is_left_alone(again, tmp_path, about):
    out = tmp_path / "photos"
    (out / "images").mkdir(parents=True)
    (out / "images" / "000000.png").write_bytes(b"mine")
    if about is not None:
        (out / "about.json").write_text(about, encoding="latin1")
    with pytest.raises(PspnbError, match=r"photos: --overwrite replaces only .* no about.json"):
        again(out)
    assert (out / "images" / "000000.png").read_bytes() == b"mine"


def test_without_the_flag_the_refusal_names_it(again, tmp_path):
    out = again(tmp_path / "set")
    with pytest.raises(PspnbError, match=r"exists; expected a new or empty folder, or --overwrite"):
        again(out, overwrite=False)


def test_files_the_current_folder_and_its_parents_are_refused(again, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PspnbError, match="this is a file"):
        again(tmp_path / "file")
    here = again(tmp_path / "here")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    for folder in (".", "..", here, "../..", "../below", tmp_path / "here" / "below"):
        with pytest.raises(PspnbError, match="this is the current folder or a parent of it"):
            again(folder)
    with pytest.raises(PspnbError, match="empty path"):
        again("")
    assert (tmp_path / "file").read_text() == "mine" and (here / "about.json").exists()


def test_a_link_to_a_folder_is_followed(again, tmp_path):
    out = again(tmp_path / "set")
    (tmp_path / "link").symlink_to(out)
    again(tmp_path / "link", n=2)
    assert (tmp_path / "link").is_symlink() and len(os.listdir(out / "images")) == 2
    (tmp_path / "photos").mkdir()
    (out / "images" / "000001.png").unlink()
    (out / "images" / "000001.png").symlink_to(tmp_path / "photos")
    with pytest.raises(PspnbError, match="holds images/000001.png"):
        again(out)


@pytest.mark.parametrize("wrong", [["--size", "0"], ["--size", "8"], ["--size", "-64"], ["--n", "0"], ["--n", "-3"]])
def test_sizes_and_counts_out_of_range(tmp_path, capsys, wrong):
    assert main(["facets", "--output", str(tmp_path / "set"), *wrong]) == 2
    assert "expected" in capsys.readouterr().err and os.listdir(tmp_path) == []
