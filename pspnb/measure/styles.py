"""Which styles move what: shares of a change, and a picture of swapped groups. Chapter: "StyleGAN2 from the inside"."""

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.answer_key import batch_size, draw_z, pooled, synthesize
from pspnb.nn.instruments import FactorNet
from pspnb.nn.stylegan2 import Generator

STYLE_GROUPS = {"coarse": range(0, 3), "middle": range(3, 7), "fine": range(7, 10)}
# Factors that the `factors` instrument reads well (R2 or accuracy of its card above .7).
FACTOR_GROUPS: dict[str, tuple[str, ...]] = {
    "pose": ("yaw", "pitch", "roll"),
    "shape": ("hair_style", "glasses", "hat", "beard", "smile", "mouth_open", "collar"),
    "colour": ("skin_tone", "lip_tint", "hair_colour", "background_palette", "cloth_palette"),
}


@torch.no_grad()
def style_shares(
    generator: Generator, factors: FactorNet, *, pairs: int = 500, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What swapping a group of styles changes: group -> {pose, shape, colour: share of the difference between the two images}.

    For pairs (a, b): a's styles with one group from b. Continuous factors: sum of |f(mixed) - f(a)| over sum of |f(b) - f(a)|;
    categorical ones: changed among those that differ. All read by the `factors` instrument. 1 = as much as swapping everything.
    """
    a, b = _two_codes(generator, pairs, seed)
    read_a, read_b = (_read(generator, factors, codes) for codes in (a, b))
    out: dict[str, dict[str, float]] = {}
    for group, mixed in _swapped(a, b).items():
        read_m = _read(generator, factors, mixed)
        out[group] = {}
        for kind, names in FACTOR_GROUPS.items():
            shares = [share for n in names if (share := _share(read_a[n], read_b[n], read_m[n])) is not None]
            out[group][kind] = sum(shares) / max(len(shares), 1)
    return out


@torch.no_grad()
def mixing_grid(generator: Generator, *, seed: int = 5, n: int = 6) -> Float[Tensor, " m 3 H H"]:
    """Rows: an image a; then a with coarse, middle and fine styles of b; then b. (n rows of 5 images)"""
    a, b = _two_codes(generator, n, seed)
    return synthesize(generator, torch.stack([a, *_swapped(a, b).values(), b], dim=1).flatten(0, 1))


def _two_codes(generator: Generator, n: int, seed: int) -> tuple[Tensor, Tensor]:
    z = draw_z(generator, 2 * n, seed=seed).to(generator.latent_avg.device)
    w = generator.to_w_plus(generator.map(z))
    return w[:n], w[n:]


def _swapped(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Group of styles -> a's codes with that group from b."""
    out = {}
    for group, layers in STYLE_GROUPS.items():
        out[group] = a.clone()
        out[group][:, list(layers)] = b[:, list(layers)]
    return out


def _read(generator: Generator, factors: FactorNet, codes: Tensor) -> dict[str, Tensor]:
    parts = [factors.predict(pooled(synthesize(generator, part))) for part in codes.split(batch_size(codes.device))]
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def _share(a: Tensor, b: Tensor, mixed: Tensor) -> float | None:
    """None when the two images never differ."""
    if a.is_floating_point():
        return float((mixed - a).abs().sum() / (b - a).abs().sum().clamp(min=1e-9))
    differ = a != b
    return float((mixed[differ] != a[differ]).double().mean()) if bool(differ.any()) else None
