"""Judging a generator: each number on a case whose answer is known, and the whole report on a tiny scale."""

import pytest
import torch

from pspnb.measure import populations, styles
from pspnb.measure.answer_key import draw_z, synthesize
from pspnb.models import zoo
from pspnb.nn.instruments import FactorNet, ParsingNet
from pspnb.nn.stylegan2 import Generator
from pspnb.training.arrays import FacetsArrays, render_arrays, to_unit
from pspnb.training.factor_targets import HEADS, RANGES
from pspnb.world2 import identity_of, sample_factors

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 8, 64: 8}


@pytest.fixture(scope="module")
def data() -> FacetsArrays:
    return render_arrays(sample_factors("train", range(64)), identity_of("train", range(64)), 64)


@pytest.fixture(scope="module")
def networks() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    generator = Generator(64, style_dim=16, n_mlp=2, channels=CHANNELS, noise=False)
    return {
        "generator": generator,
        "factors": FactorNet(heads=HEADS, ranges=RANGES).eval(),
        "parsing": ParsingNet().eval(),
    }


def test_samples_are_the_same_for_a_seed_whatever_their_number(networks) -> None:
    g = networks["generator"]
    a, b = (draw_z(g, 3, seed=seed) for seed in (1, 2))
    assert torch.equal(a, draw_z(g, 3, seed=1)) and not torch.equal(a, b)
    images = synthesize(g, g.map(a))
    torch.testing.assert_close(images[:1], synthesize(g, g.map(a[:1])), atol=1e-5, rtol=0)
    assert float(images.abs().max()) <= 1


def test_swapping_every_style_changes_everything_and_none_nothing(networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "STYLE_GROUPS", {"all": range(10), "none": range(0)})
    shares = styles.style_shares(networks["generator"], networks["factors"], pairs=16)
    for kind in ("pose", "shape", "colour"):
        assert shares["none"][kind] == 0
    assert shares["all"]["pose"] == pytest.approx(1, abs=1e-4)


def test_only_factors_that_the_instrument_reads_are_asked() -> None:
    """A share of a difference that is noise of the instrument would be a number without a meaning."""
    read = zoo.card("facets64/factors")["metrics"]
    for names in styles.FACTOR_GROUPS.values():
        for name in names:
            assert read.get(f"r2_{name}", read.get(f"accuracy_{name}")) > 0.7, name


def test_the_nearest_training_image_of_a_training_image_is_itself(data: FacetsArrays) -> None:
    queries = (to_unit(data.images[[5, 40, 63]]) + 0.05).clamp(-1, 1)
    assert populations.nearest_training_images(queries, data).tolist() == [5, 40, 63]


def test_label_shares_add_up(networks, data: FacetsArrays) -> None:
    shares = populations.label_shares(networks["parsing"], to_unit(data.images[:8]))
    assert shares.shape == (19,) and float(shares.sum()) == pytest.approx(1)
