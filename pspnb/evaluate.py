"""Judging a generator of Facets with the instruments: `evaluate_generator` writes metrics.json and the pictures beside it.

`python -m pspnb.evaluate --out book/results/generator`. Chapters: "StyleGAN2 from the inside", "The world of Facets".
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.facets import CLASSES
from pspnb.metrics import bootstrap_interval, frechet_distance, precision_recall
from pspnb.nn.instruments import FactorNet, ParsingNet, PlainEmbedder
from pspnb.nn.stylegan2 import Generator
from pspnb.training.arrays import FacetsArrays, split_arrays, to_unit
from pspnb.training.export import add_metrics, commit, hardware
from pspnb.training.png import grid, write_png

BATCH = 100
STYLE_GROUPS = {"coarse": range(0, 3), "middle": range(3, 7), "fine": range(7, 10)}
# Factors that the `factors` instrument reads well (R2 or accuracy of its card above .7). The geometry of a head is not
# among them: over its whole range it moves an outline of a 64 px picture by a pixel or two.
FACTOR_GROUPS: dict[str, tuple[str, ...]] = {
    "pose": ("yaw", "pitch", "roll"),
    "shape": ("hair_style", "glasses", "hat", "beard", "smile", "mouth_open", "collar"),
    "colour": ("skin_tone", "lip_tint", "hair_colour", "background_palette", "cloth_palette"),
}


@torch.no_grad()
def sample_images(generator: Generator, n: int, *, seed: int, truncation: float = 1.0) -> Float[Tensor, "n 3 H H"]:
    """`n` images from z drawn from `seed`, clamped to [-1, 1]."""
    random = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, n, BATCH):
        z = torch.randn(min(BATCH, n - start), generator.style_dim, generator=random)
        parts.append(generator(z, truncation=truncation).clamp(-1, 1))
    return torch.cat(parts)


@torch.no_grad()
def _map(f: Any, images: Tensor) -> Tensor:
    return torch.cat([f(part) for part in images.split(BATCH)])


def distances(
    fake: Float[Tensor, "n f"], reference: Float[Tensor, "m f"], test: Float[Tensor, "t f"], other: Float[Tensor, "m f"]
) -> dict[str, float]:
    """Frechet distances and precision/recall of one set of features, beside what real images reach.

    The distance is biased by the number of samples, so each is given with its floor at the same numbers: halves of the test set
    (t / 2 each), and two disjoint sets of m training images.
    """
    m, half = len(reference), len(test) // 2
    precision, recall = precision_recall(reference, fake[:m])
    real_precision, real_recall = precision_recall(reference, other)
    return {
        "frechet_all_samples": frechet_distance(fake, reference),
        "frechet": frechet_distance(fake[:m], reference),
        "frechet_floor": frechet_distance(other, reference),
        "frechet_half_test": frechet_distance(fake[:half], test[half:]),
        "frechet_half_test_floor": frechet_distance(test[:half], test[half:]),
        "precision": precision,
        "recall": recall,
        "precision_of_real": real_precision,
        "recall_of_real": real_recall,
    }


def label_shares(parsing: ParsingNet, images: Float[Tensor, "n 3 H H"]) -> Float[Tensor, "k"]:
    """Mean share of the pixels that the parsing instrument gives to each class."""
    labels = _map(parsing.labels, images)
    return torch.bincount(labels.flatten(), minlength=parsing.n_classes).double() / labels.numel()


@torch.no_grad()
def style_shares(
    generator: Generator, factors: FactorNet, *, pairs: int = 500, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What swapping a group of styles changes: group -> {pose, shape, colour: share of the difference between the two images}.

    For pairs (a, b): a's styles with one group from b. Continuous factors: sum of |f(mixed) - f(a)| over sum of |f(b) - f(a)|;
    categorical ones: changed among those that differ. All read by the `factors` instrument. 1 = as much as swapping everything.
    """
    random = torch.Generator().manual_seed(seed)
    out: dict[str, dict[str, float]] = {}
    w = generator.to_w_plus(generator.map(torch.randn(2 * pairs, generator.style_dim, generator=random)))
    a, b = w[:pairs], w[pairs:]
    read_a, read_b = (_read(generator, factors, codes) for codes in (a, b))
    for group, layers in STYLE_GROUPS.items():
        mixed = a.clone()
        mixed[:, list(layers)] = b[:, list(layers)]
        read_m = _read(generator, factors, mixed)
        out[group] = {}
        for kind, names in FACTOR_GROUPS.items():
            shares = [share for n in names if (share := _share(read_a[n], read_b[n], read_m[n])) is not None]
            out[group][kind] = sum(shares) / max(len(shares), 1)
    return out


def _read(generator: Generator, factors: FactorNet, codes: Tensor) -> dict[str, Tensor]:
    parts = [factors.predict(generator.synthesize(part).clamp(-1, 1)) for part in codes.split(BATCH)]
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def _share(a: Tensor, b: Tensor, mixed: Tensor) -> float | None:
    """None when the two images never differ."""
    if a.is_floating_point():
        return float((mixed - a).abs().sum() / (b - a).abs().sum().clamp(min=1e-9))
    differ = a != b
    return float((mixed[differ] != a[differ]).double().mean()) if bool(differ.any()) else None


def nearest_training_images(images: Float[Tensor, "n 3 H H"], train: FacetsArrays) -> Tensor:
    """Index of the training image nearest to each image: Euclidean, over pixels at half size."""
    queries = F.avg_pool2d(images, 2).flatten(1)
    best, where = torch.full((len(images),), float("inf")), torch.zeros(len(images), dtype=torch.int64)
    for start in range(0, len(train), 2000):
        block = F.avg_pool2d(to_unit(train.images[start : start + 2000]), 2).flatten(1)
        distance, index = torch.cdist(queries, block).min(dim=1)
        closer = distance < best
        best, where = torch.where(closer, distance, best), torch.where(closer, index + start, where)
    return where


@torch.no_grad()
def mixing_grid(generator: Generator, *, seed: int = 5, n: int = 6) -> Float[Tensor, "m 3 H H"]:
    """Rows: an image a; then a with coarse, middle and fine styles of b; then b. (n rows of 5 images)"""
    random = torch.Generator().manual_seed(seed)
    w = generator.to_w_plus(generator.map(torch.randn(2 * n, generator.style_dim, generator=random)))
    a, b = w[:n], w[n:]
    columns = [a]
    for layers in STYLE_GROUPS.values():
        mixed = a.clone()
        mixed[:, list(layers)] = b[:, list(layers)]
        columns.append(mixed)
    rows = torch.stack([*columns, b], dim=1).flatten(0, 1)
    return generator.synthesize(rows).clamp(-1, 1)


def progress_picture(run: Path, out: Path, *, steps: Sequence[int], faces: Sequence[int], tile: int = 66) -> None:
    """The same samples at several steps of a run, cut from its grids of 8 columns: a row per face, a column per step."""
    from PIL import Image

    sheet = Image.new("RGB", (len(steps) * tile + 2, len(faces) * tile + 2))
    for j, step in enumerate(steps):
        with Image.open(run / "samples" / f"{step:07d}.png") as grid_image:
            for i, face in enumerate(faces):
                left, top = face % 8 * tile, face // 8 * tile
                sheet.paste(grid_image.crop((left, top, left + tile + 2, top + tile + 2)), (j * tile, i * tile))
    sheet.save(out / "progress.png")


def evaluate_generator(
    generator: Generator,
    *,
    factors: FactorNet,
    identity_eval: PlainEmbedder,
    parsing: ParsingNet,
    out: Path,
    samples: int = 10_000,
    references: int = 5_000,
    seed: int = 7,
    train: FacetsArrays | None = None,
    test: FacetsArrays | None = None,
) -> dict[str, Any]:
    """All of the numbers above for one generator, written to `out`/metrics.json with their provenance; returns them.

    `train` (at least 2 x `references` images) and `test` replace the Facets splits.
    """
    started = time.monotonic()
    train = train if train is not None else split_arrays("train", generator.size)
    unseen = to_unit((test if test is not None else split_arrays("test", generator.size)).images)
    fake = sample_images(generator, samples, seed=seed)
    reference, other = to_unit(train.images[:references]), to_unit(train.images[references : 2 * references])
    result: dict[str, Any] = {}
    for name, f in (("factors", factors.features), ("identity_eval", identity_eval)):
        result[name] = distances(*(_map(f, images) for images in (fake, reference, unseen, other)))
    real_shares, fake_shares = label_shares(parsing, reference), label_shares(parsing, fake[:references])
    result["labels"] = {
        c: {"real": float(r), "generated": float(g)} for c, r, g in zip(CLASSES, real_shares, fake_shares, strict=True)
    }
    large = real_shares > 0.01
    result["labels_worst_relative_error"] = float(((fake_shares - real_shares).abs() / real_shares)[large].max())
    result["styles"] = style_shares(generator, factors, seed=seed)
    spread = torch.nn.functional.pdist(_map(identity_eval, fake[:500]))
    result["identity_distance_between_samples"] = dict(
        zip(("mean", "low", "high"), bootstrap_interval(spread), strict=True)
    )
    shown = fake[:16]
    near = to_unit(train.images[nearest_training_images(shown, train)])
    write_png(out / "samples.png", grid(fake[:64], columns=8))
    write_png(out / "samples_truncated.png", grid(sample_images(generator, 64, seed=seed, truncation=0.7), columns=8))
    write_png(out / "nearest.png", grid(torch.stack([shown, near], dim=1).flatten(0, 1), columns=8))
    write_png(out / "mixing.png", grid(mixing_grid(generator), columns=5))
    result["provenance"] = {
        "commit": commit(),
        "seed": seed,
        "samples": samples,
        "references": references,
        "device": hardware(),
        "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def main(out: str = "book/results/generator") -> None:
    """Evaluate the shipped generator with the shipped instruments."""
    from pspnb.hub import load_shipped

    names = ("generator", "factors", "identity_eval", "parsing")
    generator, factors, identity_eval, parsing = (load_shipped(f"facets64/{name}") for name in names)
    assert isinstance(generator, Generator) and isinstance(factors, FactorNet)
    assert isinstance(identity_eval, PlainEmbedder) and isinstance(parsing, ParsingNet)
    result = evaluate_generator(generator, factors=factors, identity_eval=identity_eval, parsing=parsing, out=Path(out))
    add_metrics("facets64/generator", card_metrics(result))


def card_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report that belong on the generator's card."""
    wanted = ("frechet", "frechet_floor", "precision", "recall")
    out = {f"{name}_{net}": round(result[net][name], 5) for net in ("factors", "identity_eval") for name in wanted}
    return out | {"labels_worst_relative_error": round(result["labels_worst_relative_error"], 5)}


if __name__ == "__main__":
    main()
