"""What the reports say of networks whose errors are known, and the way of an instrument from its run to the zoo."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.measure import instrument_reports as reports
from pspnb.models.zoo import available, load_shipped
from pspnb.recipes import instruments as recipes
from pspnb.recipes.instruments import instrument_config
from pspnb.shipping import all_instruments, instruments
from pspnb.training.arrays import (
    FacetsArrays,
    concat_arrays,
    load_arrays,
    render_arrays,
    save_arrays,
    several_views,
    to_unit,
)
from pspnb.training.factor_targets import HEADS
from pspnb.training.instruments import InstrumentStepper, architecture, build_instrument
from pspnb.training.lookalikes import LOOKALIKES, LOOKS, lookalike_arrays, lookalike_identity, lookalike_test
from pspnb.world2 import CLASS_ID, IDENTITY_FACTORS, identity_of, sample_factors, sample_identity


@pytest.fixture(scope="module")
def data() -> FacetsArrays:
    return render_arrays(sample_factors("train", range(64)), identity_of("train", range(64)), 64)


class Oracle(torch.nn.Module):
    """Knows the truth of the images it is shown, in order."""

    def __init__(self, data: FacetsArrays):
        super().__init__()
        self.data, self.at = data, 0

    def rows(self, x: Tensor) -> slice:
        rows = slice(self.at % len(self.data), self.at % len(self.data) + len(x))
        self.at += len(x)
        return rows

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.data.identity[self.rows(x)], 64).float()

    def labels(self, x: Tensor) -> Tensor:
        return self.data.labels[self.rows(x)].long()

    def predict(self, x: Tensor) -> dict[str, Tensor]:
        rows = self.rows(x)
        return {name: self.data.factors[name][rows] for name in HEADS}


# ---- reports -------------------------------------------------------------------------------------------------------


def test_an_oracle_gets_full_marks(data: FacetsArrays) -> None:
    identity = reports.identity_report(Oracle(data), data)
    assert identity["accuracy"] == identity["tar"] == identity["tar_across_pose"] == 1.0
    assert identity["accuracy_hair_masked"] == 1.0
    parsing = reports.parsing_report(Oracle(data), data)
    assert parsing["mean_iou"] == parsing["pixel_accuracy"] == 1.0
    factors = reports.factors_report(Oracle(data), data)
    assert factors["pose_error_degrees"] == 0 and factors["mean_accuracy"] == 1 and factors["mean_r2"] == 1


def test_a_known_error_is_reported_in_the_factors_unit(data: FacetsArrays) -> None:
    class ThreeDegrees(Oracle):
        def predict(self, x: Tensor) -> dict[str, Tensor]:
            return {name: v + 3 if name == "yaw" else v for name, v in super().predict(x).items()}

    report = reports.factors_report(ThreeDegrees(data), data)
    assert report["error_yaw"] == pytest.approx(3, rel=1e-4) and report["error_pitch"] == 0
    assert report["pose_error_degrees"] == pytest.approx(1, rel=1e-4)


def test_a_factor_that_no_image_shows_is_left_out(data: FacetsArrays) -> None:
    bare = data.take((data.factors["glasses"] == 0).nonzero()[:, 0])
    report = reports.factors_report(Oracle(bare), bare)
    assert "accuracy_glasses" in report and "accuracy_glasses_colour" not in report


def test_without_hair_only_hair_changes(data: FacetsArrays) -> None:
    masked = reports.without_hair(data)
    hair = (data.labels == CLASS_ID["hair"]) | (data.labels == CLASS_ID["hat"])
    for i in range(8):
        kept = ~hair[i]
        assert torch.equal(masked.images[i][:, kept], data.images[i][:, kept])
        wall = data.images[i][:, data.labels[i] == 0].float().mean(1).round()
        assert torch.equal(masked.images[i][:, hair[i]].float(), wall[:, None].expand(-1, int(hair[i].sum())))


def test_lookalikes_differ_by_geometry_only() -> None:
    people = torch.arange(20, 40)
    f = lookalike_identity("train", people)
    own = sample_identity("train", people)
    for name in IDENTITY_FACTORS:
        groups = f[name].view(2, 10)
        if name in LOOKS:
            assert bool((groups == groups[:, :1]).all()), name
        else:
            assert torch.equal(f[name], own[name]) and groups.unique().numel() > 10, name
    assert {"hair_style", "hair_colour", "skin_tone", "beard"} <= set(LOOKS)
    assert {"head_width", "jaw_width", "nose_width", "eye_spacing", "mouth_width"}.isdisjoint(LOOKS)


def test_training_lookalikes_are_nobody_of_the_split() -> None:
    a = lookalike_arrays(10, 2, size=32)
    assert a.identity.tolist() == [LOOKALIKES + i // 2 for i in range(20)]
    assert a.factors["hair_colour"].unique().numel() == 1 and a.factors["yaw"].unique().numel() == 20


class Reader(torch.nn.Module):
    """Embeds an image by one of its true factors, as points on a circle."""

    def __init__(self, data: FacetsArrays, name: str):
        super().__init__()
        self.truth = {image.numpy().tobytes(): v for image, v in zip(data.images, data.factors[name], strict=True)}

    def forward(self, x: Tensor) -> Tensor:
        images = ((x + 1) * 127.5).round().to(torch.uint8)
        v = torch.stack([self.truth[image.numpy().tobytes()] for image in images]).float()
        return torch.stack([v.cos(), v.sin()], 1)


def test_hair_does_not_help_among_lookalikes_and_geometry_does() -> None:
    views = lookalike_test(groups=2, people=8, size=32)
    assert all(int(views.factors[name].max()) == 0 for name in ("glasses", "hat", "beard"))
    assert int((views.factors["yaw"][0::2] == views.factors["yaw"][1::2]).sum()) == 0
    by_head = reports.lookalikes_report(Reader(views, "head_width"), views, people=8)
    assert by_head["lookalike_rank1"] == 1.0 and by_head["lookalike_rank1_n"] == 16
    by_hair = reports.lookalikes_report(Reader(views, "hair_colour"), views, people=8)
    assert by_hair["lookalike_rank1"] == pytest.approx(1 / 8)  # all alike: the first one is always named
    assert by_hair["lookalike_rank1_low"] <= 1 / 8 <= by_hair["lookalike_rank1_high"]
    with pytest.raises(ValueError, match="groups of 50 people with two pictures each"):
        reports.lookalikes_report(Reader(views, "yaw"), views)


def test_distortions_are_what_they_say(data: FacetsArrays) -> None:
    some = data.take(slice(0, 4))
    x = to_unit(some.images)
    assert torch.equal(reports.distort(x, some, "shift", 2.0)[..., 2:], x[..., :-2])
    assert float((reports.distort(x, some, "noise", 0.2) - x).std()) == pytest.approx(0.2, rel=0.05)
    constant = torch.ones_like(x)
    assert torch.allclose(reports.distort(constant, some, "blur", 2.0), constant, atol=1e-5)
    assert float((reports.distort(x, some, "yaw", 10.0) - x).abs().mean()) > 0.01


def test_report_takes_any_images_with_known_factors(data: FacetsArrays) -> None:
    noisy = FacetsArrays(255 - data.images, data.labels, data.factors, data.identity)
    network = build_instrument("factors").eval()
    assert instruments.report("factors", network, data=noisy)["error_yaw"] > 0
    assert instruments.report("parsing", Oracle(data), data=noisy)["mean_iou"] == 1.0
    assert instruments.report("identity", Oracle(data), data=noisy)["accuracy"] == 1.0


# ---- from run to zoo -----------------------------------------------------------------------------------------------


def tiny_run(folder, data: FacetsArrays, name: str = "identity_eval"):
    """A finished run of three steps."""
    return recipes.train_instrument(name, out=folder, steps=3, device="cpu", arrays=data, progress=False).parent


def test_an_export_carries_what_shipping_needs(data: FacetsArrays, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(instruments, "report", lambda name, network: {"accuracy": 0.5})
    monkeypatch.setattr("pspnb.training.instruments.hardware", lambda device: "Some GPU")
    run = tiny_run(tmp_path / "run", data)
    export = instruments.export_instrument(run, tmp_path / "x.safetensors")
    assert export.stat().st_size < 4_000_000
    one = instruments.ship_instrument("identity_eval", run, folder=tmp_path / "a")
    two = instruments.ship_instrument("identity_eval", export, folder=tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
    cards = [json.loads(path.with_suffix(".json").read_text()) for path in (one, two)]
    assert cards[0] == cards[1] and cards[0]["hardware"] == "Some GPU" and cards[0]["steps"] == 3
    assert cards[0]["data"].endswith("24 images of 6 people")


def test_only_runs_and_exports_are_read(tmp_path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(PspnbError, match="neither the folder of a run nor an exported instrument"):
        instruments.read_run(tmp_path / "x.safetensors")
    with pytest.raises(PspnbError, match="make one with save_arrays"):
        load_arrays(tmp_path / "x.safetensors")


def test_arrays_come_back_from_their_file(data: FacetsArrays, tmp_path) -> None:
    some = concat_arrays([data.take(slice(0, 3)), data.take(slice(10, 12))])
    again = load_arrays(save_arrays(tmp_path / "a" / "arrays.safetensors", some))
    assert torch.equal(again.images, some.images) and torch.equal(again.identity, data.identity[[0, 1, 2, 10, 11]])
    assert list(tmp_path.rglob("*.*")) == [tmp_path / "a" / "arrays.safetensors"]
    for name, value in some.factors.items():
        assert torch.equal(again.factors[name], value)


def test_training_arrays_are_the_split_and_its_lookalikes(monkeypatch) -> None:
    monkeypatch.setattr(recipes, "split_arrays", lambda *a, n, **k: several_views("train", n // 4, 4, 32, seed=1))
    monkeypatch.setattr(
        recipes, "lookalike_arrays", lambda people, views, **k: lookalike_arrays(people, views, size=32)
    )
    both = recipes.training_arrays(n=8, people=2)
    assert both.identity.tolist() == [0] * 4 + [1] * 4 + [LOOKALIKES] * 4 + [LOOKALIKES + 1] * 4
    assert len(recipes.training_arrays(n=8, people=0)) == 8


@pytest.mark.slow
def test_all_instruments_train_in_processes_of_their_own(data: FacetsArrays, tmp_path) -> None:
    arrays = save_arrays(tmp_path / "arrays.safetensors", data)
    names = ("identity_eval", "factors")
    made = all_instruments.train_all_instruments(
        tmp_path, device="cpu", arrays=arrays, names=names, steps=10, seconds_each=4.0, at_once=1
    )
    assert set(made) == set(names)
    for name in names:
        weights, about = instruments.read_run(made[name])
        assert about["finished"] and 1 <= about["step"] <= 10 and about["config"]["seconds"] == 4
        assert architecture(name)["class"] and set(weights) == set(build_instrument(name).state_dict())


def test_a_failing_instrument_costs_only_itself(tmp_path) -> None:
    (tmp_path / "arrays").write_bytes(b"no arrays")
    made = all_instruments.train_all_instruments(
        tmp_path, device="cpu", arrays=tmp_path / "arrays", names=("factors",), steps=1
    )
    assert made == {} and "not a file of Facets arrays" in (tmp_path / "factors" / "stderr.txt").read_text()


# ---- what is learned -----------------------------------------------------------------------------------------------


def taught(name: str, data: FacetsArrays, *, batch: int, steps: int = 40) -> tuple[torch.nn.Module, dict[str, float]]:
    """An instrument after a short fixed training on few clean images, in eval mode, and the means of its last ten steps."""
    config = replace(instrument_config(name), batch=batch, steps=steps, degrade=0.0, bf16=False)
    t = InstrumentStepper(config, data)
    records = [{name: float(value) for name, value in t.train_step().items()} for _ in range(steps)][-10:]
    return t.network.eval(), {name: sum(r[name] for r in records) / len(records) for name in records[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["identity", "identity_eval"])
def test_recognition_learns_a_few_people_by_heart(name: str, data: FacetsArrays) -> None:
    network, _ = taught(name, data, batch=16)
    own = data.take((data.identity // 10 % 2 == (0 if name == "identity" else 1)).nonzero()[:, 0])
    report = reports.identity_report(network, own)
    assert report["accuracy"] > 0.98 and report["mean_similarity_same"] > 0.6


@pytest.mark.slow
def test_factors_learns_a_few_pictures_by_heart(data: FacetsArrays) -> None:
    some = data.take(slice(0, 32))
    report = reports.factors_report(taught("factors", some, batch=16)[0], some)
    assert report["pose_error_degrees"] < 4 and report["mean_accuracy"] > 0.9


@pytest.mark.slow
def test_parsing_learns_a_few_pictures_by_heart(data: FacetsArrays) -> None:
    some = data.take(slice(0, 8))
    report = reports.parsing_report(taught("parsing", some, batch=8, steps=60)[0], some)
    assert report["pixel_accuracy"] > 0.85 and report["iou_hair"] > 0.6


@pytest.mark.slow
def test_the_trunks_learn_their_tasks(data: FacetsArrays) -> None:
    some = data.take(slice(0, 8))
    _, record = taught("perceptual", some, batch=8)
    assert record["pixels"] < 0.8 and record["squared"] < 0.05  # 2.9 and about 0.5 for a guess
    network, record = taught("perceptual_eval", some, batch=8)
    assert record["mended"] < 0.2 and record["parts"] < 2.7
    assert reports.perceptual_report(network, some, n=8)["mean_spearman"] > 0.95


# ---- shipped -------------------------------------------------------------------------------------------------------


def shipped(name: str) -> torch.nn.Module:
    if f"world2/{name}" not in available():
        pytest.skip(f"facets64/{name} is not shipped yet")
    return load_shipped(f"world2/{name}")


def test_shipped_numbers_hold_on_a_small_sample() -> None:
    views = several_views("test", 12, 3, 64, seed=5)
    e = reports.identity_report(shipped("identity"), views)
    assert e["mean_similarity_same"] > e["mean_similarity_other"] + 0.3
    assert reports.parsing_report(shipped("parsing"), views)["pixel_accuracy"] > 0.9
    assert reports.factors_report(shipped("factors"), views)["pose_error_degrees"] < 6
