"""Table 1 of the Feature-Style paper in our world: encoders, optimisation of w+ and of w and F, hybrids; each with its capacity.

Columns: SSIM, PSNR, MSE, a perceptual distance, identity, Frechet distance, seconds. Source: Yao et al. 2022, Table 1 and section
3.1. Chapter: "The Feature-Style encoder".
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.inversion.feature import invert_with_feature
from pspnb.inversion.optimise import invert
from pspnb.measure.ablate import Measured, encoder_row, measure_row, time_rows
from pspnb.measure.capacity import Capacity, capacity, shares
from pspnb.measure.intervals import left_out
from pspnb.measure.metrics import frechet_distance
from pspnb.measure.reconstruction import METRICS, Images, intervals, paired
from pspnb.models.base import Translator
from pspnb.models.feature_style import FeatureStyle

OPTIMISED, OPTIMISED_BOTH = "optimisation of w+", "optimisation of w and F"
HYBRID = "{}, then optimisation"
STEPS: Mapping[str, int] = MappingProxyType({"alone": 500, "hybrid": 100})

PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "about": "Another domain: the first 1,000 pictures of CelebA-HQ, generator of 1024 px, CurricularFace, LPIPS, FID. "
        "Yao et al. 2022, Table 1. Compare orders, not values.",
        "rows": {
            name: dict(zip(("ssim", "psnr", "mse", "lpips", "similarity", "frechet"), values, strict=True))
            for name, values in {
                "in-domain GAN": (0.554, 22.06, 0.034, 0.136, 0.18, 36.83),
                "pSp": (0.509, 20.37, 0.040, 0.159, 0.56, 34.68),
                "e4e": (0.479, 19.17, 0.052, 0.196, 0.51, 36.72),
                "ReStyle": (0.537, 21.14, 0.034, 0.130, 0.66, 32.56),
                "HFGI": (0.595, 22.07, 0.027, 0.117, 0.68, 26.53),
                "Feature-Style": (0.641, 23.65, 0.019, 0.066, 0.80, 19.03),
            }.items()
        },
    }
)


def table_of(
    models: Mapping[str, Translator],
    images: Float[Tensor, " n 3 s s"],
    *,
    judge: Images,
    distance: Callable[[Tensor, Tensor], Tensor],
    describe: Images,
    loss_distance: Callable[[Tensor, Tensor], Tensor] | None = None,
    k: int = 3,
    n_optimise: int = 0,
    steps: Mapping[str, int] = STEPS,
    turns: int = 40,
    turns_optimise: int = 3,
    seed: int = 0,
) -> tuple[dict[str, Any], Measured]:
    """The numbers of the table, and what they were made of.

    `models` by row; all on one generator. `judge`, `distance`: networks that no model was trained with; `describe`: images to the
    features (b, f) of the Frechet distance, which rows of fewer than all images don't have. The first `n_optimise` images (0: none)
    are also optimised by `loss_distance` (default: `distance`): w+, w and F at convolution `k`, and from every model of `models`.

    Returns {"rows": {row: {metric: interval}}, "numbers": {row: capacity}, "paired": {base: {row: ...}}, "n", "paper"}.
    """
    measured, draw = Measured(), {name: encoder_row(model) for name, model in models.items()}
    for name in draw:
        measure_row(measured, name, draw[name], images, judge, distance)
    numbers: dict[str, Capacity] = {name: capacity(model) for name, model in models.items()}
    optimised = _optimisers(models, loss_distance or distance, k=k, steps=steps) if n_optimise else {}
    for name, (row, kept) in optimised.items():
        draw[name], numbers[name] = row, kept
        measure_row(measured, name, row, images[:n_optimise], judge, distance)
    counts = {name: turns_optimise if name in optimised else turns for name in draw}
    time_rows(measured, draw, images, counts)
    columns = measured.columns
    rows: dict[str, dict[str, Any]] = {name: dict(intervals(columns[name], seed=seed)) for name in columns}
    true = _described(describe, images)
    for name in models:
        rows[name]["frechet"] = _frechet(true, _described(describe, measured.outputs[name].to(images)))
    return {
        "rows": rows,
        "numbers": numbers,
        "n": len(images),
        "paired": {
            base: {name: paired(columns[name], columns[base], seed=seed) for name in columns if name != base}
            for base in columns
        },
        "paper": {"about": PAPER["about"], "rows": dict(PAPER["rows"])},
    }, measured


def _optimisers(
    models: Mapping[str, Translator], distance: Callable[[Tensor, Tensor], Tensor], *, k: int, steps: Mapping[str, int]
) -> dict[str, tuple[Images, Capacity]]:
    """Rows that are searched for: from the mean latent, and from what each model finds. With what numbers they keep."""
    generator = next(iter(models.values())).decoder
    codes, feature = generator.n_styles * generator.style_dim, torch.Size(generator.feature_shape(k)).numel()
    alone, both = (shares(feature=f, codes=codes, size=generator.size) for f in (0, feature))

    def search(images: Tensor) -> Tensor:
        return invert(generator, images, distance=distance, steps=steps["alone"]).images

    def search_both(images: Tensor) -> Tensor:
        return invert_with_feature(generator, images, k=k, distance=distance, steps=steps["alone"]).images

    def onwards(model: Translator) -> Images:
        def draw(images: Tensor) -> Tensor:
            with torch.no_grad():
                start, found = model.read(images)
            options: dict[str, Any] = {"distance": distance, "start": start, "steps": steps["hybrid"]}
            if isinstance(model, FeatureStyle) and found is not None:
                options |= {"k": model.k, "feature": found, "rgb": "w" if model.encoder.rgb == "w" else "none"}
                return invert_with_feature(generator, images, **options).images
            return invert(generator, images, **options).images

        return draw

    rows: dict[str, tuple[Images, Capacity]] = {OPTIMISED: (search, alone), OPTIMISED_BOTH: (search_both, both)}
    for name, model in models.items():
        whole = model.decoder.feature_shape(model.k) if isinstance(model, FeatureStyle) and model.k else ()
        numbers = torch.Size(whole).numel() if whole else 0
        kept = shares(feature=numbers, codes=codes, size=generator.size)
        rows[HYBRID.format(name)] = (onwards(model), kept)
    return rows


@torch.no_grad()
def _described(describe: Images, images: Tensor) -> Float[Tensor, " n f"]:
    return torch.cat([describe(part).cpu() for part in images.split(50)])


def _frechet(true: Float[Tensor, " n f"], made: Float[Tensor, " n f"]) -> dict[str, float | None]:
    """Distance of two sets of features, with an interval by leaving images out."""
    found = left_out(lambda keep: frechet_distance(true[keep], made[keep]), len(true))
    return {"value": found.value, "lo": found.lo, "hi": found.hi, "n": found.n}


def markdown(result: Mapping[str, Any]) -> str:
    """The table as Markdown: a row for each model, its values, and which share of a picture's numbers it keeps."""
    names = [m for m in (*METRICS, "frechet") if any(m in row for row in result["rows"].values())]
    titles = [METRICS[m].title if m in METRICS else "Frechet" for m in names]
    lines = [f"| | {' | '.join(titles)} | numbers kept |", f"|---|{'---|' * (len(names) + 1)}"]
    for name, row in result["rows"].items():
        cells = [f"{row[m]['value']:.{METRICS[m].digits if m in METRICS else 2}f}" if m in row else "" for m in names]
        lines.append(f"| {name} | {' | '.join(cells)} | {result['numbers'][name]['share']:.0%} |")
    return "\n".join(lines) + "\n"
