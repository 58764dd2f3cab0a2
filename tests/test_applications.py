"""The measures of the applications, with stand-ins whose score is known by construction."""

import functools
import json

import pytest
import torch
from _standins import InOrder, looked_up
from _tiny import tiny_psp

from pspnb.classes import to_helen
from pspnb.measure import applications, local_editing, several
from pspnb.measure.applications import Case, measure_application
from pspnb.measure.frontalization import frontal, measure_frontalization
from pspnb.measure.inpainting import mean_filled, measure_inpainting, opencv_filled
from pspnb.measure.interpolation import blended, measure_interpolation
from pspnb.measure.intervals import finite
from pspnb.measure.label_maps import measure_labels, with_parts_erased
from pspnb.measure.lookalikes import lookalikes
from pspnb.measure.people import rendered
from pspnb.measure.scores import low, slope
from pspnb.measure.super_resolution import (
    enlarged,
    measure_super_resolution,
    optimised,
    shrunk,
)
from pspnb.measure.toonify import measure_toonify
from pspnb.nn.stylegan2 import Generator
from pspnb.tasks import TASKS
from pspnb.transforms import low_resolution, random_holes
from pspnb.world2 import edit, mirrored, sample_factors

N = 16


@pytest.fixture(scope="module")
def people():
    factors = sample_factors("test", N)
    factors["earring_left"][:6], factors["earring_right"][:6] = 2, 0  # six people with a single earring
    return rendered(factors)


@pytest.fixture(scope="module")
def truth(people):
    return frontal(people)


@pytest.fixture(scope="module")
def judges(people, truth):
    return looked_up(people, truth)


@pytest.fixture(scope="module")
def mean_face(people):
    return people.images.mean(dim=0)


def value(score):
    return score["value"]


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_the_share_of_a_distance_is_the_way_from_the_mean_face_to_inversion():
    near, middle, far = (torch.full((9,), v) for v in (1.0, 2.0, 5.0))
    assert value(low(near, near, mean_face=far)["share_of_inversion"]) == 1
    assert value(low(middle, near, mean_face=far)["share_of_inversion"]) == 0.75
    assert value(low(far, near, mean_face=far)["share_of_inversion"]) == 0
    assert "share_of_inversion" not in low(middle)
    x = torch.linspace(-1, 1, 11)
    assert value(slope(0.5 * x + 3, x, rounds=0)) == pytest.approx(0.5)


# ---- frontalization --------------------------------------------------------------------------------------------------


def test_the_true_frontal_view_scores_full_marks(people, truth, judges, mean_face):
    found = measure_frontalization(
        truth.images, people, truth, judges, mean_face=mean_face, inverted=truth.images, ranked=6, rounds=20
    )
    assert {value(score) for score in found["yaw"].values()} == {0}
    assert value(found["head_distance"]["output"]) == 0
    assert value(found["head_distance"]["output"]["share_of_inversion"]) == 1
    assert found["head_distance"]["output_less"]["input"]["hi"] < 0
    assert value(found["rank"]["output"]) == 1
    for name in ("smile", "mouth_open"):
        assert value(found["expression_kept"][name]) == pytest.approx(1, abs=1e-5)
    assert value(found["pitch_kept"]) == pytest.approx(1, abs=1e-5)
    assert value(found["one_sided"]["single_earring"]["kept"]) == 1


def test_a_copy_of_the_input_is_no_frontalization(people, truth, judges, mean_face):
    found = measure_frontalization(people.images, people, truth, judges, mean_face=mean_face, ranked=0, rounds=20)
    yaw = people.factors["yaw"].abs()
    assert value(found["yaw"]["30-40"]) == pytest.approx(float(yaw[yaw >= 30].sort().values.median()))
    assert value(found["yaw"]["0-15"]) < 15 < value(found["yaw"]["15-30"]) < 30
    assert value(found["head_distance"]["output_less"]["input"]) == 0
    assert "rank" not in found


def test_the_mean_face_is_worth_nothing(people, truth, judges, mean_face):
    outputs = mean_face.expand_as(people.images)
    found = measure_frontalization(
        outputs, people, truth, judges, mean_face=mean_face, inverted=truth.images, ranked=0, rounds=20
    )
    assert value(found["head_distance"]["output"]["share_of_inversion"]) == 0
    assert value(found["expression_kept"]["smile"]) == pytest.approx(0, abs=1e-6)


def test_a_mirror_swaps_what_is_one_sided(people, truth, mean_face):
    turned = rendered(mirrored(truth.factors))
    found = measure_frontalization(
        turned.images, people, truth, looked_up(people, truth, turned), mean_face=mean_face, ranked=0, rounds=0
    )["one_sided"]
    assert value(found["parting_kept"]) == pytest.approx(-1, abs=1e-5)
    earring = {name: value(score) for name, score in found["single_earring"].items()}
    assert earring == {"kept": 0, "swapped": 1, "both": 0, "none": 0}


def test_lookalikes_share_all_but_the_face(truth):
    (other,) = lookalikes(truth.first(3), 1)
    assert torch.equal(other.factors["hair_style"], truth.factors["hair_style"][:3])
    assert torch.equal(other.factors["skin_tone"], truth.factors["skin_tone"][:3])
    assert torch.equal(other.factors["nose_length"], truth.factors["nose_length"][:3].roll(-1))
    assert torch.equal(other.factors["smile"], truth.factors["smile"][:3])


# ---- toonify ---------------------------------------------------------------------------------------------------------


def test_the_true_cartoon_scores_full_marks(people, mean_face):
    few = people.first(8)
    truth = few.drawn_as("cartoon")
    judges = looked_up(few, truth)
    found = measure_toonify(truth.images, few, judges, mean_face=mean_face, inverted=few.images, ranked=8, rounds=20)
    assert value(found["distance"]["whole"]["output"]) == value(found["distance"]["head"]["output"]) == 0
    assert found["distance"]["whole"]["output_less"]["photograph"]["hi"] < 0
    for name in ("yaw", "smile", "skin_tone"):
        assert value(found["factors_kept"][name]["output"]) == pytest.approx(1, abs=1e-5)
    assert value(found["factors_kept"]["hair_style"]["output"]) == 1
    assert value(found["rank"]["output"]) == value(found["rank"]["output"]["share_of_inversion"]) == 1
    assert value(found["labels"]["miou_over_renders"]) == 1
    copied = measure_toonify(few.images, few, judges, mean_face=mean_face, ranked=0, rounds=0)
    for name in ("distance", "mse"):
        assert value(found["nearer_to_the_cartoon"][name]) == 1 and value(copied["nearer_to_the_cartoon"][name]) == 0
    assert "rank" not in copied


def test_another_s_cartoon_is_not_the_right_one(people, mean_face):
    few = people.first(8)
    other = rendered({name: value.roll(1) for name, value in few.factors.items()}, style="cartoon")
    found = measure_toonify(other.images, few, looked_up(few, other), mean_face=mean_face, ranked=8, rounds=0)
    assert value(found["rank"]["output"]) < 0.5
    assert abs(value(found["factors_kept"]["yaw"]["output"])) < 0.8
    assert value(found["distance"]["whole"]["output"]) > 0 and "share_of_inversion" not in found["rank"]["output"]


# ---- label maps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("helen", [False, True])
def test_labels_of_the_truth_and_of_one_face_for_all(people, judges, helen):
    found = measure_labels(people.images, people, judges, helen=helen, inverted=people.images, rounds=20)
    assert value(found["accuracy"]) == value(found["miou"]) == value(found["miou_over_renders"]) == 1
    assert value(found["miou"]["share_of_inversion"]) == 1 and set(found["iou"].values()) == {1.0}
    assert {"0-15", "30-40", "serious", "smiling"} <= set(found["by"])
    one = people.images[:1].expand_as(people.images)
    found = measure_labels(one, people, judges, helen=helen, inverted=people.images, rounds=20)
    labels = to_helen(people.labels) if helen else people.labels
    assert value(found["accuracy"]) == pytest.approx(float((labels == labels[:1]).float().mean()))
    assert value(found["miou"]["share_of_inversion"]) < 0.7
    skin = (labels == 1).float()
    expected = (skin * skin[:1]).sum() / torch.maximum(skin, skin[:1].expand_as(skin)).sum()
    assert found["iou"]["skin"] == pytest.approx(float(expected), rel=1e-5)


def test_parts_are_erased(people):
    def make(generator):
        return TASKS["strokes"].source.make(people.images[:4], people.labels[:4], generator=generator, train=False)

    whole, erased = make(torch.Generator().manual_seed(3)), with_parts_erased(make, seed=3)
    gone = whole != erased
    assert (erased[gone] == 1).all() and all(g.any() for g in gone)
    assert torch.equal(erased, with_parts_erased(make, seed=3))


# ---- super-resolution ------------------------------------------------------------------------------------------------


def test_super_resolution_of_an_oracle_and_of_bicubic(people, judges, mean_face):
    images = people.images
    nearly = (images + 0.002).clamp(-1, 1)
    options = {"mean_face": mean_face, "inverted": nearly, "factors": (4, 32), "rounds": 5}
    found = measure_super_resolution(InOrder(nearly), people, judges, **options)
    assert set(found["factors"]) == {"4", "32"}
    for row in found["factors"].values():
        assert value(row["output"]["within_epsilon"]) == 1 and value(row["output"]["psnr"]) > 55
        assert value(row["output"]["lpips"]["share_of_inversion"]) == pytest.approx(1)
        assert row["output_less"]["bicubic"]["lpips"]["hi"] < 0 < row["output_less"]["nearest"]["similarity"]["lo"]
    bicubic = torch.cat([enlarged(shrunk(images, f), 64, "bicubic") for f in (4, 32)])
    found = measure_super_resolution(InOrder(bicubic), people, judges, **options)
    for row in found["factors"].values():
        assert {value(score) for score in row["output_less"]["bicubic"].values()} == {0}
    found = measure_super_resolution(InOrder(mean_face[None]), people, judges, **options)
    assert value(found["factors"]["4"]["output"]["lpips"]["share_of_inversion"]) == pytest.approx(0, abs=1e-6)
    assert value(found["factors"]["4"]["output"]["within_epsilon"]) == 0


def test_the_encoder_sees_what_was_shrunk(people, judges, mean_face):
    seen = []
    measure_super_resolution(
        lambda x: seen.append(x) or x, people.first(2), judges, mean_face=mean_face, factors=(8,), rounds=0
    )
    torch.testing.assert_close(seen[0], low_resolution(people.images[:2], [8, 8]))


def test_optimisation_meets_the_downscaling_loss():
    torch.manual_seed(0)
    generator = Generator(32, style_dim=8, n_mlp=1, channels={4: 8, 8: 8, 16: 8, 32: 8}, noise=False)
    generator.latent_avg = generator.mean_latent(64)
    with torch.no_grad():
        hidden = generator.synthesize(torch.randn(2, 8) * 2).clamp(-1, 1)
    small = shrunk(hidden, 4)
    start = generator.synthesize(generator.latent_avg[None]).detach().clamp(-1, 1).expand(2, -1, -1, -1)
    found, codes = optimised(generator, small, 4, steps=60)
    before, after = ((shrunk(x, 4) - small).square().mean() for x in (start, found))
    assert after < 0.2 * before and codes.shape == (2, 8, 8)
    assert (shrunk(optimised(generator, small, 4, start=codes, steps=1)[0], 4) - small).square().mean() <= after * 1.01


# ---- inpainting ------------------------------------------------------------------------------------------------------


def test_inpainting_of_an_oracle_and_of_the_mean_face(people, judges, mean_face):
    options = {"mean_face": mean_face, "inverted": people.images, "rounds": 20}
    found = measure_inpainting(InOrder(people.images), people, judges, **options)
    assert set(found) == {"triangle", "moved", "free"}
    for row in found.values():
        assert value(row["inside"]["output"]["mse"]) == value(row["outside"]["mse"]) == 0
        assert value(row["inside"]["output"]["lpips"]["share_of_inversion"]) == 1
        assert row["output_less"]["OpenCV (Telea)"]["lpips"]["hi"] < 0
        assert 0.05 < value(row["hole"]) < 0.35
    found = measure_inpainting(InOrder(mean_face[None]), people, judges, kinds=("triangle",), **options)["triangle"]
    assert value(found["inside"]["output"]["lpips"]["share_of_inversion"]) == pytest.approx(0, abs=1e-6)
    assert value(found["outside"]["mse"]) > 0


def test_fills_leave_the_rest_alone():
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    holes = random_holes(["moved", "free", "triangle"], 32, generator=torch.Generator().manual_seed(1))[:, None]
    filled = mean_filled(images, holes)
    assert torch.equal(torch.where(holes, 0, filled), torch.where(holes, 0, images))
    known = images[0][:, ~holes[0, 0]].mean(dim=1)
    torch.testing.assert_close(filled[0][:, holes[0, 0]], known[:, None].expand(-1, int(holes[0].sum())))
    flat = torch.full((3, 3, 32, 32), 9 / 255)
    for method in ("telea", "navier-stokes"):
        assert (
            opencv_filled(torch.where(holes, -1.0, flat), holes, method=method) - flat
        ).abs().max() <= 3.01 / 127.5  # Telea drifts by three levels


# ---- several answers, interpolation, local editing -------------------------------------------------------------------


def test_several_answers(people, judges):
    model, few = tiny_psp().eval(), people.first(3)
    options = {"task": TASKS["sketch"], "n": 3, "alphas": (0.0, 1.0), "rounds": 0}
    found = several.measure_answers(model, few.images, few, judges, **options)
    assert list(found["by_first"]) == [str(i) for i in range(11)] and found["layers_of_by_alpha"] == [7, 8, 9]
    assert value(found["by_first"]["10"]["diversity"]) == value(found["by_alpha"]["0.0"]["diversity"]) == 0
    assert found["by_alpha"]["1.0"] == found["by_first"]["7"]
    assert value(found["by_first"]["0"]["diversity"]) > value(found["by_first"]["9"]["diversity"]) > 0
    assert found["task_first"] == 7
    pictures = torch.stack([torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), torch.ones(2, 3, 8, 8)], dim=1)
    assert several.diversity(pictures, judges).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_steps_of_a_blend_and_of_a_jump(people, judges):
    def jump(a, b, weight):
        return a if weight < 0.5 else b

    found = measure_interpolation({"blend": blended, "jump": jump}, people.images[:5], judges, steps=8, rounds=0)
    # a squared distance: eight steps of 1/8 each are 8 / 64 of the whole way
    assert value(found["blend"]["evenness"]) == pytest.approx(1, rel=1e-3)
    assert value(found["blend"]["length"]) == pytest.approx(1 / 8, rel=1e-3)
    assert value(found["jump"]["evenness"]) == pytest.approx(8) and value(found["jump"]["length"]) == 1
    assert value(found["blend"]["sharpness_half_way"]) < 1


def test_leakage_of_local_and_of_global_edits(people):
    before = people.where(people.factors["glasses"] == 0)
    after = before.rendered(glasses="round")
    judges = looked_up(before, after)
    where = local_editing.region(before, after)
    local = torch.where(where, after.images, before.images)
    found = local_editing.scores((before.images, local), (before, after), judges, wanted="eye_g", rounds=0)
    assert value(found["leakage"]) == 0 and value(found["wanted_iou"]) > 0.95 and value(found["change_inside"]) > 0
    assert value(found["distance_to_truth"]["raw_less_composited"]) == 0
    brighter = before.images + 0.002
    found = local_editing.scores((before.images, brighter), (before, after), judges, wanted="eye_g", rounds=0)
    assert value(found["leakage"]) == pytest.approx(1, rel=1e-3) and value(found["wanted_iou"]) == 0
    edits = {"glasses": local_editing.EDITS["glasses"]}
    found = local_editing.measure_local_editing(lambda x: x, lambda p: p.images, people, judges, edits=edits, rounds=0)
    assert found["glasses"]["people"] == len(before) and value(found["glasses"]["wanted_iou"]) == 1


def test_what_is_recalled(people, judges):
    found = local_editing.recalled(people.images, people, judges, rounds=0)
    assert value(found["ear_r"]) == 1 and value(found["mse_background"]) == value(found["mse_head"]) == 0
    bare = rendered(edit(people.factors, earring_left="none", earring_right="none"))
    found = local_editing.recalled(bare.images, people, looked_up(bare), rounds=0)
    assert value(found["ear_r"]) == 0 and value(found["mse_head"]) > 0


# ---- all of them -----------------------------------------------------------------------------------------------------


def test_every_task_has_its_measure():
    assert set(TASKS) == set(applications.MEASURES)


@pytest.mark.parametrize(
    "name",
    [
        "inversion",
        "frontalization",
        "strokes",
        "segmentation_helen",
        "super_resolution",
        "inpainting_random",
        "toonify_pairs",
    ],
)
def test_a_model_is_measured(people, judges, name, monkeypatch):
    for constant in ("PEOPLE_OF_ANSWERS", "PEOPLE_OF_OPTIMISATION", "PEOPLE_OF_PATHS"):
        monkeypatch.setattr(applications, constant, 2)
    monkeypatch.setattr(applications, "measure_answers", functools.partial(several.measure_answers, n=2, alphas=(0.5,)))
    quick = functools.partial(measure_super_resolution, steps=1, factors=(8,))
    monkeypatch.setattr(applications, "measure_super_resolution", quick)
    model = tiny_psp(in_channels=TASKS[name].in_channels).eval()
    case = Case(model, TASKS[name], people.first(2), judges, inversion=tiny_psp().eval(), rounds=0)
    found = measure_application(case)
    assert found
    json.dumps(finite(found), allow_nan=False)
