"""The prior: z <-> factors, and the mapping network that reads factors."""

import pytest
import torch

from pspnb.models.prior_mapping import PriorMapping
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import TABLE, sample_factors, validate
from pspnb.world2.prior import (
    N_NUMBERS,
    PAIRED_EARRINGS,
    SLOTS,
    Z_DIM,
    category_bias,
    draw_z,
    even_choices,
    factors_of,
    numbers,
    z_of,
)

N = 100_000


@pytest.fixture(scope="module")
def drawn():
    return factors_of(draw_z(N, seed=3))


def test_every_z_is_a_valid_person(drawn):
    assert validate(drawn) == N
    assert set(drawn) == {f.name for f in TABLE}


def test_choices_have_the_frequencies_of_the_world(drawn):
    for factor in TABLE:
        if factor.kind == "categorical":
            share = torch.bincount(drawn[factor.name], minlength=len(factor.weights)).double() / N
            wanted = torch.tensor(factor.weights, dtype=torch.float64)
            deviation = (share - wanted).abs() / (wanted * (1 - wanted) / N).sqrt()
            assert float(deviation.max()) < 5, factor.name  # standard deviations


def test_continuous_factors_have_the_distributions_of_the_world(drawn):
    world = sample_factors("train", 50_000)
    for factor in TABLE:
        if factor.kind == "continuous":
            a, b = drawn[factor.name].double().sort().values, world[factor.name].double().sort().values
            at = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
            quantiles = [v[(at * (len(v) - 1)).long()] for v in (a, b)]
            gap = (quantiles[0] - quantiles[1]).abs().max() / (factor.high - factor.low)
            assert float(gap) < 0.02, factor.name


def test_earrings_come_in_pairs_as_in_the_world(drawn):
    world = sample_factors("train", 50_000)
    alike = [(f["earring_left"] == f["earring_right"]).double().mean() for f in (drawn, world)]
    assert float((alike[0] - alike[1]).abs()) < 0.01
    assert float(alike[0]) > PAIRED_EARRINGS


def test_z_of_gives_exactly_these_factors():
    factors = sample_factors("test", 1000)
    again = factors_of(z_of(factors, seed=1))
    for factor in TABLE:
        if factor.kind == "categorical":
            assert torch.equal(again[factor.name], factors[factor.name]), factor.name
        else:
            gap = (again[factor.name] - factors[factor.name]).abs()
            assert float(gap.max()) < 3e-6 * (factor.high - factor.low), factor.name


def test_z_of_is_a_function_of_its_seed_and_stays_finite():
    factors = sample_factors("test", 64)
    for factor in TABLE:
        if factor.kind == "continuous":
            factors[factor.name][:2] = torch.tensor([factor.low, factor.high])
    z = z_of(factors, seed=4)
    assert torch.equal(z, z_of(factors, seed=4)) and not torch.equal(z, z_of(factors, seed=5))
    assert torch.isfinite(z).all() and float(z.abs().max()) < 12


def test_bias_of_a_rare_choice():
    z = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    won = (z + torch.tensor(category_bias((0.9, 0.09, 0.01)), dtype=torch.float64)).argmax(1)
    share = torch.bincount(won, minlength=3).double() / len(z)
    assert torch.allclose(share, torch.tensor([0.9, 0.09, 0.01], dtype=torch.float64), atol=1e-3)


def test_slots_tile_z():
    covered = sorted((s.start, s.stop) for s in SLOTS.values())
    assert covered[0][0] == 0 and covered[-1][1] == Z_DIM
    assert all(a[1] == b[0] for a, b in zip(covered, covered[1:], strict=False))


def test_numbers_are_of_about_unit_size_and_tell_factors_apart(drawn):
    n = numbers(drawn)
    assert n.shape == (N, N_NUMBERS)
    assert float(n.std(0).min()) > 0.5 and float(n.std(0).max()) < 2
    some = {k: v[:1].clone() for k, v in drawn.items()}
    for factor in TABLE:
        other = dict(some)
        if factor.kind == "categorical":
            other[factor.name] = (some[factor.name] + 1) % len(factor.weights)
        else:
            middle = (factor.low + factor.high) / 2
            other[factor.name] = torch.where(some[factor.name] > middle, factor.low + 0.1, factor.high - 0.1)
        assert float((numbers(other) - numbers(some)).abs().max()) > 0.05, factor.name


def test_even_choices_make_rare_kinds_common():
    even = even_choices(factors_of(draw_z(20_000, seed=0)), seed=0)
    validate(even)
    share = torch.bincount(even["hat"], minlength=4).double() / 20_000
    assert float((share - 0.25).abs().max()) < 0.02


def test_a_z_of_the_wrong_width_is_refused():
    with pytest.raises(ValueError, match=rf"expected z of shape \(b, {Z_DIM}\)"):
        factors_of(torch.zeros(2, Z_DIM + 1))


def test_factors_out_of_range_are_refused_by_z_of():
    factors = sample_factors("test", 2)
    factors["yaw"] = factors["yaw"] + 100
    with pytest.raises(ValueError, match="expected 'yaw' in"):
        z_of(factors)


def small_generator() -> Generator:
    torch.manual_seed(0)
    mapping = PriorMapping(style_dim=16, hidden=24, n_mlp=3)
    return Generator(16, style_dim=16, channels={4: 8, 8: 8, 16: 8}, noise=False, mapping=mapping, z_dim=Z_DIM)


def test_a_generator_maps_factors_and_z_alike():
    g, z = small_generator(), draw_z(5, seed=2)
    factors = factors_of(z)
    assert torch.equal(g.map(z), g.map_factors(factors))
    assert torch.allclose(g.map(z_of(factors, seed=9)), g.map(z), atol=1e-4)
    g.latent_avg.copy_(g.mean_latent(256))
    half = g.map_factors(factors, truncation=0.5)
    assert torch.allclose(half, (g.map(z) + g.latent_avg) / 2, atol=1e-6)
    assert g.z_dim == Z_DIM and g.style_dim == 16


def test_a_generator_without_a_prior_knows_no_factors():
    g = Generator(16, style_dim=16, channels={4: 8, 8: 8, 16: 8}, noise=False)
    with pytest.raises(ValueError, match="taught factors"):
        g.map_factors(sample_factors("test", 1))
    with pytest.raises(ValueError, match="published mapping"):
        Generator(16, style_dim=16, channels={4: 8, 8: 8, 16: 8}, z_dim=20)


def test_a_mapping_of_another_world_is_refused():
    with pytest.raises(ValueError, match="another version of Facets"):
        PriorMapping(n_numbers=N_NUMBERS + 1)
