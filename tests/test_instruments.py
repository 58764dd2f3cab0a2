"""The instruments: shapes and meanings, losses against definitions, training in the right direction from scratch and as shipped."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.facets import BY_NAME, identity_of, sample_factors
from pspnb.hub import available, build, load_shipped
from pspnb.nn.instruments import FactorNet, ParsingNet, PerceptualNet, PlainEmbedder
from pspnb.training import reports
from pspnb.training.arrays import FacetsArrays, render_arrays, several_views, to_unit
from pspnb.training.export import ship
from pspnb.training.instruments import (
    CONFIGS,
    HEADS,
    INSTRUMENTS,
    RANGES,
    InstrumentTrainer,
    architecture,
    build_instrument,
    degrade,
    one_cycle,
    people_of,
)
from pspnb.training.margins import ArcFace, CurricularFace
from pspnb.training.weights import Stage, clock, run, seconds_left, stages


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data() -> FacetsArrays:
    return render_arrays(sample_factors("train", range(64)), identity_of("train", range(64)), 64)


def shipped(name: str) -> torch.nn.Module:
    if f"facets64/{name}" not in available():
        pytest.skip(f"facets64/{name} is not shipped yet")
    return load_shipped(f"facets64/{name}")


# ---- networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_instrument_fits_its_budget_and_is_rebuilt_from_its_card(name: str) -> None:
    import json

    net = build_instrument(name)
    bytes_in_half = sum(2 * t.numel() for t in net.state_dict().values())
    assert bytes_in_half < 2_000_000
    again = build(json.loads(json.dumps(architecture(name))))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_the_card_keeps_the_order_of_the_heads(tmp_path) -> None:
    """The outputs of FactorNet are numbered by it: sorted names would mix up the factors without any error."""
    import json

    net = build_instrument("factors")
    card = {"architecture": architecture("factors")}
    path = ship("tiny/factors", net.state_dict(), card, folder=tmp_path)
    written = json.loads(path.with_suffix(".json").read_text())["architecture"]["kwargs"]["heads"]
    assert list(written) == list(HEADS) != sorted(HEADS)


def test_outputs_have_the_promised_shapes_and_units() -> None:
    x = torch.rand(2, 3, 64, 64, generator=gen()) * 2 - 1
    e = PlainEmbedder().eval()(x)
    assert e.shape == (2, 128) and torch.allclose(e.norm(dim=1), torch.ones(2))
    parsing = ParsingNet().eval()
    assert parsing(x).shape == (2, 19, 64, 64) and parsing.labels(x).shape == (2, 64, 64)
    factors = FactorNet(heads=HEADS, ranges=RANGES).eval()
    raw, read = factors(x), factors.predict(x)
    assert set(raw) == set(HEADS) and raw["hair_style"].shape == (2, len(BY_NAME["hair_style"].names))
    for name, value in read.items():
        low, high = BY_NAME[name].low, BY_NAME[name].high
        assert value.shape == (2,) and bool(((value >= low) & (value <= high)).all())
    with pytest.raises(ValueError, match=r"expected images of shape \(b, 3, 64, 64\)"):
        factors(x[..., :32])
    with pytest.raises(ValueError, match=r"expected images of shape \(b, 3, 64, 64\)"):
        PlainEmbedder()(x[..., :32])


def test_units_of_the_factor_instrument() -> None:
    """The raw output -1 .. 1 is the factor's own range."""
    net = FactorNet(heads={"yaw": 1}, ranges={"yaw": (-40.0, 40.0)}).eval()
    net.head.weight.data.zero_()
    for raw, degrees in ((-1.0, -40.0), (0.0, 0.0), (0.5, 20.0), (3.0, 40.0)):
        net.head.bias.data.fill_(raw)
        assert net.predict(torch.zeros(1, 3, 64, 64))["yaw"].item() == pytest.approx(degrees)


def test_perceptual_distance_is_a_distance_of_unit_vectors() -> None:
    torch.manual_seed(0)
    net = PerceptualNet(widths=(4, 8, 8, 8, 8)).eval().requires_grad_(False)
    x, y = torch.rand(2, 2, 3, 64, 64, generator=gen()) * 2 - 1
    assert torch.equal(net(x, x), torch.zeros(2))
    assert torch.allclose(net(x, y), net(y, x), atol=1e-6) and bool((net(x, y) > 0).all())
    for m in net.features(x):
        assert float(m.square().sum(1).max()) < 1.001  # less where hardly any unit is active
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    net(x, y).sum().backward()
    assert float(x.grad.abs().sum()) > 0 and y.grad is None


# ---- margins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ArcFace, CurricularFace])
def test_no_margin_is_cosine_softmax(kind: type) -> None:
    """CurricularFace too, as long as no negative is harder than the target."""
    head = kind(4, 4, scale=10.0, margin=0.0)
    head.weight.data = torch.eye(4)
    e = torch.eye(4) + 0.1
    cosine = torch.nn.functional.normalize(e) @ torch.eye(4)
    expected = torch.nn.functional.cross_entropy(10 * cosine, torch.arange(4))
    assert float(head(e, torch.arange(4)).detach()) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("kind", [ArcFace, CurricularFace])
def test_the_margin_is_an_angle(kind: type) -> None:
    head = kind(2, 2, scale=1.0, margin=0.4)
    head.weight.data = torch.eye(2)
    theta = 0.3
    e = torch.tensor([[math.cos(theta), math.sin(theta)]])
    target, other = math.cos(theta + 0.4), math.sin(theta)
    expected = -target + math.log(math.exp(target) + math.exp(other))
    assert float(head(e, torch.tensor([0])).detach()) == pytest.approx(expected, rel=1e-4)


def test_curricular_weighs_hard_negatives_by_t() -> None:
    head = CurricularFace(2, 2, scale=1.0, margin=0.0).eval()
    head.weight.data, head.t = torch.eye(2), torch.tensor(0.5)
    e = torch.tensor([[0.6, 0.8]])
    hard = 0.8 * (0.5 + 0.8)
    expected = -0.6 + math.log(math.exp(0.6) + math.exp(hard))
    assert float(head(e, torch.tensor([0])).detach()) == pytest.approx(expected, rel=1e-4)
    head.train()(e, torch.tensor([0]))
    assert float(head.t) == pytest.approx(0.5 + 0.01 * (0.6 - 0.5), rel=1e-4)


# ---- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_few_steps_from_scratch_lower_the_loss_and_resume_exactly(name: str, data: FacetsArrays) -> None:
    config = replace(CONFIGS[name], steps=24, cycle=24, batch=16, degrade=0.0)
    t, copy = InstrumentTrainer(config, data), InstrumentTrainer(config, data)
    losses = [t.train_step()["loss"] for _ in range(8)]
    copy.load_state(deepcopy(t.state()))
    losses += [t.train_step()["loss"] for _ in range(16)]
    for _ in range(3):
        copy.train_step()
    if name in ("identity", "identity_eval"):  # the margin grows meanwhile, so ask the task instead of the loss
        e = torch.nn.functional.normalize(t.network.eval().embed_raw(to_unit(t.data.images)))
        same = t.data.identity[:, None] == t.data.identity[None, :]
        similarity = (e @ e.T).detach()
        off = ~torch.eye(len(same), dtype=torch.bool)
        assert similarity[same & off].mean() > similarity[~same].mean() + 0.1
    else:
        assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    again = InstrumentTrainer(config, data)
    for _ in range(11):
        again.train_step()
    for a, b in zip(again.network.state_dict().values(), copy.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_shipped_instrument_is_better_than_an_untrained_one_and_trains_on(name: str, data: FacetsArrays) -> None:
    net = shipped(name)
    t = InstrumentTrainer(replace(CONFIGS[name], steps=40, cycle=40, batch=16, degrade=0.0, lr=1e-4), data)
    scratch = t.train_step()["loss"]
    t.network.load_state_dict(net.state_dict())
    t.step = 0
    first = t.train_step()["loss"]
    for _ in range(30):
        last = t.train_step()["loss"]
    if name not in ("identity", "identity_eval", "perceptual"):  # these have heads that are not shipped
        assert first < 0.5 * scratch
        assert last < 1.5 * first
    assert math.isfinite(last)


def test_the_two_recognition_networks_share_no_people_and_no_seed(data: FacetsArrays) -> None:
    ours, judge = (set(people_of(name, data).identity.tolist()) for name in ("identity", "identity_eval"))
    assert ours and judge and not ours & judge
    assert CONFIGS["identity"].seed != CONFIGS["identity_eval"].seed
    assert type(build_instrument("identity")) is not type(build_instrument("identity_eval"))


def test_degradations_are_off_at_zero_and_leave_the_range_mostly_alone(data: FacetsArrays) -> None:
    x = to_unit(data.images[:16])
    assert torch.equal(degrade(x, 0.0, generator=gen()), x)
    y = degrade(x, 1.0, generator=gen())
    assert 0.01 < float((y - x).abs().mean()) < 0.3


def test_shift_moves_labels_with_their_image(data: FacetsArrays) -> None:
    t = InstrumentTrainer(replace(CONFIGS["parsing"], batch=4), data)
    marked = FacetsArrays(data.images[:4].clone(), data.labels[:4].clone(), {}, data.identity[:4])
    marked.images[:] = marked.labels[:, None] * 10
    moved = t._shift(marked, gen(3))
    assert torch.equal(moved.images[:, 0], moved.labels * 10) and not torch.equal(moved.labels, marked.labels)


def test_settings_and_names_are_checked(data: FacetsArrays) -> None:
    with pytest.raises(PspnbError, match="expected an instrument of perceptual, identity"):
        architecture("nose")
    t = InstrumentTrainer(CONFIGS["parsing"], data)
    with pytest.raises(PspnbError, match="another steps"):
        InstrumentTrainer(replace(CONFIGS["parsing"], steps=5), data).load_state(t.state())


def test_the_learning_rate_restarts_with_every_cycle(data: FacetsArrays) -> None:
    t = InstrumentTrainer(replace(CONFIGS["factors"], batch=4, steps=6, cycle=3, warm_up=0.1), data)
    rates = []
    for _ in range(6):
        t.train_step()
        rates.append(t.optimizer.param_groups[0]["lr"] / t.config.lr)
    assert rates[:3] == rates[3:] and rates[1] > rates[2] > rates[0]


def test_one_cycle() -> None:
    assert one_cycle(0.0, 0.1) == pytest.approx(0.02) and one_cycle(0.1, 0.1) == pytest.approx(1.0)
    assert one_cycle(1.0, 0.1) == pytest.approx(0.01)


# ---- reports -------------------------------------------------------------------------------------------------------


class Oracle(torch.nn.Module):
    """Knows the truth of the images it is shown, in order."""

    def __init__(self, data: FacetsArrays):
        super().__init__()
        self.data, self.at = data, 0

    def rows(self, x: Tensor) -> slice:
        rows = slice(self.at, self.at + len(x))
        self.at += len(x)
        return rows

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.data.identity[self.rows(x)], 64).float()

    def labels(self, x: Tensor) -> Tensor:
        return self.data.labels[self.rows(x)].long()

    def predict(self, x: Tensor) -> dict[str, Tensor]:
        rows = self.rows(x)
        return {name: self.data.factors[name][rows] for name in HEADS}


def test_an_oracle_gets_full_marks(data: FacetsArrays) -> None:
    identity = reports.identity_report(Oracle(data), data)
    assert identity["accuracy"] == identity["tar"] == identity["tar_across_pose"] == 1.0
    parsing = reports.parsing_report(Oracle(data), data)
    assert parsing["mean_iou"] == parsing["pixel_accuracy"] == 1.0
    factors = reports.factors_report(Oracle(data), data)
    assert factors["pose_error_degrees"] == 0 and factors["mean_accuracy"] == 1 and factors["mean_r2"] == 1


def test_distortions_are_what_they_say(data: FacetsArrays) -> None:
    some = data.take(slice(0, 4))
    x = to_unit(some.images)
    assert torch.equal(reports.distort(x, some, "shift", 2.0)[..., 2:], x[..., :-2])
    assert float((reports.distort(x, some, "noise", 0.2) - x).std()) == pytest.approx(0.2, rel=0.05)
    constant = torch.ones_like(x)
    assert torch.allclose(reports.distort(constant, some, "blur", 2.0), constant, atol=1e-5)
    assert float((reports.distort(x, some, "yaw", 10.0) - x).abs().mean()) > 0.01


def test_shipped_numbers_hold_on_a_small_sample(data: FacetsArrays) -> None:
    views = several_views("test", 12, 3, 64, seed=5)
    e = reports.identity_report(shipped("identity"), views)
    assert e["mean_similarity_same"] > e["mean_similarity_other"] + 0.3
    assert reports.parsing_report(shipped("parsing"), views)["pixel_accuracy"] > 0.9
    assert reports.factors_report(shipped("factors"), views)["pose_error_degrees"] < 6


# ---- make weights --------------------------------------------------------------------------------------------------


def test_make_weights_goes_through_all_stages_and_goes_on_after_a_stop(tmp_path) -> None:
    from pspnb.training.checkpoint import save_checkpoint

    calls: list[str] = []

    def stage(name: str, reached: int) -> Stage:
        def train(folder) -> None:
            calls.append(f"train {name}")
            save_checkpoint(folder / "checkpoint.pt", {"step": reached})

        return Stage(name, 10, 100, 1.0, train, lambda folder: calls.append(f"ship {name}"))

    lines: list[str] = []
    assert not run([stage("a", 10), stage("b", 7), stage("c", 10)], tmp_path, say=lines.append)
    assert calls == ["train a", "ship a", "train b"]
    assert "about 5 min left" in lines[0] and "go on" in lines[-1]
    assert run([stage("b", 10)], tmp_path, say=lines.append) and calls[-1] == "ship b"


def test_estimates(tmp_path) -> None:
    rows = ["inversion", *(f"inversion_{v}" for v in ("w", "naive_wplus", "no_id", "no_lpips"))]
    encoders = ["inversion_midway", *(name for row in rows for name in (f"{row}_first", row))]
    assert [s.name for s in stages("cpu")] == [*INSTRUMENTS, "generator", *encoders]
    stage = Stage("a", 100, 1600, 4.0, print, print)
    assert seconds_left(stage, tmp_path) == 400
    (tmp_path / "log.jsonl").write_text('{"step": 50, "images_per_s": 8.0}\n{"step": 50, "val_loss": 1.0}\n')
    assert seconds_left(stage, tmp_path) == 100
    assert clock(100.0) == "2 min" and clock(7500.0) == "2 h 05 min"
