"""Muon against the singular value decomposition; a generator in a wider w."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from pspnb.nn.stylegan2 import Generator
from pspnb.training.imitation import ImitationConfig, build_generator
from pspnb.training.muon import ROOT_MEAN_SQUARE, Muon, orthogonalised
from pspnb.training.optimizers import build_optimizers, matrices, set_rate
from pspnb.training.widen import widened


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (24, 24), (3, 200)])
def test_orthogonalised_keeps_singular_vectors_and_evens_singular_values(shape: tuple[int, int]) -> None:
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    g *= torch.linspace(1, 3, shape[1])
    u, s, v = torch.linalg.svd(g, full_matrices=False)
    inside = u.T @ orthogonalised(g[None])[0] @ v.T
    gains = inside.diagonal()
    assert s.max() / s.min() > 1.15  # there is something to even out
    assert gains.min() > 0.6 and gains.max() < 1.25
    assert (inside - gains.diag()).abs().max() < 0.05  # bfloat16


def test_nothing_stays_nothing() -> None:
    assert (orthogonalised(torch.zeros(1, 4, 6)) == 0).all()


def test_a_step_has_the_size_of_the_rate_whatever_the_gradient() -> None:
    for scale in (1e-6, 1e3):
        p = nn.Parameter(torch.zeros(1, 8, 32, 3, 3))
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) * scale
        Muon([p], lr=0.1).step()
        size = p.detach().pow(2).mean().sqrt()
        # eight orthonormal rows of 288: root mean square 1 / sqrt(288), scaled by sqrt(288)
        assert size == pytest.approx(0.1 * ROOT_MEAN_SQUARE, rel=0.2)


def test_weights_of_one_shape_move_as_if_alone() -> None:
    def moved(which: list[int]) -> list[torch.Tensor]:
        weights = [nn.Parameter(torch.zeros(6, 4, 3, 3) if k < 3 else torch.zeros(6, 36)) for k in range(4)]
        for k, p in enumerate(weights):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k)) * 10.0**k
        Muon([weights[k] for k in which], lr=1.0).step()
        return [weights[k].detach().clone() for k in which]

    together = moved([0, 1, 2, 3])
    assert (together[0] - together[1]).abs().max() > 0.1  # they do differ
    for k in range(4):
        torch.testing.assert_close(together[k], moved([k])[0], atol=1e-6, rtol=1e-3)


def test_nesterov_momentum_by_hand() -> None:
    p = nn.Parameter(torch.zeros(4, 4))
    optimizer, average, expected = Muon([p], lr=1.0, momentum=0.9), torch.zeros(4, 4), torch.zeros(4, 4)
    for k in range(3):
        g = torch.randn(4, 4, generator=torch.Generator().manual_seed(k))
        p.grad = g
        optimizer.step()
        average = 0.9 * average + 0.1 * g
        expected = expected - 0.4 * orthogonalised((0.1 * g + 0.9 * average)[None])[0]
    torch.testing.assert_close(p.detach(), expected, atol=2e-3, rtol=2e-2)


def test_it_learns_a_map() -> None:
    random = torch.Generator().manual_seed(3)
    x, true = torch.randn(256, 32, generator=random), torch.randn(32, 32, generator=random) / 6
    weight = nn.Parameter(torch.zeros(32, 32))
    optimizer, losses = Muon([weight], lr=0.1), []
    for k in range(60):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - k / 60)
        optimizer.zero_grad()
        loss = (x @ weight.T - x @ true.T).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_it_goes_on_where_it_was_saved() -> None:
    def run(steps: range, p: nn.Parameter, optimizer: Muon) -> None:
        for k in steps:
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
            optimizer.step()

    p = nn.Parameter(torch.ones(6, 9))
    whole = Muon([p], lr=0.1)
    run(range(2), p, whole)
    q = nn.Parameter(p.detach().clone())
    later = Muon([q], lr=0.5)
    later.load_state_dict(deepcopy(whole.state_dict()))
    run(range(2, 4), p, whole)
    run(range(2, 4), q, later)
    assert torch.equal(p, q)


@pytest.mark.parametrize("shape", [(7,), (1, 5, 3, 3), (1,), (1, 1, 6, 3, 3)])
def test_vectors_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="matrices of two rows"):
        Muon([nn.Parameter(torch.zeros(shape))], lr=0.1)


TINY = ImitationConfig(style_dim=16, hidden=16, n_mlp=2, channels=tuple((r, 8) for r in (4, 8, 16, 32, 64)))


@pytest.mark.parametrize("name", ["muon", "adam", "ranger"])
def test_every_parameter_of_a_generator_has_one_optimizer(name: str) -> None:
    generator = build_generator(TINY)
    names = {id(p): n for n, p in generator.named_parameters()}
    moved = [
        [names[id(p)] for g in o.param_groups for p in g["params"]] for o in build_optimizers([generator], name, 0.1)
    ]
    assert sorted(n for part in moved for n in part) == sorted(names.values())


def test_muon_moves_matrices() -> None:
    generator = build_generator(TINY)
    of = {id(p): n for n, p in generator.named_parameters()}
    found = {of[id(p)] for p in matrices([generator])}
    modulated = [f"convs.{k}.conv" for k in range(8)] + ["conv1.conv"]
    assert found >= {f"{name}.{what}" for name in modulated for what in ("weight", "modulation.weight")}
    assert found >= {"style.layers.0.weight", "to_rgbs.2.conv.modulation.weight"}
    assert not {"input.input", "to_rgb1.conv.weight", "to_rgb1.bias", "style.layers.0.bias"} & found


def test_frozen_and_one_row_weights_are_not_matrices() -> None:
    frozen, row, pixel = nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 1), nn.Conv2d(3, 3, 1)
    norm, wide, channel = nn.BatchNorm2d(4), nn.Conv2d(2, 4, 3), nn.Conv2d(5, 1, 3)
    assert matrices([frozen, row, pixel, norm, wide, channel])[0] is wide.weight
    assert len(matrices([frozen, row, pixel, norm, wide, channel])) == 1
    set_rate(optimizers := build_optimizers([row, wide], "muon", 0.1), 0.7)
    assert {g["lr"] for o in optimizers for g in o.param_groups} == {0.7}


def test_a_wider_w_makes_the_same_pictures() -> None:
    torch.manual_seed(0)
    narrow, wide = build_generator(TINY), build_generator(replace(TINY, style_dim=40))
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict()))
    z = torch.randn(3, narrow.z_dim, generator=torch.Generator().manual_seed(5))
    assert wide.map(z).shape == (3, 40)
    torch.testing.assert_close(wide(z), narrow(z), atol=1e-5, rtol=1e-5)


def test_widening_does_not_narrow_or_rebuild() -> None:
    wide, narrow = build_generator(replace(TINY, style_dim=40)).state_dict(), build_generator(TINY).state_dict()
    with pytest.raises(ValueError, match=r"expected style.layers.1.weight of shape \(16, 16\).*got \(40, 16\)"):
        widened(wide, narrow)
    shallow = build_generator(replace(TINY, hidden=12)).state_dict()
    with pytest.raises(ValueError, match="style.layers.1.weight"):
        widened({k: v for k, v in shallow.items() if k == "style.layers.1.weight"}, wide)
    other = Generator(64, style_dim=16, n_mlp=2, channels={r: 4 for r in (4, 8, 16, 32, 64)}, noise=False).state_dict()
    with pytest.raises(ValueError, match="expected "):
        widened({k: v for k, v in other.items() if k in narrow and "style" not in k}, narrow)
