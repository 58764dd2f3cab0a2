"""The gate: each row on a case whose answer is known; a generator without an error passes, one with an error fails its row only."""

import json
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from _gate import K, Renderer, coded, coded_instruments, coded_key, gen
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.losses.perceptual import LPIPSLoss
from pspnb.measure import evaluate_generator, gate, intervals, pixels
from pspnb.measure.answer_key import AnswerKey, answer_key, draw_z, pooled, pooled_labels
from pspnb.measure.between import codes_between
from pspnb.measure.factor_errors import error, factor_errors
from pspnb.measure.pairs import Instruments, Pairs, compare, join, measure_pairs
from pspnb.models.load import load_generator
from pspnb.models.prior_mapping import PriorMapping
from pspnb.nn.instruments import FactorNet, ParsingNet, PerceptualNet, PlainEmbedder
from pspnb.nn.stylegan2 import Generator
from pspnb.training.checkpoint import save_checkpoint
from pspnb.training.factor_targets import HEADS, RANGES
from pspnb.training.imitation import ImitationConfig, build_generator
from pspnb.world2 import CLASS_ID
from pspnb.world2.prior import Z_DIM

KEY = coded_key()
KINDS = ("unmixed", "midpoint", "truncated", "mixed", "latent_avg")


def pairs(fake: Tensor, key: AnswerKey = KEY) -> Pairs:
    """Measured by instruments that read what is written; mixtures as good as the truth."""
    columns = [join([part]) for part in compare(key, fake, coded_instruments())]
    same = {name: columns[0][name] for name in ("sharpness", "confidence")}
    return Pairs(*columns, mixtures={kind: same for kind in KINDS[:4]} | {"latent_avg": mean_of(same)})


def mean_of(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.mean()[None] for name, value in columns.items()}


def missed(found: Pairs) -> set[str]:
    return {verdict.row for verdict in gate.judge(gate.measure(found, rounds=0)) if not verdict.passed}


def rewritten(key: AnswerKey = KEY, labels: Tensor | None = None, **changes: Tensor) -> Tensor:
    """The true pictures with other labels or other factors written into them."""
    return coded(key.labels if labels is None else labels, {**key.factors, **changes})


# ---- a generator without an error ------------------------------------------------------------------------------------------


def test_the_truth_itself_passes_every_line() -> None:
    rows = gate.measure(pairs(KEY.images), rounds=50)
    assert set(rows) == {limit.row for limit in gate.GATE}
    assert all(verdict.passed for verdict in gate.judge(rows))
    for name, row in rows.items():
        zero = ("perceptual_whole", "perceptual_head", "mse_head", "area", "area_jewellery", "yaw_difference")
        exact = 0 if name in zero or name.endswith("where_not") else 1
        assert row.value == pytest.approx(exact, abs=1e-6), name
        assert row.lo is None or row.lo - 1e-9 <= row.value <= row.hi + 1e-9, name
        assert (row.lo is None) == (row.n == 1), name


def test_the_renderer_as_a_generator_passes_every_line_that_compares_with_the_truth() -> None:
    """End to end, with real renders and untrained networks: same picture, so no error, whatever the networks are."""
    torch.manual_seed(0)
    instruments = untrained()
    quick = gate.quick_gate(Renderer(), instruments, n=32)
    for name in ("perceptual_whole", "perceptual_head", "mse_head", "area", "area_jewellery", "yaw_difference"):
        assert quick[name] == 0, name
    for name in ("sharpness", "parsing", "yaw_slope", "frechet", "recall"):
        assert quick[name] == pytest.approx(1, abs=1e-4), name
    verdicts = {v.row: v.passed for v in gate.judge(quick)}
    assert verdicts["frechet"] and len(verdicts) == len(gate.ROWS)


def test_a_generator_of_cartoons_is_compared_with_cartoons() -> None:
    torch.manual_seed(0)
    generator, instruments = Renderer(style="cartoon"), untrained()
    z = draw_z(generator, 8, seed=3)
    right, wrong = (
        measure_pairs(generator, instruments, z, mixtures=2, style=s).difference for s in ("cartoon", "photo")
    )
    assert (right["mse_head"] == 0).all() and (wrong["mse_head"] > 0).all()


def untrained() -> Instruments:
    factors = FactorNet(heads=HEADS, ranges=RANGES, widths=(8, 8, 8), feature_dim=16)
    networks = (PerceptualNet(widths=(8, 8)), ParsingNet(widths=(8, 8, 8)), factors)
    return Instruments(*(n.eval() for n in (*networks, PlainEmbedder())))


# ---- one error each ----------------------------------------------------------------------------------------------------------


def test_a_blurred_renderer_is_not_sharp_enough() -> None:
    found = pairs(pixels.blurred(KEY.images))
    assert "sharpness" in missed(found)
    assert gate.measure(found, rounds=0)["sharpness"].value < 0.85
    too_sharp = pairs((KEY.images * 1.2).clamp(-1.2, 1.2))
    assert gate.measure(too_sharp, rounds=0)["sharpness"].value == pytest.approx(1.2, abs=1e-4)
    assert "sharpness" in missed(too_sharp)


def test_an_error_on_the_wall_leaves_the_head_alone() -> None:
    fake = KEY.images.clone()
    wall = (KEY.labels == CLASS_ID["background"])[:, None].expand_as(fake) | (KEY.labels == CLASS_ID["cloth"])[:, None]
    fake[wall] += 0.9
    found = pairs(fake)
    rows = gate.measure(found, rounds=0)
    share = float(wall.double().mean())
    assert rows["perceptual_head"].value == 0 and rows["mse_head"].value == 0
    assert rows["perceptual_whole"].value == pytest.approx(0.9 * share, rel=1e-4)
    assert float(found.difference["mse_wall_cloth"].mean()) == pytest.approx(0.81, rel=1e-4)


def test_an_error_on_the_head_counts_there() -> None:
    head = KEY.head
    rows = gate.measure(pairs(KEY.images + 0.2 * head), rounds=0)
    assert rows["mse_head"].value == pytest.approx(0.04, rel=1e-4)
    assert rows["perceptual_head"].value == rows["perceptual_whole"].value > 0


def test_swapped_labels_fail_the_parsing_row_and_not_the_areas() -> None:
    """Every class becomes the next one: no pixel is right, though a like share of each is drawn."""
    found = pairs(rewritten(labels=(KEY.labels + 1) % K))
    assert gate.measure(found, rounds=0)["parsing"].value == 0
    assert {"parsing"} <= missed(found)
    half = KEY.labels.clone()
    half[:60] = (half[:60] + 1) % K
    # Half of each class is hit, and the union is 3/2 of it: IoU 1/3.
    assert gate.measure(pairs(rewritten(labels=half)), rounds=0)["parsing"].value == pytest.approx(1 / 3, abs=0.01)


def test_a_smaller_hat_and_missing_earrings_fail_their_areas() -> None:
    labels = KEY.labels.clone()
    hat = (labels == CLASS_ID["hat"]) & (torch.rand(labels.shape, generator=gen(1)) < 0.2)
    labels[hat] = CLASS_ID["hair"]
    rows = gate.measure(pairs(rewritten(labels=labels)), rounds=0)
    assert rows["area"].value == pytest.approx(0.2, abs=0.01) and rows["area_jewellery"].value == 0
    labels[labels == CLASS_ID["ear_r"]] = CLASS_ID["skin"]
    rows = gate.measure(pairs(rewritten(labels=labels)), rounds=0)
    assert rows["area_jewellery"].value == 1
    assert {"area", "area_jewellery"} <= missed(pairs(rewritten(labels=labels)))


def test_a_class_that_only_the_generator_draws_is_an_infinite_error_and_one_in_neither_none() -> None:
    bare = KEY.labels.clone()
    bare[bare == CLASS_ID["hat"]] = CLASS_ID["hair"]
    key = AnswerKey(coded(bare, KEY.factors), bare, KEY.factors)
    assert gate.measure(pairs(key.images, key), rounds=0)["area"].value == 0
    assert gate.measure(pairs(KEY.images, key), rounds=0)["area"].value == math.inf


def test_a_yaw_that_is_three_degrees_off_is_found() -> None:
    rows = gate.measure(pairs(rewritten(yaw=KEY.factors["yaw"] + 3)), rounds=100)
    assert rows["yaw_difference"].value == pytest.approx(3, abs=1e-4)
    assert rows["yaw_slope"].value == pytest.approx(1, abs=1e-5)
    assert missed(pairs(rewritten(yaw=KEY.factors["yaw"] + 3))) >= {"yaw_difference"}


def test_heads_that_turn_too_little_have_a_slope_below_one() -> None:
    noise = torch.randn(len(KEY.labels), generator=gen(2))
    row = gate.measure(pairs(rewritten(yaw=0.9 * KEY.factors["yaw"] + noise)), rounds=500)["yaw_slope"]
    assert row.lo < 0.9 < row.hi and row.hi - row.lo < 0.05 and row.hi < 0.95


def test_lost_glasses_and_invented_hats_are_counted() -> None:
    glasses, hat = KEY.factors["glasses"].clone(), KEY.factors["hat"].clone()
    worn, bare = (glasses > 0).nonzero()[:, 0], (hat == 0).nonzero()[:, 0]
    glasses[worn[: len(worn) // 2]] = 0
    hat[bare[:5]] = 2
    found = pairs(rewritten(glasses=glasses, hat=hat))
    rows = gate.measure(found, rounds=100)
    assert rows["glasses_where_worn"].value == pytest.approx(1 - len(worn) // 2 / len(worn))
    assert rows["glasses_where_worn"].n == len(worn)
    assert rows["glasses_where_not"].value == 0 and rows["hat_where_worn"].value == 1
    assert rows["hat_where_not"].value == pytest.approx(5 / len(bare))
    assert missed(found) == {"glasses_where_worn", "hat_where_not"}


@pytest.mark.parametrize("name", ("background_pattern", "cloth_pattern", "hair_style"))
def test_wrong_kinds_lower_their_share(name: str) -> None:
    kinds = KEY.factors[name].clone()
    kinds[:30] = (kinds[:30] + 1) % 5
    found = pairs(rewritten(**{name: kinds}))
    assert gate.measure(found, rounds=0)[name].value == pytest.approx(0.75)
    assert missed(found) == {name}


def test_one_face_for_all_is_far_from_the_real_ones_and_covers_few() -> None:
    fake = KEY.images.clone()
    fake[:, 2] = fake[:, 2] * 0.05
    found = pairs(fake)
    rows = gate.measure(found, rounds=50)
    assert rows["frechet"].value > 3 and rows["recall"].value < 0.7
    assert {"frechet", "recall"} <= missed(found)
    assert rows["frechet"].lo < rows["frechet"].value < rows["frechet"].hi


def test_dull_and_doubtful_mixtures_are_missed() -> None:
    found = pairs(KEY.images)
    for kind in KINDS[1:]:
        dull = {name: value * 0.8 for name, value in found.mixtures[kind].items()}
        worse = replace(found, mixtures={**found.mixtures, kind: dull})
        assert missed(worse) == {f"{kind}_sharpness", f"{kind}_confidence"}
        assert gate.measure(worse, rounds=0)[f"{kind}_sharpness"].value == pytest.approx(0.8, rel=1e-4)


def test_the_verdict_decides_whether_encoders_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    perfect = {name: row.value for name, row in gate.measure(pairs(KEY.images), rounds=0).items()}
    assert gate.verdict_of(perfect) == {"rows": perfect, "missed": [], "train encoders": True}
    worse = perfect | {"yaw_slope": 0.9, "area": math.inf}
    found = gate.verdict_of(worse)
    assert found["missed"] == ["area", "yaw_slope"] and not found["train encoders"]
    assert gate.verdict_of(worse, forgiven=2)["train encoders"]
    assert json.loads(json.dumps(found, allow_nan=False))["rows"]["area"] is None


def test_what_is_not_a_number_does_not_pass() -> None:
    rows = dict.fromkeys(gate.ROWS, math.nan)
    assert not any(verdict.passed for verdict in gate.judge(rows))
    with pytest.raises(KeyError):
        gate.judge({})


def test_the_published_lpips_is_reported_beside_the_others() -> None:
    lpips = LPIPSLoss(random_trunk=True)
    fake = KEY.images[:4] * 0.9
    key = AnswerKey(KEY.images[:4], KEY.labels[:4], {name: value[:4] for name, value in KEY.factors.items()})
    columns = compare(key, fake, replace(coded_instruments(), lpips=lpips))[2]
    torch.testing.assert_close(columns["lpips_whole"], lpips.per_sample(fake, key.images))
    pasted = torch.where(key.head, fake, key.images)
    torch.testing.assert_close(columns["lpips_head"], lpips.per_sample(pasted, key.images))
    assert bool((columns["lpips_head"] != columns["lpips_whole"]).all())


# ---- parts -------------------------------------------------------------------------------------------------------------------


def test_codes_between() -> None:
    g = Renderer()
    a, b = torch.randn(18, g.style_dim, generator=gen(0)), torch.randn(18, g.style_dim, generator=gen(1))
    codes = codes_between(g, a, b)
    assert tuple(codes) == KINDS
    torch.testing.assert_close(codes["midpoint"][:, 3], (a + b) / 2)
    torch.testing.assert_close(codes["truncated"][:, 9], g.latent_avg + (a - g.latent_avg) / 2)
    assert codes["latent_avg"].shape == (1, 10, g.style_dim)
    for i in range(18):
        crossover = 1 + i % 9
        assert torch.equal(codes["mixed"][i], g.mix(a[i : i + 1], b[i : i + 1], crossover)[0])


def test_power_spectrum_of_waves() -> None:
    """A wave of 8 cycles an image has its power in that ring, also diagonally; a twice as strong one has four times as much."""
    x = torch.arange(64) / 64
    wave = torch.sin(2 * math.pi * 8 * x).expand(3, 64, 64)
    power = pixels.power_spectrum(torch.stack([wave, 2 * wave, wave.transpose(1, 2), torch.ones(3, 64, 64)]))
    assert power.shape == (4, 33) and power[:3].argmax(dim=1).tolist() == [8, 8, 8]
    torch.testing.assert_close(power[1], 4 * power[0])
    torch.testing.assert_close(power[2], power[0], atol=1e-9, rtol=1e-4)
    assert float(power[3].abs().max()) < 1e-9
    assert float(power[0, :6].sum() + power[0, 11:].sum()) < 0.01 * float(power[0].sum())


def test_sharpness_of_a_ramp_a_step_and_a_blur() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    assert float(pixels.sharpness(ramp)) == 0
    step = (torch.arange(16) >= 8).float().expand(1, 1, 16, 16)
    assert float(pixels.sharpness(step)) == pytest.approx(2 / 14)  # 1 on both sides of the edge, of 14 columns
    noise = torch.randn(2, 3, 32, 32, generator=gen())
    assert bool((pixels.sharpness(pixels.blurred(noise)) < 0.4 * pixels.sharpness(noise)).all())


def test_intervals_of_known_samples() -> None:
    x = torch.randn(2000, generator=gen(4)) + 5
    expected = 1.96 * float(x.std()) / 2000**0.5
    for found in (
        intervals.mean(x),
        intervals.ratio(x, torch.ones(2000)),
        intervals.left_out(lambda keep: float(x[keep].mean()), 2000),
    ):
        assert found.value == pytest.approx(float(x.mean()), abs=1e-5) and found.n == 2000
        # 20 groups leave the error of the jackknife's error at a sixth
        assert found.hi - found.lo == pytest.approx(2 * expected, rel=0.5)
        assert found.lo < found.value < found.hi
    middle = intervals.median(x)
    assert middle.value == float(x.median()) and middle.lo < middle.value < middle.hi
    assert middle.hi - middle.lo == pytest.approx(2 * expected * math.sqrt(math.pi / 2), rel=0.25)
    assert intervals.mean(x, rounds=0)[1:3] == (None, None)
    assert math.isnan(intervals.mean(x[:0]).value)


def test_the_share_of_equal_halves_has_no_doubt() -> None:
    """A ratio of two columns of the same images: what varies in both cancels."""
    x = torch.rand(500, generator=gen()) + 0.1
    found = intervals.ratio(2 * x, x)
    assert found.lo == pytest.approx(2) and found.hi == pytest.approx(2)


def test_errors_of_numbers_are_absolute_differences_in_their_unit() -> None:
    assert float(error("yaw", torch.tensor([-39.0]), torch.tensor([39.0]))) == 78


def test_the_factor_table_shows_what_the_generator_adds() -> None:
    colour = (KEY.factors["glasses_colour"] + (KEY.factors["glasses"] > 0)) % 6
    table = factor_errors(pairs(rewritten(smile=KEY.factors["smile"] + 0.25, glasses_colour=colour)), rounds=50)
    assert table["smile"]["generated"]["value"] == pytest.approx(0.25, abs=1e-5)
    assert table["smile"]["rendered"]["value"] == pytest.approx(0, abs=1e-5)
    assert table["yaw"] == {
        "unit": "degrees",
        "generated": table["yaw"]["rendered"],
        "rendered": table["yaw"]["rendered"],
    }
    # wrong wherever glasses are worn, and asked only there
    assert table["glasses_colour"]["generated"]["value"] == 0 and table["glasses_colour"]["rendered"]["value"] == 1
    assert table["glasses_colour"]["unit"] == "accuracy"


def test_larger_images_are_pooled_for_the_instruments() -> None:
    labels = torch.zeros(1, 128, 128, dtype=torch.uint8)
    labels[0, :3, :2] = 5  # rows 0 and 1: the whole first cell; of the second cell a half, which goes to the lower id
    assert pooled_labels(labels)[0, :2, 0].tolist() == [5, 0] and pooled_labels(labels).shape == (1, 64, 64)
    assert pooled(torch.arange(128.0).expand(1, 3, 128, 128))[0, 0, 0, :3].tolist() == [0.5, 2.5, 4.5]
    assert torch.equal(pooled(KEY.images), KEY.images) and torch.equal(pooled_labels(KEY.labels), KEY.labels)


def test_the_key_is_the_render_of_the_factors_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    z = draw_z(Renderer(), 7, seed=3)
    whole = answer_key(z, 64)
    monkeypatch.setattr("pspnb.measure.answer_key.batch_size", lambda device: 3)
    parts = answer_key(z, 64)
    assert torch.equal(whole.images, parts.images) and torch.equal(whole.labels, parts.labels)
    assert torch.equal(whole.images, Renderer().synthesize(z))
    assert whole.head.shape == (7, 1, 64, 64) and bool((whole.labels[~whole.head[:, 0]] % 18 == 0).all())


def test_a_generator_of_another_world_is_refused() -> None:
    g = Renderer()
    g.z_dim = 512
    with pytest.raises(PspnbError, match="z of 512: it has no answer key"):
        gate.quick_gate(g, coded_instruments(), n=16)


# ---- the report --------------------------------------------------------------------------------------------------------------


def tiny_generator() -> Generator:
    torch.manual_seed(1)
    mapping = PriorMapping(style_dim=16, hidden=16, n_mlp=2)
    channels = dict.fromkeys((4, 8, 16, 32, 64), 8)
    return Generator(64, style_dim=16, z_dim=Z_DIM, mapping=mapping, channels=channels, noise=False).eval()


def test_the_whole_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The command writes where --out says, every line is printed, and a generator that fails is no error of the command."""
    monkeypatch.setattr(evaluate_generator, "load_generator", lambda name, device="cpu": tiny_generator())
    monkeypatch.setattr(evaluate_generator, "shipped_instruments", lambda **_: untrained())
    monkeypatch.setattr(evaluate_generator, "style_shares", partial(evaluate_generator.style_shares, pairs=8))
    out = tmp_path / "here"
    assert evaluate_generator.main(["--out", str(out), "--n", "32", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out.splitlines()
    result = json.loads((out / "metrics.json").read_text())
    assert len(printed) == len(gate.GATE) + 1 and all(text[:4] in ("PASS", "MISS") for text in printed[:-1])
    assert [row["row"] for row in result["gate"]] == [limit.row for limit in gate.GATE]
    assert {"value", "lo", "hi", "n", "limit", "sense", "unit", "passed"} <= set(result["gate"][0])
    assert result["reported"]["mse_wall_cloth"]["value"] > 0.1 and set(result["styles"]) == {"coarse", "middle", "fine"}
    assert len(result["spectrum"]["generated"]) == 33 and set(result["classes"]) == set(CLASS_ID)
    assert set(result["factor_errors"]) == set(HEADS)
    for name in ("truth", "samples", "midpoint", "truncated", "mixed", "latent_avg", "mixing"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    card = evaluate_generator.card_metrics(result)
    assert card["gate_lines"] == len(gate.GATE) and card["frechet_floor_identity_eval"] > 0


def test_a_run_that_imitates_is_a_generator(tmp_path: Path) -> None:
    config = ImitationConfig(style_dim=8, n_mlp=2, hidden=8, channels=tuple((r, 8) for r in (4, 8, 16, 32, 64)))
    average = build_generator(config)
    state = {"step": 1, "config": asdict(config), "average": average.state_dict(), "discriminator": {}, "w_mean": 0}
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    found = load_generator(str(tmp_path))
    z = draw_z(found, 2, seed=0)
    assert torch.equal(found(z), average.eval()(z)) and float(found.latent_avg.abs().max()) > 0


def test_the_short_verdict_on_what_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "load_generator", lambda name, device="cpu": tiny_generator())
    monkeypatch.setattr(gate, "shipped_instruments", lambda **_: untrained())
    found = gate.quick_verdict(n=16)
    assert set(found["rows"]) == set(gate.ROWS) and "perceptual_whole" in found["missed"]
    assert found["train encoders"] is False


def test_bad_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(evaluate_generator, "load_generator", lambda name, device="cpu": Renderer())
    monkeypatch.setattr(evaluate_generator, "shipped_instruments", lambda **_: untrained())
    for arguments, words in ((["--n", "3"], "at least 16 z"), (["--device", "tpu9"], "cannot use the device")):
        assert evaluate_generator.main(["--out", str(tmp_path), *arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and words in lines[0]
    assert list(tmp_path.iterdir()) == []
