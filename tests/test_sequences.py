"""Films of Facets people and the measures of their steadiness, against films of which the answer is known."""

import json
from unittest.mock import Mock

import pytest
import torch

from pspnb.measure.evaluate_video import evaluate_video, redrawn, summary
from pspnb.measure.pairs import Instruments
from pspnb.measure.steadiness import flicker, identity_jitter, pose_jitter, steadiness
from pspnb.world2 import IDENTITY_FACTORS, edit, render, sample_factors, validate
from pspnb.world2.sequences import KINDS, sequence


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_a_function_of_its_number(kind):
    a, b, other = sequence(kind, 3, n_frames=30), sequence(kind, 3, n_frames=30), sequence(kind, 4, n_frames=30)
    assert all(torch.equal(a.factors[name], b.factors[name]) for name in a.factors) and len(a) == 30
    assert any(not torch.equal(a.factors[name], other.factors[name]) for name in a.factors)
    longer = sequence(kind, 3, n_frames=60)
    if kind not in ("cuts", "mixed"):  # whose cuts lie at thirds
        assert all(torch.equal(a.factors[name], longer.factors[name][:30]) for name in a.factors)
    validate(a.factors, yaw_limit=60.0 if kind == "beyond" else None)


def test_what_moves_and_what_does_not():
    moving = {
        "still": set(), "turning": {"yaw", "pitch"}, "beyond": {"yaw", "pitch"}, "speaking": {"mouth_open", "smile", "pitch"},
        "blinking": {"eye_open", "gaze_x"}, "handheld": {"yaw", "pitch", "roll"},
    }  # fmt: skip
    for kind, expected in moving.items():
        clip = sequence(kind, 5)
        assert {name for name, value in clip.factors.items() if value.unique().numel() > 1} == expected, kind
        assert not clip.shot.any()
    turn, far = (sequence(kind, 0).factors["yaw"] for kind in ("turning", "beyond"))
    assert turn.abs().max() <= 38 and 45 < far.abs().max() <= 60 and turn.diff().abs().max() < 7
    lids = sequence("blinking", 2).factors["eye_open"]
    assert lids.min() < 0.2 and (lids > 0.7).float().mean() > 0.6
    shake = sequence("handheld", 1).factors
    assert 0.05 < shake["roll"].diff().abs().mean() < 1.5 and shake["roll"].abs().max() < 3


def test_cuts_show_other_people_and_a_mixed_clip_keeps_its_own():
    clip = sequence("cuts", 7, n_frames=31)
    assert clip.shot.unique().tolist() == [0, 1, 2]
    for shot in range(3):
        person = sample_factors("test", [7 + shot])
        assert all(bool((clip.factors[n][clip.shot == shot] == person[n]).all()) for n in person)
    mixed = sequence("mixed", 7)
    assert all(mixed.factors[name].unique().numel() == 1 for name in IDENTITY_FACTORS)
    assert mixed.factors["background_palette"].unique().numel() > 1
    with pytest.raises(ValueError, match="expected a kind of still"):
        sequence("dancing")


def test_heads_turn_beyond_the_world_only_when_asked():
    f = dict(edit(sample_factors(1, 1), glasses="none"), yaw=torch.tensor([55.0]))
    with pytest.raises(ValueError, match=r"'yaw' in \[-40, 40\], got 55"):
        render(f, 32)
    assert render(f, 32, yaw_limit=60.0).image.shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"'yaw' in \[-50, 50\]"):
        render(f, 32, yaw_limit=50.0)
    with pytest.raises(ValueError, match="up to 65 degrees"):
        render(f, 32, yaw_limit=80.0)
    g = dict(f, yaw=torch.tensor([30.0]))
    assert torch.equal(render(g, 32, yaw_limit=60.0).image, render(g, 32).image)
    clip = sequence("beyond", 0, n_frames=3, rate=2)
    assert clip.frames(32).shape == (3, 3, 32, 32)


# ---- steadiness -----------------------------------------------------------------------------------------------------


def test_pose_jitter_is_motion_beyond_the_true_one():
    true = {name: torch.tensor([0.0, 10.0, 20.0, 20.0]) for name in ("yaw", "pitch", "roll")}
    all_pairs = torch.ones(3, dtype=torch.bool)
    offset = {name: value + 5 for name, value in true.items()}  # wrong, but steady
    assert pose_jitter(offset, true, all_pairs) == 0
    shaken = {name: value + torch.tensor([1.0, -1.0, 1.0, -1.0]) for name, value in true.items()}
    assert pose_jitter(shaken, true, all_pairs) == pytest.approx(2)
    jump = true | {"yaw": true["yaw"] + torch.tensor([0.0, 0.0, 90.0, 90.0])}
    assert pose_jitter(jump, true, torch.tensor([True, False, True])) == 0  # at the cut
    assert pose_jitter(jump, true, all_pairs) == pytest.approx(90 / 9)


def test_identity_jitter():
    a, b = torch.eye(2)
    assert identity_jitter(torch.stack([a, a, b, b]), torch.ones(3, dtype=torch.bool)) == pytest.approx(1 / 3)
    assert identity_jitter(torch.stack([a, a, b, b]), torch.tensor([True, False, True])) == pytest.approx(0)


def test_flicker_counts_still_pixels_only():
    truth = torch.zeros(3, 3, 8, 8)
    truth[1, :, :4] = 1  # the upper half moves, twice
    output = truth.clone()
    output[1] += 10 / 127.5
    pairs = torch.ones(2, dtype=torch.bool)
    assert flicker(output, truth, pairs) == pytest.approx(10, rel=1e-4)
    assert flicker(truth, truth, pairs) == 0
    assert flicker(output, torch.rand(3, 3, 8, 8), pairs) != flicker(output, torch.rand(3, 3, 8, 8), pairs)  # nan


@pytest.fixture
def instruments():
    nets = Mock(spec=Instruments)
    nets.identity_eval = lambda x: torch.nn.functional.normalize(x.mean((2, 3)) + 2, dim=1)
    nets.factors, nets.perceptual_eval = Mock(), lambda a, b: (a - b).abs().mean((1, 2, 3))
    nets.factors.predict = lambda x: {name: 40 * x.mean((1, 2, 3)) for name in ("yaw", "pitch", "roll")}
    return nets


def test_a_perfect_copy_has_the_jitter_of_the_instruments(instruments):
    clip = sequence("speaking", 1, n_frames=4)
    truth = clip.frames(64)
    found = steadiness(truth, truth, clip, instruments)
    assert found["mse"] == 0 and found["flicker"] <= 1 and found["similarity"] == pytest.approx(1)
    assert found["pose_jitter"] == found["pose_jitter_floor"] > 0
    shaken = truth + 0.1 * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    worse = steadiness(shaken, truth, clip, instruments)
    assert worse["pose_jitter"] > found["pose_jitter"] and worse["flicker"] > 10


def test_clips_are_drawn_one_frame_at_a_time_and_summed_up(instruments, tmp_path):
    seen = []

    def draw(x):
        seen.append(len(x))
        return x

    result = evaluate_video(
        {"copy": draw},
        out=tmp_path,
        clips=2,
        n_frames=3,
        kinds=("still", "blinking"),
        instruments=instruments,
        rounds=20,
    )
    assert seen == [1] * 6
    rows = json.loads((tmp_path / "video.json").read_text())["methods"]["copy"]
    assert set(rows) == {"all", "still", "blinking"} and rows["all"]["mse"]["n"] == 2
    assert rows["still"]["flicker"]["value"] == 0 and result["clips"]["copy"][1]["kind"] == "blinking"


def test_clips_without_a_number_are_left_out():
    rows = [{"kind": "a", "clip": 0, "x": 1.0}, {"kind": "a", "clip": 1, "x": float("nan")}]
    assert summary(rows, rounds=0)["all"]["x"] == {"value": 1.0, "lo": None, "hi": None, "n": 1}


def test_an_optimisation_starts_anew_at_a_cut():
    from pspnb.inversion.video import Optimised

    draw = Mock(spec=Optimised, side_effect=lambda x: x)
    clip = sequence("cuts", 0, n_frames=6)
    redrawn(draw, torch.zeros(6, 3, 8, 8), clip)
    assert draw.restart.call_count == 3 and draw.call_count == 6
