"""Numbers that judge images, features and classifications, one function each. Chapters: "The world of Facets", "Ablations"."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def frechet_distance(a: Float[Tensor, " n f"], b: Float[Tensor, " m f"]) -> float:
    """Frechet distance between two Gaussians fitted to two sets of features (Heusel et al. 2017).

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in float64. Biased upwards for few samples: compare sets of the same
    sizes only.
    """
    a, b = a.double(), b.double()
    mean = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # C_a C_b and root_a C_b root_a share their eigenvalues, and the second is symmetric.
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    return float((mean + cov_a.trace() + cov_b.trace() - 2 * cross).clamp(min=0))


def precision_recall(real: Float[Tensor, " n f"], fake: Float[Tensor, " m f"], *, k: int = 3) -> tuple[float, float]:
    """Share of fakes within the real manifold, and of reals within the fake one (Kynkaanniemi et al. 2019).

    A manifold is the union of balls around its samples that reach to their `k`-th nearest neighbour.
    """
    recalled, precise = covered(fake, real, k=k), covered(real, fake, k=k)
    return float(precise.double().mean()), float(recalled.double().mean())


def covered(manifold: Float[Tensor, " n f"], points: Float[Tensor, " m f"], *, k: int = 3) -> Bool[Tensor, " m"]:
    """Which `points` lie in a ball around a sample of the manifold that reaches to its `k`-th nearest neighbour."""
    manifold, points = manifold.double(), points.double()
    radii = torch.cat([torch.cdist(part, manifold).kthvalue(k + 1, dim=1).values for part in manifold.split(1024)])
    return torch.cat([(torch.cdist(part, manifold) <= radii).any(dim=1) for part in points.split(1024)])


def psnr(x: Float[Tensor, " b 3 h w"], y: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of each pair in dB, images in [-1, 1] (peak 2), clamped."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    x, y = x.clamp(-1, 1), y.clamp(-1, 1)
    return peak_signal_noise_ratio(x, y, data_range=(-1.0, 1.0), reduction="none", dim=(1, 2, 3))


def ssim(x: Float[Tensor, " b 3 h w"], y: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b"]:
    """Structural similarity of each pair (Gaussian window of 11, sigma 1.5), images in [-1, 1], clamped."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    # SSIM compares means by their ratio, so it is defined on brightness from 0, not on [-1, 1].
    x, y = (x.clamp(-1, 1) + 1) / 2, (y.clamp(-1, 1) + 1) / 2
    values = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)  # a pair only when the full maps are asked for
    return values.reshape(len(x))


def bootstrap_interval(
    values: Float[Tensor, " n"], *, level: float = 0.95, rounds: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `values` and its percentile bootstrap interval: (mean, low, high)."""
    generator = torch.Generator().manual_seed(seed)
    values = values.double()
    n, at_once = len(values), max(1, 2**22 // len(values))  # rounds at once: within 64 MB
    parts = [min(at_once, rounds - start) for start in range(0, rounds, at_once)]
    means = torch.cat([values[torch.randint(n, (part, n), generator=generator)].mean(dim=1) for part in parts])
    low, high = torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return float(values.mean()), low, high


def confusion(predicted: Int[Tensor, " *s"], truth: Int[Tensor, " *s"], n_classes: int) -> Int[Tensor, " k k"]:
    """Counts: row = true class, column = predicted class."""
    pairs = truth.flatten().long() * n_classes + predicted.flatten().long()
    return torch.bincount(pairs, minlength=n_classes**2).view(n_classes, n_classes)


def class_iou(counts: Int[Tensor, " k k"]) -> Float[Tensor, " k"]:
    """Intersection over union of each class; nan for a class that neither occurs nor is predicted."""
    hit = counts.diag().double()
    return hit / (counts.sum(0) + counts.sum(1) - counts.diag()).double()


def verification(similarity: Float[Tensor, " p"], same: Bool[Tensor, " p"], *, far: float = 1e-3) -> dict[str, float]:
    """Accuracy at the best threshold, and the share of same-person pairs accepted when `far` of the others are (TAR@FAR)."""
    similarity = similarity.double()
    own, other = similarity[same], similarity[~same]
    threshold = (
        torch.quantile(other, 1 - far)
        if len(other) < 10_000_000
        else other.kthvalue(int(len(other) * (1 - far))).values
    )
    order = similarity.argsort(descending=True)
    hits, misses = same[order].cumsum(0), (~same[order]).cumsum(0)
    balanced = (hits / len(own) + (len(other) - misses) / len(other)) / 2
    return {"accuracy": float(balanced.max()), "tar": float((own > threshold).double().mean())}


def spearman(a: Float[Tensor, " n"] | Sequence[float], b: Float[Tensor, " n"] | Sequence[float]) -> float:
    """Rank correlation; ties take their mean rank."""
    ra, rb = (_ranks(torch.as_tensor(v, dtype=torch.float64)) for v in (a, b))
    ra, rb = ra - ra.mean(), rb - rb.mean()
    return float((ra * rb).sum() / (ra.square().sum() * rb.square().sum()).sqrt())


def _ranks(v: Tensor) -> Tensor:
    below = (v[None, :] < v[:, None]).sum(1).double()
    equal = (v[None, :] == v[:, None]).sum(1).double()
    return below + (equal - 1) / 2
