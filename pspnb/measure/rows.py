"""The rows of the gate, a small function each: rows of numbers for each image -> a number with its interval.

What each must reach is said by the table in `gate.py`. Chapter: "StyleGAN2 from the inside".
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.intervals import Measured, left_out, mean, median, of_means, ratio
from pspnb.measure.metrics import covered, frechet_distance
from pspnb.measure.pairs import Columns, Pairs
from pspnb.world2 import BY_NAME, CLASS_ID

Row = Callable[[Pairs, int], Measured]
"""(pairs, rounds of the interval) -> number."""
JEWELLERY = ("ear_r", "neck_l")


def difference(name: str) -> Row:
    """A distance to the truth, averaged."""
    return lambda pairs, rounds: mean(pairs.difference[name], rounds=rounds)


def sharpness_share(pairs: Pairs, rounds: int) -> Measured:
    """Mean absolute Laplacian over the renderer's."""
    return ratio(pairs.generated["sharpness"], pairs.rendered["sharpness"], rounds=rounds)


# ---- classes of pixels -------------------------------------------------------------------------------------------------


def parsing_share(pairs: Pairs, rounds: int) -> Measured:
    """mIoU of `parsing(G(z))` against the true labels, over that of `parsing(render)`; classes that the truth shows."""
    shown = pairs.rendered["true_area"].sum(dim=0) > 0
    parts = [overlap[:, shown] for columns in (pairs.generated, pairs.rendered) for overlap in _overlap(columns)]

    def share(means: Float[Tensor, " *r k"]) -> Float[Tensor, " *r"]:
        hits, union, true_hits, true_union = means.unflatten(-1, (4, -1)).unbind(-2)
        return (hits / union).nanmean(dim=-1) / (true_hits / true_union).nanmean(dim=-1)

    return of_means(torch.cat(parts, dim=1), share, rounds=rounds)


def class_iou_of(columns: Columns) -> Float[Tensor, " k"]:
    """Intersection over union of each class over all images; nan for one that is neither true nor predicted."""
    hits, union = _overlap(columns)
    return hits.double().sum(dim=0) / union.double().sum(dim=0)


def _overlap(columns: Columns) -> tuple[Tensor, Tensor]:
    return columns["hits"], columns["area"] + columns["true_area"] - columns["hits"]


def area_error(classes: Sequence[str]) -> Row:
    """The worst relative error of a class's area, `parsing(G(z))` against `parsing(render)`; inf for one that only G draws.

    Classes that `parsing` finds in neither have no error.
    """
    ids = [CLASS_ID[name] for name in classes]

    def worst(means: Float[Tensor, " *r k"]) -> Float[Tensor, " *r"]:
        generated, rendered = means.unflatten(-1, (2, -1)).unbind(-2)
        return ((generated / rendered).nan_to_num(nan=1.0, posinf=torch.inf) - 1).abs().amax(dim=-1)

    def row(pairs: Pairs, rounds: int) -> Measured:
        areas = [columns["area"][:, ids] for columns in (pairs.generated, pairs.rendered)]
        return of_means(torch.cat(areas, dim=1), worst, rounds=rounds)

    return row


# ---- factors -----------------------------------------------------------------------------------------------------------


def yaw_difference(pairs: Pairs, rounds: int) -> Measured:
    """Median absolute difference in degrees of the yaw read from G(z) and from the render of the same z."""
    return median((pairs.generated["read_yaw"] - pairs.rendered["read_yaw"]).abs(), rounds=rounds)


def yaw_slope(pairs: Pairs, rounds: int) -> Measured:
    """Least squares, yaw read from G(z) as a line over that read from the render: below 1, heads turn too little."""
    x, y = (columns["read_yaw"].double() for columns in (pairs.rendered, pairs.generated))
    moments = torch.stack([x, y, x * y, x * x], dim=1)

    def slope(m: Float[Tensor, " *r k"]) -> Float[Tensor, " *r"]:
        return (m[..., 2] - m[..., 0] * m[..., 1]) / (m[..., 3] - m[..., 0].square())

    return of_means(moments, slope, rounds=rounds)


def seen(name: str, *, worn: bool, rendered: bool = False) -> Row:
    """How often `factors` sees any kind of `name` (glasses, hat), of the images whose true factors have one or have none.

    Asked of `factors`, not of `parsing`: it answers yes or no for a whole image, which is what it was trained to do, and
    thin rims of a few pixels would need a threshold on their area.
    """

    def row(pairs: Pairs, rounds: int) -> Measured:
        read = (pairs.rendered if rendered else pairs.generated)[f"read_{name}"] > 0
        return mean(read[(pairs.factors[name] > 0) == worn].float(), rounds=rounds)

    return row


def kind_share(name: str) -> Row:
    """Accuracy of `factors` on G(z) for a categorical factor, over its accuracy on the renders."""
    assert BY_NAME[name].kind == "categorical", name

    def row(pairs: Pairs, rounds: int) -> Measured:
        right = [
            (columns[f"read_{name}"] == pairs.factors[name]).float() for columns in (pairs.generated, pairs.rendered)
        ]
        return ratio(right[0], right[1], rounds=rounds)

    return row


# ---- distributions -----------------------------------------------------------------------------------------------------


def frechet_over_floor(pairs: Pairs, rounds: int) -> Measured:
    """Frechet distance in identity_eval features over what real images reach against each other.

    Halves A and B of the z: generated A against rendered B, and the other way round, over rendered A against rendered B. So no
    image is compared with its own truth, and distance and floor have the same numbers of images and the same faces.
    """
    n = pairs.n // 2
    fake, real = (columns["identity_eval"].double() for columns in (pairs.generated, pairs.rendered))

    def over_floor(keep: Tensor) -> float:
        fake_a, fake_b, real_a, real_b = (half[keep] for f in (fake, real) for half in (f[:n], f[n : 2 * n]))
        both = frechet_distance(fake_a, real_b) + frechet_distance(fake_b, real_a)
        return both / 2 / frechet_distance(real_a, real_b)

    return left_out(over_floor, n, wanted=rounds > 0)


def recall_share(pairs: Pairs, rounds: int) -> Measured:
    """Share of rendered faces (half B) within the generated manifold (half A), over that within the rendered one (half A)."""
    n = pairs.n // 2
    fake, real = (columns["identity_eval"] for columns in (pairs.generated, pairs.rendered))
    inside = [covered(manifold[:n], real[n : 2 * n]).float() for manifold in (fake, real)]
    return ratio(inside[0], inside[1], rounds=rounds)


# ---- between codes -----------------------------------------------------------------------------------------------------


def mixture_share(kind: str, what: str) -> Row:
    """Sharpness or parsing confidence of a kind of mixture over that of unmixed images; one picture has no interval."""

    def row(pairs: Pairs, rounds: int) -> Measured:
        mixed, unmixed = pairs.mixtures[kind][what], pairs.mixtures["unmixed"][what]
        if len(mixed) == 1:
            return Measured(float(mixed / unmixed.mean()), None, None, 1)
        return ratio(mixed, unmixed, rounds=rounds)

    return row
