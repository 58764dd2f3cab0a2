"""The training benchmark at tiny sizes: both forms are one step, what it counts is right, and it writes its record."""

import json
import math
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import training as bench
from _published import PublishedForm, RangerPerTensor

from pspnb.training.ranger import Ranger

TINY = ["tiny facets", "tiny paper"]


def tiny(scale: str) -> bench.Setting:
    return bench.Setting(scale=scale, batch=4)


@pytest.mark.parametrize("scale", TINY)
def test_both_forms_have_the_same_loss_and_gradients(scale):
    difference = bench.assert_same_loss(tiny(scale))
    assert difference["loss"] < 1e-5 and difference["gradient"] < 1e-4


def test_a_different_loss_is_noticed(monkeypatch):
    decode = PublishedForm.decode
    monkeypatch.setattr(PublishedForm, "decode", lambda self, codes, size: 1.01 * decode(self, codes, size))
    with pytest.raises(AssertionError, match="differ"):
        bench.assert_same_loss(tiny("tiny facets"), steps=1)


@pytest.mark.parametrize("scale", TINY)
def test_the_profile_cuts_the_step_into_its_parts(scale):
    """The gradients that the parts hand on are those of the whole step."""
    grads = {}
    for form_name in ("published", "ours, fp32"):
        for whole in (True, False):
            with closing(bench.build(tiny(scale), form_name, noise="const")) as form:
                if whole:
                    form.step()
                else:
                    shares = bench.parts(form, torch.device("cpu"), 1)
                    assert math.isclose(sum(shares.values()), 1.0, abs_tol=0.01) and len(shares) == 8
                grads[form_name, whole] = [p.grad.clone() for p in form.model.encoder.parameters()]
        for a, b in zip(grads[form_name, True], grads[form_name, False], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().max()) + 1e-8)


def test_the_published_form_does_the_work_that_ours_leaves_out():
    with closing(bench.build(tiny("tiny paper"), "published")) as published:
        published.step()
        frozen_in_ours = [*published.model.decoder.convs.parameters(), *published.identity.net.parameters()]
        assert all(p.grad is not None for p in frozen_in_ours)
        assert len(published.log) == 3 * 4 + 5 and all(isinstance(value, float) for value in published.log.values())
        assert bench.flops(published) > 0
    with closing(bench.build(tiny("tiny paper"), "ours")) as ours:
        ours.step()
        frozen = [*ours.model.decoder.parameters(), *ours.identity.net.parameters()]
        assert all(p.grad is None and not p.requires_grad for p in frozen)


def test_grouped_convolutions_are_counted_as_what_they_cost():
    def count(groups: int) -> int:
        x = torch.randn(1, 4 * groups, 8, 8, requires_grad=True)
        for conv in (nn.Conv2d, nn.ConvTranspose2d):
            layer = conv(4 * groups, 6 * groups, 3, padding=1, groups=groups, bias=False)
            layer(x).sum().backward()
        return 0

    class Step:
        def __init__(self, groups: int) -> None:
            self.step = lambda: count(groups)

    forward = 2 * 4 * 6 * 9 * 64  # of either layer: nothing is strided, so input and output have the same positions
    assert bench.flops(Step(1)) == 2 * 3 * forward
    assert bench.flops(Step(5)) == 5 * 2 * 3 * forward


def test_the_optimiser_by_the_tensor_is_ranger():
    torch.manual_seed(0)
    start = [torch.randn(4, 3, 2, 2), torch.randn(5), torch.randn(3, 4)]
    ours, theirs = ([nn.Parameter(t.clone()) for t in start] for _ in range(2))
    pair = Ranger(ours, lr=1e-2), RangerPerTensor(theirs, lr=1e-2)
    for _ in range(13):  # over both kinds of step and two pulls of the slow weights
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimiser in pair:
            optimiser.step()
    for a, b, t in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(a, b)
        assert float((a - t).detach().abs().max()) > 1e-3


def test_ratios_are_of_neighbouring_turns():
    slow = [{"cpu": 2.0}, {"cpu": 4.0}, {"cpu": 9.0}]
    fast = [{"cpu": 1.0}, {"cpu": 1.0}, {"cpu": 3.0}]
    assert bench.ratio(slow, fast, "cpu") == {"median": 3.0, "lowest": 2.0, "highest": 4.0}


@pytest.mark.slow
def test_the_command_measures_in_turns_and_writes_its_record(tmp_path, capsys):
    path = tmp_path / "training.json"
    bench.main(["--device", "cpu", "--scale", "tiny facets", "--rounds", "2", "--steps", "1", "--out", str(path)])
    record = json.loads(path.read_text())
    assert {"commit", "machine", "date", "seed", "torch"} <= record.keys()
    (result,) = record["settings"]
    assert result["failed"] == {} and result["clock"] == "cpu" and result["difference_in_fp32"]["loss"] < 1e-4
    assert result["speed_up"].keys() == {"ours, fp32", "ours"}
    for row in result["forms"].values():
        assert row["images_per_s"] > 0 and row["gflop_per_s"] > 0 and row["peak_gb"] > row["peak_gb_of_the_step"] >= 0
        assert len(row["parts"]) == 8
    # the whole point of the form: less arithmetic for the same loss
    forms = result["forms"]
    assert forms["published"]["gflop_per_image"] > forms["ours, fp32"]["gflop_per_image"]
    assert "x published" in capsys.readouterr().out


def test_a_form_that_fails_is_reported_and_the_others_go_on(monkeypatch):
    class Broken(bench.Worker):
        def __init__(self, setting, name):
            self.name = name

        def ask(self, *job):
            if self.name == "check":
                return {"loss": 0.0, "gradient": 0.0}
            if self.name == "ours":
                raise torch.cuda.OutOfMemoryError("CUDA out of memory: 3 GB\nmore")
            answers = {"turn": {"wall": 1.0, "cpu": 0.5}, "memory": {"peak_gb": 1.0, "peak_gb_of_the_step": 0.5}}
            return answers.get(job[0], {"optimiser": 1.0} if job[0] == "parts" else 8 * 10**9)

        def close(self):
            pass

    monkeypatch.setattr(bench, "Worker", Broken)
    result = bench.measure(bench.Setting(scale="any", batch=4), ("published", "ours"), rounds=2, steps=1)
    assert result["forms"].keys() == {"published"} and "out of memory" in result["failed"]["ours"]
    assert result["forms"]["published"]["images_per_s"] == 8.0 and result["forms"]["published"]["gflop_per_s"] == 16.0
    assert "ours failed" in bench.report(result)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("scale", TINY)
def test_on_a_gpu(scale):
    setting = bench.Setting(scale=scale, batch=3, device="cuda")
    result = bench.measure(setting, ("published", "ours, fp32", "ours"), rounds=2, steps=2)
    assert result["failed"] == {} and result["clock"] == "device"
    assert all(row["device_s"] > 0 and row["peak_gb"] > 0 for row in result["forms"].values())


def test_what_is_measured_where():
    cpu = bench.settings("cpu", 1)
    assert {s.batch for s, _ in cpu} == {bench.TRAINING["facets64", "cpu"].batch, 16}
    assert all(s.clock == "cpu" and s.scale == "facets64" for s, _ in cpu)
    assert ["compiled" in forms for s, forms in sorted(cpu, key=lambda pair: pair[0].batch)] == [False, True]
    gpu = bench.settings("cuda", 1)
    assert {(s.scale, s.batch) for s, _ in gpu} >= {("facets64", 16), ("ffhq1024", 8), ("ffhq1024", 32)}
    assert all(s.clock == "device" and forms[0] == "published" and "compiled" in forms for s, forms in gpu)
    assert bench.Setting(scale="facets64", batch=16, threads=2).clock == "wall"
