"""Factors: what is drawn, how, and that the draws depend on nothing but (split, index)."""

import pytest
import torch

from pspnb.world2 import (
    BY_NAME,
    FREE_FACTORS,
    IDENTITY_FACTORS,
    SPLIT_SIZES,
    TABLE,
    combine,
    edit,
    global_identity,
    identity_of,
    palettes,
    sample_factors,
    sample_free,
    sample_identity,
    validate,
)
from pspnb.world2.geometry.fields import bump, ramp, sin_turns
from pspnb.world2.geometry.shape import HAIR_TABLE, skin_colour
from pspnb.world2.hashing import mix64, uniform


def test_the_table_is_complete():
    assert len({f.name for f in TABLE}) == len(TABLE)
    assert set(IDENTITY_FACTORS).isdisjoint(FREE_FACTORS)
    for name in ("skin_tone", "hair_style", "beard", "iris", "freckles", "age"):
        assert name in IDENTITY_FACTORS
    for name in ("yaw", "pitch", "roll", "smile", "gaze_x", "light_azimuth", "glasses", "hat", "necklace"):
        assert name in FREE_FACTORS
    assert tuple(HAIR_TABLE) == BY_NAME["hair_style"].names and len(HAIR_TABLE) >= 8
    assert len(palettes.BACKGROUND_A) == len(palettes.BACKGROUND_B) == len(BY_NAME["background_palette"].names)
    assert (
        len(palettes.CLOTH_A) == len(palettes.CLOTH_B) == len(palettes.CLOTH_C) == len(BY_NAME["cloth_palette"].names)
    )
    for name, colours in (
        ("hair_colour", palettes.HAIR),
        ("iris", palettes.IRIS),
        ("metal", palettes.METAL),
        ("hat_colour", palettes.HAT),
    ):
        assert len(colours) == len(BY_NAME[name].names)


def test_draws_do_not_depend_on_the_batch():
    everything = sample_factors("train", 300)
    some = sample_factors("train", [17, 250, 3])
    for name in BY_NAME:
        assert torch.equal(everything[name][[17, 250, 3]], some[name])
        assert everything[name].dtype == (torch.float32 if BY_NAME[name].kind == "continuous" else torch.int64)


def test_draws_have_not_moved():
    """Golden numbers: a change here is another world, and every trained network belongs to the old one."""
    f = sample_factors("train", [0, 49_999])
    assert f["skin_tone"].tolist() == pytest.approx(GOLDEN["skin_tone"], abs=1e-6)
    assert f["yaw"].tolist() == pytest.approx(GOLDEN["yaw"], abs=1e-4)
    assert f["hair_style"].tolist() == GOLDEN["hair_style"]


def test_every_value_is_in_its_range_and_every_choice_occurs():
    f = sample_factors("train", 4000)
    assert validate(f) == 4000
    for factor in TABLE:
        v = f[factor.name].double()
        if factor.distribution == "uniform":
            span = factor.high - factor.low
            assert v.min() < factor.low + 0.02 * span and v.max() > factor.high - 0.02 * span
        if factor.kind == "categorical":
            share = torch.bincount(f[factor.name], minlength=len(factor.names)) / len(v)
            assert (share - torch.tensor(factor.weights)).abs().max() < 0.035, factor.name
        if factor.distribution == "often_zero":
            assert abs(float((v == 0).double().mean()) - factor.weights[0]) < 0.03


def test_skin_tone_is_uniform():
    """Kolmogorov-Smirnov against the uniform distribution: the 0.1 % critical distance is 1.95 / sqrt(n)."""
    n = 20_000
    tone = sample_identity("train", n)["skin_tone"].double().sort().values
    grid = torch.arange(1, n + 1).double() / n
    distance = torch.maximum((tone - grid).abs().max(), (tone - grid + 1 / n).abs().max())
    assert distance < 1.95 / n**0.5


def test_skin_tone_is_independent_of_everything_else():
    """Correlation with every continuous factor, and its mean in every category, stay within five standard errors."""
    n = 12_500
    person = sample_identity("train", n)
    f = combine(person, sample_free("train", n))
    tone = f["skin_tone"].double()
    for factor in TABLE:
        if factor.name == "skin_tone":
            continue
        other = f[factor.name].double()
        if factor.kind == "continuous":
            r = torch.corrcoef(torch.stack([tone, other]))[0, 1]
            assert abs(r) < 5 / n**0.5, factor.name
            continue
        for k in range(len(factor.names)):
            group = tone[other == k]
            assert abs(group.mean() - 0.5) < 5 * 12**-0.5 / len(group) ** 0.5, (factor.name, k)


def test_skin_tones_are_evenly_spaced():
    """Equal steps of the factor are equal CIELAB distances, and lightness falls all the way."""
    lab = _lab(skin_colour(torch.linspace(0, 1, 17), torch.zeros(17)).double())
    steps = (lab[1:] - lab[:-1]).norm(dim=1)
    assert steps.max() / steps.min() < 1.1
    assert (lab[1:, 0] < lab[:-1, 0]).all() and lab[0, 0] > 88 and lab[-1, 0] < 32


def test_splits_share_no_person():
    faces = (sample_identity(s, 3000) for s in SPLIT_SIZES)
    details = [set(zip(f["head_width"].tolist(), f["skin_tone"].tolist(), strict=True)) for f in faces]
    assert not (details[0] & details[1] or details[0] & details[2] or details[1] & details[2])
    ids = [set(global_identity(s, SPLIT_SIZES[s]).tolist()) for s in SPLIT_SIZES]
    assert len(ids[0] | ids[1] | ids[2]) == sum(map(len, ids))
    assert len(ids[0]) == 12_500 and len(ids[2]) == 1_000
    assert identity_of("train", [0, 3, 4]).tolist() == [0, 0, 1]


def test_images_of_one_person_share_identity_and_nothing_else():
    f = sample_factors("train", 8)
    for name in IDENTITY_FACTORS:
        assert (f[name][:4] == f[name][0]).all()
    assert len(set(f["yaw"].tolist())) == 8


def test_edit_and_errors():
    f = sample_factors(0, 3)
    assert edit(f, hat="beanie")["hat"].tolist() == [1, 1, 1]
    assert edit(f, yaw=torch.tensor([1.0, 2.0, 3.0]))["yaw"].tolist() == [1, 2, 3]
    assert f["yaw"].tolist() == sample_factors(0, 3)["yaw"].tolist()
    for changes, message in (
        ({"hat": "crown"}, "one of"), ({"nose": 1.0}, "of TABLE"), ({"pitch": 21.0}, "in .-20, 20"), ({"hat": 1.5}, "integers"),
        ({"hat": 9}, "hat"), ({"yaw": torch.zeros(2)}, "shape"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            edit(f, **changes)
    with pytest.raises(ValueError, match="split"):
        sample_factors("dev", 3)
    with pytest.raises(ValueError, match="non-negative"):
        sample_factors(0, [-1])


def test_the_hash_is_a_good_generator():
    x = uniform(1, torch.arange(100_000), 2)
    assert abs(x.mean() - 0.5) < 0.005 and abs(x.var() - 1 / 12) < 0.002
    assert abs(torch.corrcoef(torch.stack([x[1:], x[:-1]]))[0, 1]) < 0.02
    assert abs(torch.corrcoef(torch.stack([x, uniform(2, torch.arange(100_000), 2)]))[0, 1]) < 0.02
    assert mix64(torch.arange(50_000)).unique().numel() == 50_000


def test_polynomial_sine_and_ramps():
    x = torch.linspace(-3, 3, 4001)
    assert (sin_turns(x) - torch.sin(2 * torch.pi * x)).abs().max() < 0.0012
    assert ramp(x, -1.0, 1.0).min() == 0 and ramp(x, 1.0, -1.0)[0] == 1
    assert torch.equal(ramp(x, torch.tensor(-1.0), torch.tensor(1.0)) > 0.5, x > 0)
    assert bump(torch.tensor([0.0, 1.0, 2.0])).tolist() == [1, 0, 0]


def _lab(rgb: torch.Tensor) -> torch.Tensor:
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    m = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    ).double()
    xyz = linear @ m.T / m.sum(1)
    f = torch.where(xyz > 216 / 24389, xyz ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


GOLDEN = {
    "skin_tone": [0.8551609516143799, 0.5801236033439636],
    "yaw": [5.9649786949157715, 38.45575714111328],
    "hair_style": [2, 3],
}
