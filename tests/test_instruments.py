"""The instruments: shapes and meanings, losses against definitions, and training that ends where it must."""

import json
import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.measure.metrics import class_iou, confusion
from pspnb.models.zoo import available, build, load_shipped
from pspnb.nn.instruments import FactorNet, ParsingNet, PerceptualJudge, PerceptualNet, PlainEmbedder
from pspnb.recipes.instruments import CONFIGS, instrument_config
from pspnb.shipping.applications import planned
from pspnb.shipping.weights import Stage, clock, listing, run, seconds_left, stages
from pspnb.shipping.zoo_file import ship
from pspnb.tasks import TASKS
from pspnb.training import instrument_losses
from pspnb.training.arrays import FacetsArrays, render_arrays, to_unit
from pspnb.training.factor_targets import (
    AMBIGUOUS,
    HEADS,
    RANGES,
    SHOWN_BY,
    FactorLoss,
    FactorTargets,
    shown,
)
from pspnb.training.instruments import (
    INSTRUMENTS,
    InstrumentStepper,
    architecture,
    build_instrument,
    degrade,
    may_train_on,
    shift,
)
from pspnb.training.journal import read_journal
from pspnb.training.loop import Every, fit
from pspnb.training.margins import ArcFace, CurricularFace
from pspnb.training.schedules import one_cycle
from pspnb.world2 import BY_NAME, Factors, edit, identity_of, render, sample_factors


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data() -> FacetsArrays:
    return render_arrays(sample_factors("train", range(64)), identity_of("train", range(64)), 64)


def shipped(name: str) -> torch.nn.Module:
    if f"world2/{name}" not in available():
        pytest.skip(f"facets64/{name} is not shipped yet")
    return load_shipped(f"world2/{name}")


def small(name: str, **changes):
    """The CPU configuration in float32, for few images."""
    return replace(instrument_config(name), **{"batch": 16, "degrade": 0.0, "bf16": False, **changes})


# ---- networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_instrument_fits_its_budget_and_is_rebuilt_from_its_card(name: str) -> None:
    net = build_instrument(name)
    bytes_in_half = sum(2 * t.numel() for t in net.state_dict().values())
    assert bytes_in_half < 3_900_000
    again = build(json.loads(json.dumps(architecture(name))))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_the_card_keeps_the_order_of_the_heads(tmp_path) -> None:
    """The outputs of FactorNet are numbered by it: sorted names would mix up the factors without any error."""
    net = build_instrument("factors")
    card = {"architecture": architecture("factors")}
    path = ship("tiny/factors", net.state_dict(), card, folder=tmp_path)
    written = json.loads(path.with_suffix(".json").read_text())["architecture"]["kwargs"]["heads"]
    assert list(written) == list(HEADS) != sorted(HEADS)


def test_outputs_have_the_promised_shapes_and_units() -> None:
    x = torch.rand(2, 3, 64, 64, generator=gen()) * 2 - 1
    e = PlainEmbedder(depth=3).eval()(x)
    assert e.shape == (2, 128) and torch.allclose(e.norm(dim=1), torch.ones(2))
    parsing = ParsingNet(refine=1).eval()
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


@pytest.mark.parametrize("net", [PerceptualNet(widths=(4, 8, 8, 8, 8)), PerceptualJudge(widths=(4, 8, 8, 8))])
def test_perceptual_distance_is_a_distance_of_unit_vectors(net) -> None:
    net = net.eval().requires_grad_(False)
    x, y = torch.rand(2, 2, 3, 64, 64, generator=gen()) * 2 - 1
    assert torch.equal(net(x, x), torch.zeros(2))
    assert torch.allclose(net(x, y), net(y, x), atol=1e-6) and bool((net(x, y) > 0).all())
    for m in net.features(x):
        assert float(m.square().sum(1).max()) < 1.001  # less where hardly any unit is active
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    net(x, y).sum().backward()
    assert float(x.grad.abs().sum()) > 0 and y.grad is None


def test_the_judge_of_distances_is_another_network_than_the_loss() -> None:
    kinds = [type(build_instrument(name)) for name in ("perceptual", "perceptual_eval", "identity", "identity_eval")]
    assert len(set(kinds)) == 4
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in build_instrument("perceptual_eval").modules())
    for preset in ("cpu", "gpu"):
        seeds = [CONFIGS[name, preset].seed for name in INSTRUMENTS]
        assert len(set(seeds)) == len(seeds)


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


# ---- losses --------------------------------------------------------------------------------------------------------


def test_factor_loss_is_the_sum_over_factors_that_show(data: FacetsArrays) -> None:
    """Against a loop over the table, a factor at a time."""
    total = sum(HEADS.values())
    outputs = torch.randn(len(data), total, generator=gen(1))
    loss, record = FactorLoss()(outputs, FactorTargets.of(data.factors))
    squared, entropy, numbers, choices = 0.0, 0.0, 0, 0
    for name, part in zip(HEADS, outputs.split(list(HEADS.values()), dim=1), strict=True):
        truth, seen = data.factors[name], shown(name, data.factors)
        weight = seen / max(float(seen.mean()), 1e-3) ** 0.5
        if name in RANGES:
            low, high = RANGES[name]
            squared += float(((part[:, 0] - (2 * (truth - low) / (high - low) - 1)).square() * weight).mean())
            numbers += 1
        else:
            log = part.log_softmax(1).gather(1, truth[:, None])[:, 0]
            entropy -= float((log * weight).mean())
            choices += 1
    assert float(record["squared"]) == pytest.approx(squared / numbers, rel=1e-4)
    assert float(record["entropy"]) == pytest.approx(entropy / choices, rel=1e-4)
    assert float(loss) == pytest.approx(4 * squared / numbers + entropy / choices, rel=1e-4)


def test_perfect_outputs_cost_nothing(data: FacetsArrays) -> None:
    outputs = []
    for name, width in HEADS.items():
        truth = data.factors[name]
        if name in RANGES:
            low, high = RANGES[name]
            outputs.append((2 * (truth - low) / (high - low) - 1)[:, None])
        else:
            outputs.append(50.0 * torch.nn.functional.one_hot(truth, width))
    loss, _ = FactorLoss()(torch.cat(outputs, 1), FactorTargets.of(data.factors))
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_what_nothing_shows_is_not_asked_for() -> None:
    f = {name: torch.zeros(4, dtype=torch.int64) for name in ("glasses", "earring_left", "earring_right", "necklace")}
    f["glasses"], f["necklace"] = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 0, 3])
    f |= {name: torch.zeros(4) for name in ("glasses_colour", "metal", "yaw")}
    assert shown("glasses_colour", f).tolist() == [0, 1, 1, 0]
    assert shown("metal", f).tolist() == [0, 0, 0, 1]
    assert shown("yaw", f).tolist() == [1, 1, 1, 1]


def moved(name: str, factors: Factors) -> Tensor:
    """Another value of a factor for every row: the next choice, or the other half of the range."""
    factor, value = BY_NAME[name], factors[name]
    if factor.kind == "categorical":
        return (value + 1) % len(factor.names)
    return torch.where(value > (factor.low + factor.high) / 2, factor.low, factor.high)


def changed(name: str, factors: Factors) -> float:
    """How much the pictures change with a factor, mean over pixels and rows of [-1, 1] images of 32 pixels."""
    before, after = render(factors, 32).image, render(edit(factors, **{name: moved(name, factors)}), 32).image
    return float((after - before).abs().mean())


GATES = [(gate, k) for gate in ("hair_style", "background_pattern", "cloth_pattern") for k in BY_NAME[gate].names]


@pytest.mark.parametrize(("gate", "choice"), GATES)
def test_what_is_asked_for_is_what_the_renderer_shows(gate: str, choice: str) -> None:
    """For each style and pattern: its factors change the picture if they are asked for, and only then, unless ambiguous."""
    f = edit(sample_factors(5, range(3)), hat=0, glasses=0, **{gate: choice})
    for name in [n for n in SHOWN_BY if list(SHOWN_BY[n]) == [gate]]:
        if bool(shown(name, f)[0]):
            assert changed(name, f) > 2e-3, name
        elif choice not in AMBIGUOUS.get(gate, ()):
            assert changed(name, f) == 0, name


def test_ambiguous_patterns_have_another_direction() -> None:
    """A quarter turn on the same picture of a wall or cloth, and no other pattern does that."""
    for gate in ("background_pattern", "cloth_pattern"):
        part, named = gate.removesuffix("_pattern"), BY_NAME[gate].names
        for kind in named:
            f = edit(sample_factors(6, range(1)), **{gate: kind, f"{part}_angle": 0, f"{part}_scale": 1})
            pair = render(f, 64).image, render(edit(f, **{f"{part}_angle": 1}), 64).image
            same = float((pair[0] - pair[1]).abs().mean()) < 1e-3
            assert same == (kind in AMBIGUOUS[gate] or kind in ("plain", "zigzag")), (gate, kind)


def test_soft_iou_of_certain_answers_is_the_iou() -> None:
    truth = torch.randint(0, 5, (3, 8, 8), generator=gen(2))
    guess = torch.where(torch.rand(3, 8, 8, generator=gen(3)) < 0.7, truth, (truth + 1) % 5)
    logits = 60.0 * torch.nn.functional.one_hot(guess, 6).movedim(-1, 1)
    expected = class_iou(confusion(guess, truth, 6))[:5].mean()
    assert float(instrument_losses.soft_iou(logits, truth)) == pytest.approx(float(expected), rel=1e-5)


def test_the_tasks_of_the_judge_have_their_known_optima(data: FacetsArrays) -> None:
    clean, labels = to_unit(data.images[:4]), data.labels[:4]
    exact = [torch.nn.functional.avg_pool2d(clean, k) if k > 1 else clean for k in (1, 2, 8)]
    assert float(instrument_losses.mending_error(exact, clean)) == pytest.approx(0, abs=1e-6)
    assert float(instrument_losses.mending_error([e + 0.5 for e in exact], clean)) == pytest.approx(0.5, rel=1e-5)
    certain = 60.0 * torch.nn.functional.one_hot(labels.long(), 19).movedim(-1, 1).float()
    assert float(instrument_losses.parts_error([certain], labels)) == pytest.approx(0, abs=1e-6)
    even = torch.zeros(4, 19, 16, 16)
    assert float(instrument_losses.parts_error([even], labels)) == pytest.approx(math.log(19), rel=1e-5)


# ---- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_resumed_run_goes_on_to_the_bit(name: str, data: FacetsArrays) -> None:
    config = small(name, steps=8, degrade=0.5)
    t, copy = InstrumentStepper(config, data), InstrumentStepper(config, data)
    for _ in range(2):
        t.train_step()
    copy.load_state(deepcopy(t.state()))
    for trainer in (t, copy):
        for _ in range(2):
            trainer.train_step()
    for a, b in zip(t.network.state_dict().values(), copy.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_log_has_means_over_its_steps(data: FacetsArrays, tmp_path) -> None:
    config = small("identity_eval", steps=3)
    t = InstrumentStepper(config, data)
    single = [float(t.train_step()["loss"]) for _ in range(3)]
    fit(InstrumentStepper(config, data), tmp_path, about={}, every=Every(log=3), progress=False)
    (line,) = read_journal(tmp_path / "log.jsonl")
    assert line["loss"] == pytest.approx(sum(single) / 3, rel=1e-6) and line["images"] == 3 * config.batch


def test_a_loss_that_is_no_number_stops_the_run(data: FacetsArrays, tmp_path) -> None:
    t = InstrumentStepper(small("identity_eval", steps=8), data)
    next(t.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(PspnbError, match="is not finite by step 2"):
        fit(t, tmp_path, about={}, every=Every(log=2), progress=False)


class StoodClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_of_seconds_ends_the_schedule(data: FacetsArrays) -> None:
    clock = StoodClock()
    config = small("identity_eval", steps=1000, seconds=10.0, warm_up=0.1, batch=4)
    t = InstrumentStepper(config, data, clock=clock)
    rates = []
    while not t.finished():
        t.train_step()
        rates.append(t.optimizer.param_groups[0]["lr"] / config.lr)
        clock.now += 0.999
    assert len(rates) == 11  # steps at 0, 0.999, ... 9.99 seconds
    assert rates[2] == pytest.approx(one_cycle(0.1998, 0.1)) and rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert t.state()["finished"]


def test_a_resumed_budget_counts_the_seconds_before(data: FacetsArrays) -> None:
    clock = StoodClock()
    config = small("identity_eval", steps=1000, seconds=10.0, batch=4)
    t = InstrumentStepper(config, data, clock=clock)
    t.train_step()
    clock.now += 6
    state = t.state()
    clock.now += 5000  # the machine was off
    again = InstrumentStepper(config, data, clock=clock)
    again.load_state(state)
    assert again.progress() == pytest.approx(0.6) and not again.finished()
    again.train_step()
    clock.now += 4
    assert again.finished()


def test_the_steps_end_a_run_that_has_time_left(data: FacetsArrays) -> None:
    t = InstrumentStepper(small("identity_eval", steps=2, seconds=1e9, batch=4), data, clock=StoodClock())
    t.train_step()
    assert t.progress() == 0.5 and not t.finished()
    t.train_step()
    assert t.finished()


def test_the_two_recognition_networks_share_no_people_and_no_group() -> None:
    from pspnb.training.lookalikes import GROUP, LOOKALIKES

    people = torch.cat([torch.arange(200), LOOKALIKES + torch.arange(200)])
    ours, judge = may_train_on("identity", people), may_train_on("identity_eval", people)
    assert not bool((ours & judge).any()) and bool((ours | judge).all()) and int(ours.sum()) == 200
    assert not set((people[ours] // GROUP).tolist()) & set((people[judge] // GROUP).tolist())
    assert may_train_on("parsing", people).sum() == 200


def test_people_are_numbered_without_gaps(data: FacetsArrays) -> None:
    t = InstrumentStepper(small("identity_eval"), data)
    assert t.n_people == 6 and sorted(set(t.people[t.rows].tolist())) == list(range(6))
    with pytest.raises(PspnbError, match="no image for identity_eval"):
        InstrumentStepper(small("identity_eval"), data.take(slice(0, 20)))


def test_degradations_are_off_at_zero_and_leave_the_range_mostly_alone(data: FacetsArrays) -> None:
    x = to_unit(data.images[:16])
    assert torch.equal(degrade(x, 0.0, generator=gen()), x)
    y = degrade(x, 1.0, generator=gen())
    assert 0.01 < float((y - x).abs().mean()) < 0.3


def test_shift_moves_labels_with_their_image(data: FacetsArrays) -> None:
    labels = data.labels[:4]
    images = labels[:, None].float().expand(-1, 3, -1, -1)
    images, moved = shift(images, labels, generator=gen(3))
    assert torch.equal(images[:, 0], moved.float()) and not torch.equal(moved, labels)


def test_settings_and_names_are_checked(data: FacetsArrays) -> None:
    with pytest.raises(PspnbError, match="expected an instrument of perceptual, perceptual_eval, identity"):
        architecture("nose")
    with pytest.raises(PspnbError, match="preset of cpu, gpu; got 'parsing', 'tpu'"):
        instrument_config("parsing", "tpu")
    t = InstrumentStepper(small("identity_eval"), data)
    with pytest.raises(PspnbError, match="another steps"):
        InstrumentStepper(small("identity_eval", steps=5), data).load_state(t.state())


def test_one_cycle() -> None:
    assert one_cycle(0.0, 0.1) == pytest.approx(0.02) and one_cycle(0.1, 0.1) == pytest.approx(1.0)
    assert one_cycle(1.0, 0.1) == pytest.approx(0.01)


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
    assert [s.name for s in stages("cpu")] == [*INSTRUMENTS, "imitation", *encoders]
    made = {s.file for s in (*stages("cpu"), *planned("cpu"))}
    assert {f"facets64/{task}" for task in TASKS} <= made
    assert all(s.ready for s in stages("cpu")) and not any(s.ready for s in planned("cpu"))
    lines = listing(planned("cpu")).splitlines()
    assert len(lines) == len(planned("cpu")) + 2 and all("not trained yet" in line for line in lines[1:])
    hours = sum(s.core_hours for s in planned("cpu"))
    assert lines[-1] == f"not trained yet: {hours:.1f} core-hours in all" and 5 < hours < 40
    stage = Stage("a", 100, 1600, 4.0, print, print)
    assert Stage("a", 100, 7200, 2.0, print, print).core_hours == 1
    assert seconds_left(stage, tmp_path) == 400
    (tmp_path / "log.jsonl").write_text('{"step": 50, "images_per_s": 8.0}\n{"step": 50, "val_loss": 1.0}\n')
    assert seconds_left(stage, tmp_path) == 100
    assert clock(100.0) == "2 min" and clock(7500.0) == "2 h 05 min"
