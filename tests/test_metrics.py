"""Every metric against a value known from elsewhere: closed forms, other implementations, extreme cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pspnb.measure import metrics


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_frechet_of_two_gaussians_is_the_closed_form() -> None:
    """Independent axes: sum of (mu - nu)^2 + (s - t)^2."""
    n = 200_000
    sigma, tau = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([1.5, 1.0, 0.5])
    a = torch.randn(n, 3, generator=gen(1)) * sigma
    b = torch.randn(n, 3, generator=gen(2)) * tau + torch.tensor([1.0, 0.0, -2.0])
    expected = 1 + 4 + float((sigma - tau).square().sum())
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=0.02)


def test_frechet_equals_scipy_and_is_symmetric() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    mix = torch.randn(6, 6, generator=gen(3))
    a, b = torch.randn(500, 6, generator=gen(4)) @ mix, torch.randn(400, 6, generator=gen(5)) + 0.3
    ca, cb = torch.cov(a.double().T), torch.cov(b.double().T)
    root = torch.from_numpy(linalg.sqrtm((ca @ cb).numpy()).real)
    expected = (a.double().mean(0) - b.double().mean(0)).square().sum() + (ca + cb - 2 * root).trace()
    assert metrics.frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)
    assert metrics.frechet_distance(b, a) == pytest.approx(float(expected), rel=1e-6)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_survives_constant_features() -> None:
    a = torch.zeros(50, 4)
    a[:, 0] = torch.randn(50, generator=gen())
    assert math.isfinite(metrics.frechet_distance(a, a.clone()))


def test_precision_and_recall_tell_dropped_modes_from_bad_samples() -> None:
    two_modes = torch.randn(400, 2, generator=gen(1)) + torch.tensor([[0.0, 0.0], [50.0, 0.0]]).repeat(200, 1)
    one_mode = torch.randn(400, 2, generator=gen(2))
    precision, recall = metrics.precision_recall(two_modes, one_mode)
    assert precision > 0.9 and 0.3 < recall < 0.6
    precision, recall = metrics.precision_recall(one_mode, two_modes)
    assert 0.3 < precision < 0.6 and recall > 0.9
    assert metrics.precision_recall(one_mode, one_mode + 1000) == (0.0, 0.0)


def test_psnr_and_ssim_know_the_truth() -> None:
    x = torch.rand(3, 3, 32, 32, generator=gen()) * 1.6 - 0.8
    assert metrics.psnr(x, x + 0.1).tolist() == pytest.approx([20 * math.log10(2 / 0.1)] * 3, rel=1e-4)
    same, off = metrics.ssim(x, x), metrics.ssim(x, -x)
    assert same.tolist() == pytest.approx([1.0] * 3, abs=1e-4) and bool((off < 0.2).all())


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        mean, low, high = metrics.bootstrap_interval(torch.randn(80, generator=gen(seed)), rounds=300, seed=seed)
        assert low < mean < high
        hits += low <= 0 <= high
    assert 49 <= hits <= 60


def test_confusion_and_iou_by_hand() -> None:
    truth = torch.tensor([[0, 0, 1], [1, 2, 2]])
    predicted = torch.tensor([[0, 1, 1], [1, 2, 0]])
    counts = metrics.confusion(predicted, truth, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    iou = metrics.class_iou(counts)
    assert iou[:3].tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 2]) and bool(iou[3].isnan())


def test_verification_extremes() -> None:
    same = torch.tensor([True] * 50 + [False] * 2000)
    perfect = torch.where(same, 0.9, 0.1)
    assert metrics.verification(perfect, same) == {"accuracy": 1.0, "tar": 1.0}
    blind = metrics.verification(torch.rand(2050, generator=gen()), same)
    assert blind["accuracy"] < 0.65 and blind["tar"] < 0.1


def test_spearman_equals_scipy_with_ties() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = (torch.randint(0, 6, (40,), generator=gen(i)).float() for i in (1, 2))
    assert metrics.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-9)


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=30, unique=True))
@settings(max_examples=40, deadline=None)
def test_spearman_of_a_rising_function_is_one(values: list[int]) -> None:
    v = torch.tensor(values, dtype=torch.float64)
    assert metrics.spearman(v, v * 2 + 1) == pytest.approx(1)
    assert metrics.spearman(v, -v) == pytest.approx(-1)
