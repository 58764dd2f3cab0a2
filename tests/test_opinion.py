"""The opinion study from pictures to table, with made-up raters whose opinions are known."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pspnb.errors import PspnbError
from pspnb.files.pictures import from_levels
from pspnb.measure.opinion import (
    Ratings,
    make_study,
    opinion_table,
    opinions,
    read_ratings,
    read_study,
    simulated_raters,
    write_ratings,
)
from pspnb.measure.opinion_pictures import rated_pictures
from pspnb.measure.people import People
from pspnb.show.opinion import opinion_widget, write_page

QUALITY = {"ours": 3.6, "theirs": 3.6, "blurred": 2.2}


def pictures(n=6):
    levels = torch.randint(
        0, 256, (len(QUALITY), n, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    return {name: from_levels(x) for name, x in zip(QUALITY, levels, strict=True)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mos")
    made = pictures()
    make_study(folder, made, worst=made["blurred"][:2], best=made["ours"][:2], seed=3)
    return folder


def test_what_raters_get_tells_nothing(folder):
    shown = (folder / "study.json").read_text()
    names = sorted(path.stem for path in (folder / "items").iterdir())
    assert len(names) == 18 and json.loads(shown)["items"] == names
    assert not any(method in shown for method in QUALITY)
    study = read_study(folder)
    in_order = [study.items[name] for name in names]
    assert len({item.method for item in in_order[:6]}) > 1
    for name, item in study.items.items():
        with Image.open(folder / "items" / f"{name}.png") as picture:
            stored = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        torch.testing.assert_close(from_levels(stored), pictures()[item.method][item.image])
    assert len(list((folder / "examples").glob("1-*.png"))) == len(list((folder / "examples").glob("5-*.png"))) == 2


def test_the_table_says_what_raters_think(folder):
    study = read_study(folder)
    found = opinions(study, simulated_raters(study, QUALITY, 40), rounds=300)
    means = {name: score["value"] for name, score in found["methods"].items()}
    assert means["ours"] == pytest.approx(3.6, abs=0.5) and means["blurred"] < means["ours"] - 0.8
    alike, clear = found["differences"]["ours - theirs"], found["differences"]["blurred - ours"]
    assert alike["lo"] < 0 < alike["hi"] and clear["hi"] < 0
    assert clear["mann_whitney_p"] < 1e-6
    assert found["simulated"] and found["raters"] == 40 and found["images"] == 6 and found["unvaried"] == []
    table = opinion_table(found)
    assert "nobody was asked" in table and f"| ours | {means['ours']:.2f} |" in table


def test_intervals_are_those_of_raters_and_pictures(folder):
    """Two-way layout: the variance of a mean is that of the raters over their number plus that of the pictures over theirs."""
    study = read_study(folder)
    raters = simulated_raters(study, QUALITY, 30, seed=5)
    score = opinions(study, raters, rounds=2000)["methods"]["ours"]
    own = sorted(name for name, item in study.items.items() if item.method == "ours")
    table = torch.tensor([[r.scores[name] for name in own] for r in raters]).double()
    by_rater, by_picture = (float(table.mean(dim=k).var(unbiased=False)) for k in (1, 0))
    expected = 1.96 * math.sqrt(by_rater / 30 + by_picture / 6)
    assert (score["hi"] - score["lo"]) / 2 == pytest.approx(expected, rel=0.15)
    independent = 1.96 * float(table.std()) / math.sqrt(table.numel())
    assert (score["hi"] - score["lo"]) / 2 > 1.5 * independent


def test_scores_come_back_from_their_file_and_nothing_else_does(folder, tmp_path):
    study = read_study(folder)
    mine = Ratings("A. B.", dict.fromkeys(list(study.items)[:4], 3))
    path = tmp_path / "scores.json"
    write_ratings(path, study, mine)
    assert read_ratings(path, study) == mine
    whole = json.loads(path.read_text())
    first = next(iter(mine.scores))
    for change, message in (
        ({"study": "another"}, "expected scores of the study"),
        ({"scores": {"ffff": 3}}, "got one of 'ffff'"),
        ({"scores": {first: 6}}, "expected scores from 1 to 5, got 6"),
        ({"scores": {first: True}}, "got True"),
        ({"scores": {first: 2.5}}, "got 2.5"),
        ({"scores": [3]}, "changed or cut short"),
        ({"rater": ""}, "changed or cut short"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(PspnbError, match=message):
            read_ratings(path, study)


def test_tables_that_would_mislead_are_refused(folder):
    study = read_study(folder)
    made_up = simulated_raters(study, QUALITY, 3)
    person = Ratings("A", made_up[0].scores)
    with pytest.raises(PspnbError, match="never holds both"):
        opinions(study, [*made_up, person])
    with pytest.raises(PspnbError, match="one file a rater, got several of A"):
        opinions(study, [person, person])
    ours = {name: 3 for name, item in study.items.items() if item.method == "ours"}
    with pytest.raises(PspnbError, match="at least one score of every method"):
        opinions(study, [Ratings("A", ours)])
    with pytest.raises(PspnbError, match="at least one score"):
        opinions(study, [])
    same = opinions(study, [person, Ratings("B", dict.fromkeys(study.items, 4))], rounds=10)
    assert same["unvaried"] == ["B"] and not same["simulated"]


def test_missing_scores_are_left_out(folder):
    study = read_study(folder)
    some = {name: 2 if item.method == "blurred" else 4 for name, item in study.items.items() if item.image < 3}
    found = opinions(study, [Ratings("A", some), Ratings("B", dict(list(some.items())[::2]))], rounds=0)
    assert {name: score["value"] for name, score in found["methods"].items()} == {"ours": 4, "theirs": 4, "blurred": 2}
    assert found["methods"]["ours"]["n"] < 6


def test_a_changed_key_is_refused(folder, tmp_path):
    value = json.loads((folder / "key.json").read_text())
    first = next(iter(value["items"].values()))
    first["method"] = "mine"
    (tmp_path / "key.json").write_text(json.dumps(value))
    with pytest.raises(PspnbError, match="changed since"):
        read_study(tmp_path)
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(PspnbError, match="expected the key of a study"):
        read_study(tmp_path)
    with pytest.raises(ValueError, match="two or more methods"):
        make_study(
            tmp_path, {"a": torch.zeros(2, 3, 8, 8)}, worst=torch.zeros(1, 3, 8, 8), best=torch.zeros(1, 3, 8, 8)
        )


def test_the_widget_saves_every_score_and_goes_on(folder):
    study = read_study(folder)
    widget = opinion_widget(folder, "C d")
    said, _, picture, buttons, done = widget.children
    for k in range(7):
        assert f"{k + 1} of 18" in said.value and picture.value[:4] == b"\x89PNG"
        buttons.children[k % 5].click()
    kept = read_ratings(folder / "scores_C_d.json", study)
    assert sorted(kept.scores.values()) == [1, 1, 2, 2, 3, 4, 5] and done.value == 7
    again = opinion_widget(folder, "C d")
    assert again.children[-1].value == 7
    for _ in range(12):
        again.children[3].children[2].click()
    assert len(read_ratings(folder / "scores_C_d.json", study).scores) == 18
    assert "Thank you" in again.children[0].value and again.children[3].children[0].disabled


def test_the_page_holds_its_study_and_no_key(folder):
    page = write_page(folder).read_text()
    study = read_study(folder)
    assert study.name in page and all(name in page for name in study.items)
    assert not any(method in page for method in QUALITY) and "http" not in page and "/* STUDY */" not in page


def test_the_pictures_of_the_paper_s_protocol():
    images = torch.rand(62, 3, 64, 64) * 2 - 1
    people = People(images, torch.zeros(62, 64, 64, dtype=torch.uint8), {"yaw": torch.zeros(62)})
    made, worst, best = rated_pictures(
        {"a": lambda x: x, "b": lambda x: -x, "c": torch.zeros_like, "d": lambda x: x}, people
    )
    assert {len(x) for x in made.values()} == {40} and len(made) == 6
    assert torch.equal(made["original"], images[:40]) and torch.equal(made["a"], -made["b"])
    assert len(worst) == len(best) == 20 and torch.equal(best, images[40:60])
    blocks = worst.unflatten(3, (8, 8)).unflatten(2, (8, 8))
    assert (blocks == blocks[:, :, :, :1, :, :1]).all()  # nearest neighbour: squares of eight
    with pytest.raises(PspnbError, match="expected at least 60 people"):
        rated_pictures({"a": lambda x: x}, people.first(30), total=120)
