"""The study of what helps a generator to imitate: rows differ in what they say, and nothing is trained twice."""

from dataclasses import replace

import pytest
from _gate import coded_instruments

from pspnb.errors import PspnbError
from pspnb.measure.imitation_study import CHANGES, SHOWN, imitation_study, main
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.imitation import ImitationConfig

CHANNELS = tuple((r, 4) for r in (4, 8, 16, 32, 64))
TINY = ImitationConfig(
    style_dim=16, n_mlp=2, hidden=16, channels=CHANNELS, d_channels=CHANNELS, n_images=16, steps=2, batch=4,
    adversarial_from=1.0, bf16=False,
)  # fmt: skip


def test_rows_differ_in_what_they_say(tmp_path) -> None:
    changes = {"all of it": {}, "Adam instead of Muon": CHANGES["Adam instead of Muon"], "w of 8": {"style_dim": 8}}
    told = {"changes": changes, "n": 16, "instruments": coded_instruments()}
    result = imitation_study(tmp_path / "runs", tmp_path / "out", config=TINY, **told)
    assert list(result["rows"]) == list(changes) and result["images"] == 8
    assert all(list(row) == list(SHOWN) for row in result["rows"].values())
    whole = [row["perceptual_whole"] for row in result["rows"].values()]
    assert all(m["lo"] < m["value"] < m["hi"] and m["n"] == 16 for m in whole)
    assert len({m["value"] for m in whole}) == 3

    runs = [tmp_path / "runs" / name.replace(" ", "_") for name in changes]
    states = [load_checkpoint(run / "checkpoint.pt") for run in runs]
    assert [s["config"]["optimizer"] for s in states] == ["muon", "adam", "muon"]
    assert [s["generator"]["style.layers.1.weight"].shape[0] for s in states] == [16, 16, 8]
    before = [(run / "checkpoint.pt").stat().st_mtime_ns for run in runs]
    again = imitation_study(tmp_path / "runs", tmp_path / "out", config=TINY, **told)
    assert repr(again) == repr(result | {"provenance": again["provenance"]})  # nan is not equal to nan
    assert [(run / "checkpoint.pt").stat().st_mtime_ns for run in runs] == before
    with pytest.raises(PspnbError, match="lr"):
        imitation_study(tmp_path / "runs", tmp_path / "out", config=replace(TINY, lr=1e-2), **told)


def test_a_training_that_was_stopped_is_not_judged(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pspnb.measure.imitation_study.load_checkpoint", lambda path: {"step": TINY.steps - 1})
    with pytest.raises(PspnbError, match="all of it: stopped before its last step"):
        imitation_study(
            tmp_path, tmp_path / "out", config=TINY, changes={"all of it": {}}, n=16, instruments=coded_instruments()
        )
    assert not (tmp_path / "out").exists()


def test_a_number_of_rows_that_is_none(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--rows", "0"])
    assert "expected --rows of 1 to 6, got 0" in capsys.readouterr().err
