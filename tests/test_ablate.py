"""Table 1: its numbers against second derivations, what it writes, what it leaves out, and the claims it decides."""

import json
import logging
from inspect import signature

import numpy as np
import pytest
import torch
from _tiny import TinyFace, tiny_arrays, tiny_psp

from pspnb.errors import LoadError, PspnbError
from pspnb.inversion.optimise import invert
from pspnb.measure import ablate, evaluate_encoder
from pspnb.measure.ablate import HYBRID, OPTIMISATION, PSP_ROW, table1, table_of
from pspnb.measure.ablate_runs import ablation_rows
from pspnb.measure.ablate_table import NAIVE_ROW, NO_ID, PAPER, ROWS, W_ROW, claims, markdown
from pspnb.measure.evaluate_encoder import evaluate, evaluate_model
from pspnb.measure.reconstruction import as_unit, compare, interval, measure, paired, quotient, seconds_in_turns
from pspnb.show.table1 import worst, write_pictures, write_worst
from pspnb.tasks import TASKS

QUALITY = {"similarity", "lpips", "mse", "psnr", "ssim"}
JUDGE = TinyFace().eval().requires_grad_(False)


def distance(a, b):
    return (a - b).abs().mean(dim=(1, 2, 3))


def pictures(n: int = 6, seed: int = 0):
    return as_unit(tiny_arrays(n, seed=seed).images)


def two_models():
    models = {PSP_ROW: tiny_psp(0).eval(), W_ROW: tiny_psp(1).eval()}
    with torch.no_grad():
        for head in models[PSP_ROW].encoder.styles:
            head.linear.weight.mul_(20)  # far from the mean latent, so that a start from there is told from one here
    return models


def small_table(steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "all_threads", lambda: 1)  # several threads on a busy machine take seconds for an image
        return table_of(
            two_models(), pictures(), judge=JUDGE, distance=distance, n_optimise=2, turns=2, turns_optimise=1,
            steps=dict.fromkeys((OPTIMISATION, HYBRID), steps),
        )  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return small_table(1)


# ---- the columns -----------------------------------------------------------------------------------------------------


def test_columns_are_what_their_names_say():
    target = pictures(4)
    output = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(1)) * 0.5
    got = compare(output, target, judge=JUDGE, distance=distance)
    x, y = output.numpy().clip(-1, 1).astype(np.float64), target.numpy().astype(np.float64)
    mse = ((x - y) ** 2).reshape(4, -1).mean(1)
    np.testing.assert_allclose(got["mse"], mse, rtol=1e-5)
    np.testing.assert_allclose(got["psnr"], 10 * np.log10(4 / mse), rtol=1e-5)
    np.testing.assert_allclose(got["lpips"], np.abs(x - y).reshape(4, -1).mean(1), rtol=1e-5)
    a, b = (JUDGE(torch.from_numpy(v).float()).numpy() for v in (x, y))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(got["similarity"], cosine, rtol=1e-4)
    assert (mse < ((output.numpy() - y) ** 2).reshape(4, -1).mean(1)).all()  # clamping did something


def test_a_perfect_reconstruction_has_perfect_columns():
    got = compare(pictures(2), pictures(2), judge=JUDGE, distance=distance)
    torch.testing.assert_close(got["similarity"], torch.ones(2))
    torch.testing.assert_close(got["ssim"], torch.ones(2))
    assert got["mse"].max() == 0 and got["lpips"].max() == 0 and got["psnr"].isinf().all()


def test_a_larger_output_is_pooled_and_a_judge_may_be_missing():
    target = pictures(2)
    large = target.repeat_interleave(2, 2).repeat_interleave(2, 3)
    got = compare(large, target, judge=None, distance=None)
    assert set(got) == {"mse", "psnr", "ssim"} and got["mse"].max() < 1e-12


def test_measure_does_not_depend_on_batches_and_reads_both_kinds_of_pictures():
    psp, levels = tiny_psp().eval(), tiny_arrays(5).images
    whole = measure(psp, as_unit(levels), judge=JUDGE, distance=distance)
    parts = measure(psp, levels, judge=JUDGE, distance=distance, batch=2)
    assert set(whole) == QUALITY
    for name in QUALITY:
        assert whole[name].shape == (5,)
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(measure(lambda x: x, levels, judge=JUDGE, distance=distance)["mse"], torch.zeros(5))


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_paired_intervals_are_those_of_the_differences():
    draw = torch.Generator().manual_seed(0)
    hard = torch.rand(200, generator=draw)
    a, b = {"mse": hard + 0.01 + 0.01 * torch.rand(200, generator=draw)}, {"mse": hard[:150]}
    got = paired(a, b)["mse"]
    difference = (a["mse"][:150] - b["mse"]).double()
    assert got["n"] == 150 and got["value"] == pytest.approx(float(difference.mean()))
    standard_error = float(difference.std()) / 150**0.5
    assert got["hi"] - got["lo"] == pytest.approx(2 * 1.96 * standard_error, rel=0.15)
    one = interval(a["mse"])
    assert got["lo"] > 0 and got["hi"] - got["lo"] < 0.1 * (one["hi"] - one["lo"])


def test_quotient_agrees_with_the_propagation_of_errors():
    draw = torch.Generator().manual_seed(0)
    a, b = 1 + 0.2 * torch.randn(400, generator=draw), 2 + 0.2 * torch.randn(300, generator=draw)
    got = quotient(a, b)
    ratio = float(a.double().mean() / b.double().mean())
    relative = ((a.std() / a.mean()) ** 2 / 400 + (b.std() / b.mean()) ** 2 / 300) ** 0.5
    assert got["value"] == pytest.approx(ratio)
    assert got["hi"] - got["lo"] == pytest.approx(2 * 1.96 * ratio * float(relative), rel=0.15)


def test_rows_take_turns_at_the_clock():
    seen = []
    rows = {name: (lambda x, name=name: seen.append((name, tuple(x.shape)))) for name in ("a", "b")}
    before = torch.get_num_threads()
    got = seconds_in_turns(rows, pictures(2), turns={"a": 3, "b": 1}, threads=1)
    assert [name for name, _ in seen] == ["a", "b", "a", "a"] and {shape[0] for _, shape in seen} == {1}
    assert got["a"].shape == (3,) and got["b"].shape == (1,) and (got["a"] > 0).all()
    assert torch.get_num_threads() == before
    seen.clear()
    seconds_in_turns(rows, pictures(2), turns={"a": 6, "b": 1}, threads=1)
    assert len(seen) == 8  # the first image of a row of many turns is drawn once more, for warming up


# ---- the table -------------------------------------------------------------------------------------------------------


def test_rows_have_the_shape_of_the_file(table):
    result, measured = table
    assert list(result["rows"]) == [PSP_ROW, W_ROW, OPTIMISATION, HYBRID]
    for name, row in result["rows"].items():
        assert set(row) == QUALITY | {"seconds", "seconds_all_threads"}
        for cell in row.values():
            assert {"value", "lo", "hi"} <= set(cell) and cell["lo"] <= cell["value"] <= cell["hi"]
        assert row["mse"]["n"] == (2 if name in (OPTIMISATION, HYBRID) else 6)
    assert row["seconds"]["n"] == 1 and result["rows"][PSP_ROW]["seconds"]["n"] == 2
    assert set(result["paired"]) == {PSP_ROW, W_ROW, OPTIMISATION} and PSP_ROW not in result["paired"][PSP_ROW]
    assert set(result["paired"][PSP_ROW][W_ROW]) == QUALITY and result["paired"][PSP_ROW][HYBRID]["mse"]["n"] == 2
    assert result["n"] == 6 and result["paper"]["rows"] == PAPER["rows"]
    assert measured.codes[HYBRID].shape == (2, 10, 8) and measured.outputs[PSP_ROW].shape == (6, 3, 64, 64)


def test_numbers_repeat_except_for_the_clock(table):
    def numbers(result):
        rows = {name: {m: row[m] for m in QUALITY} for name, row in result["rows"].items()}
        return rows, result["paired"]

    assert numbers(small_table(1)[0]) == numbers(table[0])


def test_hybrid_starts_at_the_encoder_and_optimisation_at_the_mean(table):
    measured = table[1]
    psp = two_models()[PSP_ROW]
    with torch.no_grad():
        encoded, mean = psp.encode(pictures()[:2]), psp.decoder.mean_latent()
    rate = signature(invert).parameters["lr"].default + 1e-4  # Adam's first step changes no number by more
    assert (measured.codes[HYBRID] - encoded).abs().max() < rate
    assert (measured.codes[OPTIMISATION] - mean).abs().max() < rate
    assert (measured.codes[HYBRID] - mean).abs().max() > 3 * rate


@pytest.fixture
def small_world(monkeypatch):
    monkeypatch.setattr(ablate, "facets_views", lambda n, seed=0: (pictures(n), pictures(n, seed=1)))
    monkeypatch.setattr(ablate, "facets_instruments", lambda device="cpu": (JUDGE, distance))
    monkeypatch.setattr(ablate, "all_threads", lambda: 1)


def test_files_hold_what_was_returned(small_world, tmp_path):
    result = table1(out=tmp_path, n=4, n_optimise=0, models=two_models(), turns=1, progress=False, draw=write_pictures)
    assert json.loads((tmp_path / "table1.json").read_text()) == result
    assert {p.name for p in tmp_path.iterdir()} == {
        "table1.json", "table1.md", "table1.png", "per_image.npz", "figure5.png", "figure6.png", "worst.png",
    }  # fmt: skip
    assert set(result) == {"rows", "n", "paired", "paper", "reference", "provenance"}
    assert {"commit", "seed", "device", "seconds", "left_out", "weights"} <= set(result["provenance"])
    with np.load(tmp_path / "per_image.npz") as arrays:
        mean = float(arrays[f"{W_ROW} mse"].mean())
    assert mean == pytest.approx(result["rows"][W_ROW]["mse"]["value"], rel=1e-5)


def test_reference_is_between_pictures_of_one_person(small_world, tmp_path):
    result = table1(out=tmp_path, n=4, n_optimise=0, models=two_models(), turns=1, progress=False, draw=write_pictures)
    a, b = JUDGE(pictures(4)).numpy(), JUDGE(pictures(4, seed=1)).numpy()
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    cosines = a @ b.T
    context = result["reference"]
    assert context["same_identity"]["value"] == pytest.approx(cosines.diagonal().mean(), rel=1e-4)
    others = np.mean([cosines[i, (i - 1) % 4] for i in range(4)])
    assert context["different_identity"]["value"] == pytest.approx(others, rel=1e-4)
    share = result["rows"][PSP_ROW]["similarity"]["value"] / context["same_identity"]["value"]
    assert context["share_of_same_identity"][PSP_ROW]["value"] == pytest.approx(share, rel=1e-4)


def test_rows_that_are_not_shipped_are_left_out_and_said(small_world, monkeypatch, tmp_path, caplog):
    def load(name, device):
        if name == PSP_ROW:
            return tiny_psp().eval()
        raise LoadError(f"{name} was trained on another generator")

    monkeypatch.setattr("pspnb.models.zoo.load_shipped", load)
    monkeypatch.setattr("pspnb.models.zoo.available", lambda: [PSP_ROW, W_ROW])
    monkeypatch.setattr("pspnb.models.zoo.card", lambda name: {"sha256": "0"})
    with caplog.at_level(logging.WARNING):
        result = table1(out=tmp_path, n=3, n_optimise=0, turns=1, progress=False, draw=write_pictures)
    lines = result["provenance"]["left_out"]
    assert list(result["rows"]) == [PSP_ROW] and len(lines) == 4 == len(caplog.records)
    assert f"{NAIVE_ROW}: not shipped yet" in lines and any("another generator" in line for line in lines)
    assert all(line in (tmp_path / "table1.md").read_text() for line in lines)
    monkeypatch.setattr("pspnb.models.zoo.available", lambda: [])
    with pytest.raises(PspnbError, match="at least one shipped encoder"):
        table1(out=tmp_path, n=3, models=[NO_ID], progress=False)


def test_a_table_that_cannot_be_written_leaves_the_old_one(small_world, monkeypatch, tmp_path):
    (tmp_path / "table1.json").write_text("old")
    (tmp_path / "table1.md").mkdir()
    with pytest.raises(PspnbError, match="cannot write"):
        table1(out=tmp_path, n=3, n_optimise=0, models=two_models(), turns=1, progress=False)
    assert (tmp_path / "table1.json").read_text() == "old" and not list(tmp_path.glob(".tmp*"))


# ---- claims and Markdown ---------------------------------------------------------------------------------------------


def cell(value, width=0.01, n=10):
    return {"value": value, "lo": value - width, "hi": value + width, "n": n}


def table_by_hand():
    """pSp beats W everywhere, loses to naive W+ on MSE and is not separable from it on similarity."""
    rows = {name: {m: cell(0.5) for m in (*QUALITY, "seconds")} for name in (W_ROW, NAIVE_ROW, PSP_ROW, OPTIMISATION)}
    rows[PSP_ROW]["seconds"], rows[OPTIMISATION]["seconds"] = cell(0.01, 0.001), cell(5.0, 0.1)
    to_w = {"similarity": cell(-0.1), "lpips": cell(0.1), "mse": cell(0.1)}
    to_naive = {"similarity": cell(0.001), "lpips": cell(0.1), "mse": cell(-0.1)}
    return {
        "rows": rows, "n": 10, "paper": dict(PAPER),
        "paired": {PSP_ROW: {W_ROW: to_w, NAIVE_ROW: to_naive}},
    }  # fmt: skip


def test_claims_are_decided_by_intervals():
    got = {(c.row, c.base, c.metric): c for c in claims(table_by_hand())}
    verdicts = {key: c.verdict for key, c in got.items()}
    assert [verdicts[PSP_ROW, W_ROW, m] for m in ("similarity", "lpips", "mse")] == ["holds"] * 3
    assert [verdicts[PSP_ROW, NAIVE_ROW, m] for m in ("similarity", "lpips", "mse")] == ["open", "holds", "reversed"]
    assert verdicts[PSP_ROW, NO_ID, "similarity"] == "not measured" == verdicts[NAIVE_ROW, W_ROW, "mse"]
    difference = got[PSP_ROW, W_ROW, "similarity"].difference  # stored as W - pSp
    assert difference["value"] == pytest.approx(0.1) and difference["lo"] == pytest.approx(0.09)
    speed = got[PSP_ROW, OPTIMISATION, "seconds"]
    assert speed.verdict == "holds" and speed.difference["value"] == pytest.approx(500)


def test_speed_is_orders_of_magnitude_or_open():
    result = table_by_hand()
    for seconds, verdict in ((0.5, "open"), (0.001, "reversed")):
        result["rows"][OPTIMISATION]["seconds"] = cell(seconds, 0.0001)
        assert claims(result)[-1].verdict == verdict


def test_markdown_names_the_other_domain():
    text = markdown(table_by_hand())
    assert "Another domain: CelebA-HQ" in text and "*0.58*" in text and "*0.063*" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = lines[: next(i for i, line in enumerate(lines) if i > 1 and line.startswith("| ---"))]
    assert len({line.count("|") for line in table[:-1]}) == 1  # every row has every column
    row = next(line for line in lines if line.startswith(f"| {ROWS[PSP_ROW]} |"))
    assert "0.500 [0.490, 0.510]" in row and "+" not in row
    assert "-0.100 [-0.110, -0.090]" in text and "+0.1000 [+0.0900, +0.1100]" in text


def test_worst_are_worst():
    columns = {"mse": torch.tensor([1.0, 3.0, 2.0]), "similarity": torch.tensor([0.5, 0.9, 0.1])}
    assert worst(columns, "mse", n=2).tolist() == [1, 2] and worst(columns, "similarity", n=2).tolist() == [2, 0]


# ---- one model -------------------------------------------------------------------------------------------------------


def test_a_model_is_evaluated_as_in_the_table():
    psp, levels = tiny_psp().eval(), tiny_arrays(5).images
    found = evaluate_model(psp, levels, judge=JUDGE, distance=distance, batch=2)
    plain = measure(psp, levels, judge=JUDGE, distance=distance)
    assert set(found.metrics) == QUALITY and found.metrics["mse"]["n"] == 5
    for name in QUALITY:
        torch.testing.assert_close(found.columns[name], plain[name], rtol=1e-4, atol=1e-5)
    assert torch.equal(found.targets, levels) and found.outputs.shape == levels.shape
    blurred = evaluate_model(psp, levels, judge=JUDGE, distance=distance, task=TASKS["super_resolution"])
    assert torch.equal(blurred.targets, levels) and not torch.equal(blurred.outputs, found.outputs)


def test_evaluation_writes_numbers_and_pictures(monkeypatch, tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    for i, picture in enumerate(tiny_arrays(4).images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "in" / f"{i}.png")
    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluate_encoder, "load_translator", lambda *_, **__: tiny_psp().eval())
    monkeypatch.setattr(evaluate_encoder, "facets_instruments", lambda device="cpu": (JUDGE, distance))
    result = evaluate("anything", data=tmp_path / "in", out=tmp_path / "out", n=3, progress=False, draw=write_worst)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    assert result["n"] == 3 and set(result["metrics"]) == QUALITY and (tmp_path / "out" / "worst.png").exists()
    expected = measure(tiny_psp().eval(), tiny_arrays(4).images[:3], judge=JUDGE, distance=distance)
    assert result["metrics"]["mse"]["value"] == pytest.approx(float(expected["mse"].mean()), rel=1e-4)
    with pytest.raises(PspnbError, match="expected n from 1 to 4"):
        evaluate("anything", data=tmp_path / "in", out=tmp_path / "out", n=5, progress=False)


def test_what_cannot_be_evaluated_is_said(tmp_path):
    with pytest.raises(PspnbError, match="expected the folder of a run"):
        evaluate(tmp_path, out=tmp_path / "out")
    torch.save({"identity": {"task": "inversion"}}, tmp_path / "best.pt")
    with pytest.raises(PspnbError, match=r"best\.pt: expected a checkpoint of a training run"):
        evaluate(tmp_path, out=tmp_path / "out")
    with pytest.raises(PspnbError, match="expected --sources"):
        psp = tiny_psp(in_channels=19)
        evaluate_encoder._pictures(psp, TASKS["segmentation"], tmp_path, None, progress=False)


# ---- runs ------------------------------------------------------------------------------------------------------------


def write_log(folder, values, every=100):
    folder.mkdir(parents=True)
    lines = [{"step": 50, "images": 350, "loss": 1.0}]
    lines += [{"step": every * (i + 1), "val_loss": v, "val_loss_l2": v / 10} for i, v in enumerate(values)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "los')


def test_runs_are_compared_at_equal_steps(tmp_path):
    write_log(tmp_path / "psp", [8.0, 4.0, 2.0, 1.0])
    write_log(tmp_path / "largest_map-1", [9.0, 3.0, 5.0])
    write_log(tmp_path / "other", [1.0])
    (tmp_path / "from_zero").mkdir()
    result = ablation_rows(tmp_path)
    assert set(result["rows"]) == {"psp", "largest_map-1"} and result["steps"] == 300
    assert result["left_out"] == ["from_zero: no validation yet", "other: no variant of this name"]
    psp, largest = result["rows"]["psp"], result["rows"]["largest_map-1"]
    assert psp["at_equal_steps"] == {"val_loss": 2.0, "val_loss_l2": 0.2}
    assert largest["at_equal_steps"]["val_loss"] == 3.0 and largest["variant"] == "largest_map"
    assert psp["last_quarter_gain"] == pytest.approx(0.5) and largest["last_quarter_gain"] == 0.0
    assert psp["curve"]["images"] == [700, 1400, 2100, 2800]  # 7 a step


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(PspnbError, match="expected runs in folders named psp"):
        ablation_rows(tmp_path)


def test_runs_are_written_from_the_command_line(tmp_path):
    from pspnb.measure.ablate_runs import main

    write_log(tmp_path / "runs" / "psp", [4.0, 2.0, 1.0, 1.0])
    main([str(tmp_path / "runs"), str(tmp_path / "out"), "--n", "0"])
    content = json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert content["rows"]["psp"]["at_equal_steps"]["val_loss"] == 1.0 and "metrics" not in content["rows"]["psp"]
    assert content["provenance"]["n"] == 0
    content["rows"]["psp"]["commit"] = "earlier"
    (tmp_path / "out" / "ablations.json").write_text(json.dumps(content))
    write_log(tmp_path / "more" / "w", [4.0, 3.0, 2.0])
    main([str(tmp_path / "more"), str(tmp_path / "out"), "--n", "0"])
    content = json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert set(content["rows"]) == {"psp", "w"} and content["steps"] == 300
    assert content["rows"]["psp"]["at_equal_steps"]["val_loss"] == 1.0  # its last validation up to step 300
    assert (
        content["rows"]["psp"]["commit"] == "earlier"
        and content["rows"]["w"]["commit"] == content["provenance"]["commit"]
    )
