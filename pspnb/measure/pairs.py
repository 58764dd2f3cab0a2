"""One pass over z: what the instruments see in each generated image and in the rendered one beside it.

Everything is kept as one row of numbers for each image, never as images, so 10,000 z cost little memory and every row of the gate
has an interval over images. Chapter: "StyleGAN2 from the inside".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.progress import progress_bar
from pspnb.losses.perceptual import LPIPSLoss
from pspnb.measure.answer_key import (
    AnswerKey,
    answer_key,
    batch_size,
    check_has_answers,
    pooled,
    pooled_labels,
    synthesize,
)
from pspnb.measure.between import KINDS, codes_between
from pspnb.measure.pixels import masked_mse, power_spectrum, sharpness
from pspnb.models import zoo
from pspnb.nn.instruments import FactorNet, ParsingNet, PlainEmbedder, UnitMapDistance
from pspnb.nn.stylegan2 import Generator
from pspnb.world2 import Factors, Style

Columns = dict[str, Tensor]
"""One row for each image: name -> (n,) or (n, k)."""


@dataclass(frozen=True)
class Instruments:
    """The measuring networks, in eval mode on one device. `perceptual_eval` and `lpips` (the published distance) may be missing."""

    perceptual: UnitMapDistance
    parsing: ParsingNet
    factors: FactorNet
    identity_eval: PlainEmbedder
    perceptual_eval: UnitMapDistance | None = None
    lpips: LPIPSLoss | None = None

    def distances(self) -> dict[str, UnitMapDistance | LPIPSLoss]:
        """Those that are there: name -> a network with `features(images)` and `distance(a, b)`."""
        found = {"perceptual": self.perceptual, "perceptual_eval": self.perceptual_eval, "lpips": self.lpips}
        return {name: net for name, net in found.items() if net is not None}


def shipped_instruments(*, device: str | torch.device = "cpu", lpips_trunk: str | Path | None = None) -> Instruments:
    """The shipped ones; `lpips_trunk`: a file of AlexNet's weights, for the published LPIPS beside them."""

    def load(name: str) -> Any:
        return zoo.load_shipped(f"world2/{name}", device=str(device)) if f"world2/{name}" in names else None

    names = zoo.available()
    nets = {n: load(n) for n in ("perceptual", "perceptual_eval", "parsing", "factors", "identity_eval")}
    if missing := [n for n, net in nets.items() if net is None and n != "perceptual_eval"]:
        raise PspnbError(f"expected the shipped instruments, missing {', '.join(missing)}; install pspnb again")
    if lpips_trunk is not None:
        nets["lpips"] = LPIPSLoss(trunk_file=lpips_trunk).to(device)
    return Instruments(**nets)


@dataclass(frozen=True)
class Pairs:
    """Rows of the same n z, on the CPU: of the `rendered` and the `generated` images, of the differences `between` them, the true
    `factors`; and of images from `mixtures` of codes: kind -> rows (see `between.py`)."""

    rendered: Columns
    generated: Columns
    difference: Columns
    factors: Factors
    mixtures: dict[str, Columns]

    @property
    def n(self) -> int:
        return len(self.generated["sharpness"])


@torch.no_grad()
def measure_pairs(
    generator: Generator,
    instruments: Instruments,
    z: Float[Tensor, " n k"],
    *,
    device: str | torch.device = "cpu",
    mixtures: int = 1000,
    style: Style = "photo",
    progress: bool = False,
) -> Pairs:
    """Generate and render each z (in `style`), measure both, and forget the images. Generator and instruments lie on `device`.

    `mixtures`: at most so many images of each kind of mixture, from pairs of the first z.
    """
    check_has_answers(generator)
    parts = []
    for part in progress_bar(z.split(batch_size(device)), desc="pairs", wanted=progress):
        fake = synthesize(generator, generator.map(part.to(device)))
        parts.append(compare(answer_key(part, generator.size, device, style=style), fake, instruments))
    mixed = measure_mixtures(generator, instruments.parsing, z[: 2 * mixtures], device=device)
    pairs = [join(columns) for columns in zip(*parts, strict=True)]
    return Pairs(pairs[0], pairs[1], pairs[2], pairs[3], mixed)


def compare(
    key: AnswerKey, fake: Float[Tensor, " n 3 s s"], instruments: Instruments
) -> tuple[Columns, Columns, Columns, Factors]:
    """Rows of the true images, of the generated ones, of their differences, and the factors."""
    labels = pooled_labels(key.labels)
    rendered, generated = (
        appearance(images) | reading(pooled(images), labels, instruments) for images in (key.images, fake)
    )
    return rendered, generated, differences(key, fake, instruments), key.factors


def differences(key: AnswerKey, fake: Float[Tensor, " n 3 s s"], instruments: Instruments) -> Columns:
    """Distances and squared errors of each pair. Of the head alone: with wall and cloth taken from the truth."""
    head = key.head
    columns = {"mse_head": masked_mse(fake, key.images, head), "mse_wall_cloth": masked_mse(fake, key.images, ~head)}
    truth, whole, alone = (pooled(x) for x in (key.images, fake, torch.where(head, fake, key.images)))
    for name, net in instruments.distances().items():
        true = net.features(truth)
        columns |= {
            f"{name}_{part}": net.distance(net.features(x), true) for part, x in (("whole", whole), ("head", alone))
        }
    return columns


def appearance(images: Float[Tensor, " n 3 s s"]) -> Columns:
    """What needs no network."""
    return {"sharpness": sharpness(images), "spectrum": power_spectrum(images)}


def reading(images: Float[Tensor, " n 3 s s"], labels: Integer[Tensor, " n s s"], instruments: Instruments) -> Columns:
    """What the instruments read: classes against the true labels, confidence, every factor, two kinds of features."""
    predicted, confidence = parse(instruments.parsing, images)
    k = instruments.parsing.n_classes
    columns = {
        "confidence": confidence,
        "area": class_pixels(predicted, k),
        "true_area": class_pixels(labels, k),
        "hits": class_pixels(labels, k, where=predicted == labels),
        "identity_eval": instruments.identity_eval(images),
        "factors": instruments.factors.features(images),
    }
    return columns | {f"read_{name}": value for name, value in instruments.factors.predict(images).items()}


def parse(
    parsing: ParsingNet, images: Float[Tensor, " n 3 s s"]
) -> tuple[Integer[Tensor, " n s s"], Float[Tensor, " n"]]:
    """Most likely class of each pixel, and each image's mean probability of it."""
    probability, predicted = parsing(images).softmax(dim=1).max(dim=1)
    return predicted, probability.mean(dim=(1, 2))


def class_pixels(labels: Integer[Tensor, " n h w"], k: int, *, where: Tensor | None = None) -> Float[Tensor, " n k"]:
    """How many pixels of each image each of `k` classes has (of those in the mask `where`)."""
    ones = torch.ones_like(labels, dtype=torch.float32) if where is None else where.float()
    return torch.zeros(len(labels), k, device=labels.device).scatter_add_(1, labels.flatten(1).long(), ones.flatten(1))


@torch.no_grad()
def measure_mixtures(
    generator: Generator, parsing: ParsingNet, z: Float[Tensor, " n k"], *, device: str | torch.device = "cpu"
) -> dict[str, Columns]:
    """Sharpness and parsing confidence of images from mixtures of codes: kind -> rows, n // 2 each (`latent_avg`: one)."""
    w = generator.map(z.to(device))
    codes = codes_between(generator, w[: len(w) // 2], w[len(w) // 2 : len(w) // 2 * 2])
    found: dict[str, Columns] = {}
    for kind in KINDS:
        parts = []
        for part in codes[kind].split(batch_size(device)):
            images = synthesize(generator, part)
            parts.append({"sharpness": sharpness(images), "confidence": parse(parsing, pooled(images))[1]})
        found[kind] = join(parts)
    return found


def join(parts: Iterable[Columns]) -> Columns:
    """Rows below each other, on the CPU: moved once, at the end, so that a GPU never waits."""
    parts = list(parts)
    return {name: torch.cat([p[name] for p in parts]).cpu() for name in parts[0]}
