"""Small experiments that need trainings of their own. `noise_study`: what per-pixel noise does to a small generator.

Chapter: "StyleGAN2 from the inside". `python -m pspnb.measure.noise_study` trains (resumable, two times 13 minutes on one core) and
writes book/results/noise.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.files.atomic import write_json
from pspnb.files.pictures import grid, write_png
from pspnb.files.provenance import stamp
from pspnb.measure.metrics import frechet_distance
from pspnb.measure.populations import BATCH, label_shares
from pspnb.models.load import load_generator
from pspnb.models.zoo import load_shipped
from pspnb.nn.instruments import ParsingNet
from pspnb.nn.stylegan2 import Generator, noise_shapes
from pspnb.recipes.generators import fit_generator
from pspnb.training.arrays import split_arrays, to_unit
from pspnb.training.gan import GanConfig
from pspnb.world2 import CLASSES

CONFIG = replace(GanConfig(), steps=3000)
# Parts of a face that a code should decide, not chance.
WATCHED = ("l_eye", "r_eye", "l_brow", "r_brow", "mouth", "hair")


def noise_study(
    runs: str | Path, out: str | Path, *, config: GanConfig = CONFIG, samples: int = 5000, n_images: int | None = None
) -> dict[str, Any]:
    """Train two generators that differ in one thing, per-pixel noise, below `runs`, and compare them.

    Writes metrics.json and samples.png (eight z; rows: without noise, with noise, with noise but switched off) to `out`; returns
    what metrics.json holds. Resumable. Raises PspnbError for runs of another configuration.
    """
    generators = [load_generator(_train(config, Path(runs), noise, n_images)) for noise in (False, True)]
    rows, pictures = compare_noise(*generators, samples=samples)
    made = stamp(seed=config.seed)
    result = {"rows": rows, "images": config.steps * config.batch, "samples": samples, "provenance": made}
    out = Path(out)
    write_png(out / "samples.png", grid(pictures, columns=8))
    write_json(out / "metrics.json", result)
    return result


def _train(config: GanConfig, runs: Path, noise: bool, n_images: int | None) -> Path:
    folder = runs / ("noise" if noise else "noise_none")
    return fit_generator(replace(config, noise=noise), out=folder, resume=True, n_images=n_images)


@torch.no_grad()
def draw(generator: Generator, n: int, *, noise: bool, seed: int) -> Float[Tensor, " n 3 s s"]:
    """`n` samples, the same z for the same seed; with noise drawn anew, or with all noise maps zero."""
    z = torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    chance = torch.Generator().manual_seed(seed + 1)
    off = [torch.zeros(shape) for shape in noise_shapes(generator.size)]
    parts = []
    for part in z.split(BATCH):
        w = generator.map(part)
        if generator.has_noise and not noise:
            parts.append(generator.synthesize(w, noise=off))
        else:
            parts.append(generator.synthesize(w, noise="random", generator=chance))
    return torch.cat(parts).clamp(-1, 1)


def compare_noise(
    plain: Generator, noisy: Generator, *, samples: int = 5000, seed: int = 7
) -> tuple[dict[str, Any], Float[Tensor, " n 3 s s"]]:
    """Rows "without noise", "with noise", "switched off": Frechet distance in identity_eval features to `samples` training
    images, and for each label of WATCHED its share of the pixels over that in the data; and eight pictures a row.
    """
    judge, parsing = load_shipped("world2/identity_eval"), load_shipped("world2/parsing")
    assert isinstance(parsing, ParsingNet)
    real = to_unit(split_arrays("train", plain.size, n=samples).images)
    watched = [CLASSES.index(name) for name in WATCHED]
    features, truth = _features(judge, real), label_shares(parsing, real)[watched]
    rows, shown = {}, []
    for name, generator, noise in (
        ("without noise", plain, True),
        ("with noise", noisy, True),
        ("switched off", noisy, False),
    ):
        images = draw(generator, samples, noise=noise, seed=seed)
        shares = label_shares(parsing, images)[watched] / truth
        rows[name] = {
            "frechet": frechet_distance(_features(judge, images), features),
            "labels": dict(zip(WATCHED, shares.tolist(), strict=True)),
        }
        shown.append(images[:8])
    return rows, torch.cat(shown)


@torch.no_grad()
def _features(judge: Any, images: Tensor) -> Tensor:
    return torch.cat([judge(part) for part in images.split(BATCH)])


if __name__ == "__main__":
    noise_study("runs", "book/results/noise")
