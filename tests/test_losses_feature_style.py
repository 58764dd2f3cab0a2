"""Equations 3, 4, 6 and 7 of the Feature-Style paper, each against a second derivation, in float64 where digits count."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pspnb.losses import (
    IdentityLoss,
    LPIPSLoss,
    MultiLayerSimilarity,
    MultiScalePerceptual,
    feature_reconstruction,
)
from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.instruments import ParsingNet, PerceptualNet


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 64, 64, generator=draw) * 2 - 1
    return a, (a + 0.1 * torch.randn(a.shape, generator=draw)).clamp(-1, 1)


def recognition() -> FaceEmbedder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return FaceEmbedder(input_size=64, units=(1,) * 4, widths=(8, 8, 8, 16, 16), embedding_dim=12).eval()


def parsing() -> ParsingNet:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return ParsingNet(widths=(8, 8, 8, 16)).eval()


def perceptual() -> PerceptualNet:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return PerceptualNet(widths=(4, 4, 8)).eval()


# ---- equation 3 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_multi_scale_is_the_sum_of_the_distance_of_smaller_pictures(pair, scales):
    net, (a, b) = perceptual(), pair
    loss = MultiScalePerceptual(net, scales=scales)
    smaller = [(a, b)] + [tuple(F.interpolate(x, scale_factor=0.5**i, mode="area") for x in pair) for i in (1, 2)]
    expected = sum(net(p, q) for p, q in smaller[:scales])
    torch.testing.assert_close(loss.distance(loss.features(a), loss.features(b)), expected)


@pytest.mark.slow
def test_multi_scale_takes_lpips_too(pair):
    """64 and 32 px; at 16 px AlexNet has nothing left, and says so."""
    net, (a, b) = LPIPSLoss(random_trunk=True), pair
    loss = MultiScalePerceptual(net, scales=2)
    expected = net.per_sample(a, b) + net.per_sample(F.avg_pool2d(a, 2), F.avg_pool2d(b, 2))
    torch.testing.assert_close(loss.distance(loss.features(a), loss.features(b)), expected)
    with pytest.raises(ValueError, match="at least 31 px"):
        MultiScalePerceptual(net, scales=3).features(a)
    with pytest.raises(ValueError, match="at least one scale, got 0"):
        MultiScalePerceptual(net, scales=0)


# ---- equations 6 and 7 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [recognition(), parsing()], ids=["identity", "parsing"])
def test_multi_layer_sums_five_cosines(pair, net):
    loss, (a, b) = MultiLayerSimilarity(net), pair
    taps = list(zip(net.double().taps(a.double()), net.taps(b.double()), strict=True))
    assert len(taps) == 5
    expected = sum(1 - F.cosine_similarity(p.flatten(1), q.flatten(1)) for p, q in taps)
    net.float()
    found = loss.distance(loss.features(a), loss.features(b))
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-4)


def test_taps_of_the_recognition_network(pair):
    """Four stages, each half as large, and the embedding that the network normalises."""
    net, (a, _) = recognition(), pair
    *maps, last = net.taps(a)
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4]
    torch.testing.assert_close(net(a), last / last.norm(dim=1, keepdim=True))


def test_taps_of_the_parsing_network(pair):
    net, (a, _) = parsing(), pair
    *maps, last = net.taps(a)
    assert [m.shape[-1] for m in maps] == [64, 32, 16, 8] and torch.equal(last, net(a))


def test_small_differences_of_large_maps_survive_float32():
    """Two maps of a million numbers, nearly alike: 1 - <a, b> is 5e-7, and a float32 cosine misses it by more than it is."""

    class Given(nn.Module):
        def taps(self, x):
            return [x]

    draw = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 600, 600, generator=draw) + 1
    b = a + 1.5e-3 * torch.randn(a.shape, generator=draw)
    true = 1 - F.cosine_similarity(a.double().flatten(1), b.double().flatten(1))
    loss = MultiLayerSimilarity(Given())
    found = loss.distance(loss.features(a), loss.features(b)).double()
    torch.testing.assert_close(found, true, rtol=1e-4, atol=0)
    usual = 1 - F.cosine_similarity(a.flatten(1), b.flatten(1))
    assert ((usual - true).abs() > true).any()
    assert torch.equal(loss.distance(loss.features(a), loss.features(a)), torch.zeros(2))


def test_gradient_of_the_cosine(pair):
    """Against autograd through the textbook form, in float64."""
    net, (a, b) = parsing().double(), pair
    loss = MultiLayerSimilarity(net)
    x = a.double().requires_grad_()
    (found,) = torch.autograd.grad(loss.distance(loss.features(x), loss.features(b.double())).sum(), x)
    taps = zip(net.taps(x), net.taps(b.double()), strict=True)
    textbook = sum(1 - F.cosine_similarity(p.flatten(1), q.flatten(1)) for p, q in taps)
    (expected,) = torch.autograd.grad(textbook.sum(), x)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-6)


def test_identity_reads_what_its_preparation_gives(pair):
    net, (a, _) = recognition(), pair
    crop = IdentityLoss(net).prepare
    loss = MultiLayerSimilarity(net, prepare=crop)
    expected = [F.normalize(tap.flatten(1), dim=1) for tap in net.taps(crop(a))]
    for found, wanted in zip(loss.features(a), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("make", [lambda: MultiScalePerceptual(perceptual()), lambda: MultiLayerSimilarity(parsing())])
def test_networks_are_frozen_under_a_training_parent(make):
    loss = make()
    nn.ModuleList([loss]).train()
    assert not loss.net.training and not any(p.requires_grad for p in loss.parameters())


# ---- equation 4 --------------------------------------------------------------------------------------------------------------


def test_feature_reconstruction_and_who_gets_its_gradient():
    draw = torch.Generator().manual_seed(0)
    feature, own = (torch.randn(2, 3, 4, 4, generator=draw).requires_grad_() for _ in range(2))
    mean, total = (feature_reconstruction(feature, own, reduction=r) for r in ("mean", "sum"))
    torch.testing.assert_close(total, torch.stack([(f - o).norm() ** 2 for f, o in zip(feature, own, strict=True)]))
    torch.testing.assert_close(total, mean * 48)
    relative = feature_reconstruction(7 * feature, 7 * own, reduction="relative")
    torch.testing.assert_close(relative, torch.stack([m / o.square().mean() for m, o in zip(mean, own, strict=True)]))
    only_f = torch.autograd.grad(mean.sum(), (feature, own), allow_unused=True)
    assert only_f[0] is not None and only_f[1] is None
    both = torch.autograd.grad(feature_reconstruction(feature, own, gradient_into_codes=True).sum(), (feature, own))
    torch.testing.assert_close(both[0], -both[1])
    torch.testing.assert_close(both[0], only_f[0])
