"""Strokes: a face drawn as lines after its label map, as a hand would, on any device (section 4.3.1 asks for sparse sketches).

The pencil filter leaves shading and patterns that nobody draws. Here the contours of the classes become lines: where the
blurred plane of a part passes one half; how far away that is follows from the plane's value. What makes it look drawn is
smooth noise: it moves the lines (wobble), presses on the pen (width), lifts it (gaps), and whole parts are left out.
Chapter: "Sketch to face".
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from pspnb.classes import CLASS_ID

_DRAWN_AT = 128
"""Smaller pictures are drawn at this size at least, and averaged: thin parts of a 64 px map are two pixels wide."""
_BLUR = 0.8
"""Of the planes, in pixels of a map of up to that size."""
_UNIT = 64.0
"""Widths and amplitudes are in pixels of a picture of this size."""


class _Part(NamedTuple):
    """Classes drawn as one shape; how wide its line is, how likely it is left out, and whether its inside is inked: "thin"
    where it is thin (rims, not tinted lenses), "whole"."""

    classes: tuple[str, ...]
    width: float
    missing: float
    inked: Literal["no", "thin", "whole"] = "no"


_FACE = ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
PARTS: Mapping[str, _Part] = MappingProxyType(
    {
        "face": _Part(_FACE, 1.1, 0.0),
        "hair": _Part(("hair",), 1.1, 0.10),
        "hat": _Part(("hat",), 1.1, 0.10),
        "ears": _Part(("l_ear", "r_ear"), 0.9, 0.15),
        "neck": _Part(("neck", "neck_l"), 1.0, 0.15),
        "cloth": _Part(("cloth",), 1.0, 0.15),
        "eyes": _Part(("l_eye", "r_eye"), 1.0, 0.03),
        "brows": _Part(("l_brow", "r_brow"), 0.4, 0.10, "whole"),
        "nose": _Part(("nose",), 0.9, 0.05),
        "lips": _Part(("u_lip", "mouth", "l_lip"), 0.8, 0.05),
        "mouth": _Part(("mouth",), 0.8, 0.05),
        "upper lip": _Part(("u_lip",), 0.8, 0.10),
        "glasses": _Part(("eye_g",), 0.8, 0.15, "thin"),
        "earrings": _Part(("ear_r",), 0.8, 0.15, "thin"),
        "necklace": _Part(("neck_l",), 0.8, 0.15, "thin"),
    }
)

_INKED = tuple(name for name, part in PARTS.items() if part.inked != "no")


def draw_strokes(
    labels: Integer[Tensor, " b s s"],
    images: Float[Tensor, " b 3 s s"] | None = None,
    *,
    generator: torch.Generator,
    width: tuple[float, float] = (0.45, 1.0),
    wobble: tuple[float, float] = (0.2, 1.1),
    gaps: tuple[float, float] = (0.0, 0.2),
    missing: float = 1.0,
    erased: float = 0.15,
) -> Float[Tensor, " b 1 s s"]:
    """Dark lines on white paper, in [0, 1], for label maps of 19 classes. The same for the same state of `generator`.

    `images` in [-1, 1] show where the irises are; without them the eyes are outlines. Each picture draws its own hand: `width`
    and `wobble` in pixels of a 64 px picture, the share of the lines that is `gaps`; parts are left out with `missing` times
    the chances of `PARTS`, and with chance `erased` a round piece of the drawing is wiped away.
    """
    hand = _Hand(len(labels), labels.shape[-1], generator, labels.device)
    wide, moved, lifted = (hand.between(*pair) for pair in (width, wobble, gaps))
    grid = hand.wobble(moved)
    blur = _BLUR * max(1.0, labels.shape[-1] / _DRAWN_AT)  # in pixels of the map
    sigma = blur * hand.side / labels.shape[-1]
    shapes = _shapes(labels, blur)
    planes = F.grid_sample(torch.cat([shapes, _insides(shapes)], 1), grid, padding_mode="border", align_corners=False)
    contours, insides = planes[:, : len(PARTS)], dict(zip(_INKED, planes[:, len(PARTS) :].split(1, 1), strict=True))
    pen = hand.scale * wide * (0.7 + 0.6 * hand.noise(9))
    ink = torch.zeros_like(pen)
    for (name, part), f in zip(PARTS.items(), contours.split(1, 1), strict=True):
        line = _line(f, pen * part.width, sigma, lower=name == "nose")
        drawn = torch.maximum(line, insides[name]) if name in insides else line
        ink = torch.maximum(ink, drawn * hand.coins(1 - missing * part.missing))
        if name == "eyes" and images is not None:
            ink = torch.maximum(ink, _irises(images, f, grid))
    ink = ink * (1 - hand.lifted(lifted)) * (1 - hand.wiped(erased))
    paper = 1 - ink * hand.between(0.75, 1.0)
    return F.adaptive_avg_pool2d(paper, labels.shape[-1])


def _shapes(labels: Integer[Tensor, " b s s"], blur: float) -> Float[Tensor, " b k s s"]:
    """The parts' planes, blurred so that their contours are smooth."""
    members = torch.zeros(len(PARTS), len(CLASS_ID))
    for row, part in zip(members, PARTS.values(), strict=True):
        row[[CLASS_ID[name] for name in part.classes]] = 1.0
    table = members.T.to(labels.device)
    planes = table[labels.long()].permute(0, 3, 1, 2)
    taps = _gaussian(blur, labels.device).expand(len(PARTS), 1, 1, -1)
    reach = taps.shape[-1] // 2
    planes = F.conv2d(F.pad(planes, (reach, reach, 0, 0), mode="replicate"), taps, groups=len(PARTS))
    return F.conv2d(F.pad(planes, (0, 0, reach, reach), mode="replicate"), taps.mT, groups=len(PARTS))


def _insides(shapes: Float[Tensor, " b k s s"]) -> Float[Tensor, " b j s s"]:
    """Ink within the parts that are not only outlines; of those that are thin, not where they are wide (tinted glasses)."""
    out = []
    for name in _INKED:
        f = shapes[:, list(PARTS).index(name)][:, None]
        wide = F.avg_pool2d(F.pad(f, (1, 1, 1, 1), mode="replicate"), 3, 1) if PARTS[name].inked == "thin" else 0.0
        out.append(((f - 0.3) * 2).clamp(0, 1) * (1 - 1.4 * torch.as_tensor(wide)).clamp(0, 1))
    return torch.cat(out, dim=1)


def _gaussian(sigma: float, device: torch.device) -> Float[Tensor, " k"]:
    reach = int(3 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / sigma).square())
    return taps / taps.sum()


def _line(
    f: Float[Tensor, " b 1 t t"], pen: Float[Tensor, " b 1 t t"], sigma: float, *, lower: bool
) -> Float[Tensor, " b 1 t t"]:
    """Ink of a shape's contour (`lower`: only its lower side).

    A straight edge blurred by `sigma` is a normal distribution function of the distance to it, which is inverted here.
    """
    away = sigma * torch.special.ndtri(f.clamp(1e-5, 1 - 1e-5)).abs()
    ink = (pen / 2 + 0.5 - away).clamp(0, 1)
    if lower:
        padded = F.pad(f, (1, 1, 1, 1), mode="replicate")
        dx, dy = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        ink = ink * ((0.35 - dy / torch.sqrt(dx * dx + dy * dy + 1e-8)) / 0.6).clamp(0, 1)
    return ink


def _irises(images: Tensor, eyes: Float[Tensor, " b 1 t t"], grid: Tensor) -> Float[Tensor, " b 1 t t"]:
    """Ink where the eyes are dark."""
    grey = (images.mean(dim=1, keepdim=True) + 1) / 2
    grey = F.grid_sample(grey, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return ((0.55 - grey) * 4).clamp(0, 1) * ((eyes - 0.35) * 4).clamp(0, 1)


class _Hand:
    """Smooth noise and coins, one draw for each picture, drawn on the generator's device."""

    def __init__(self, n: int, size: int, generator: torch.Generator, device: torch.device) -> None:
        self.n, self.generator, self.device = n, generator, device
        self.side = size * max(1, -(-_DRAWN_AT // size))
        self.scale = self.side / _UNIT

    def _rand(self, *shape: int) -> Tensor:
        out = torch.rand(self.n, *shape, generator=self.generator, device=self.generator.device)
        return out.to(self.device, non_blocking=True)

    def between(self, low: float, high: float) -> Float[Tensor, " n 1 1 1"]:
        return low + (high - low) * self._rand(1, 1, 1)

    def coins(self, p: float) -> Float[Tensor, " n 1 1 1"]:
        return (self._rand(1, 1, 1) < p).float()

    def noise(self, cells: int, channels: int = 1) -> Float[Tensor, " n c t t"]:
        """Smooth noise around 1/2, `cells` bumps along a side."""
        coarse = self._rand(channels, cells + 2, cells + 2)
        return F.interpolate(coarse, size=(self.side, self.side), mode="bicubic", align_corners=False).clamp(0, 1)

    def wobble(self, amplitude: Float[Tensor, " n 1 1 1"]) -> Float[Tensor, " n t t 2"]:
        """Where each point of the drawing is looked up: proportions that are a little off, and a trembling line."""
        shift = 2.2 * (self.noise(3, 2) - 0.5) + 1.0 * (self.noise(12, 2) - 0.5)
        line = (torch.arange(self.side, device=self.device) + 0.5) / self.side * 2 - 1
        y, x = torch.meshgrid(line, line, indexing="ij")
        moved = torch.stack([x, y])[None] + shift * amplitude * (2 / _UNIT)
        return moved.permute(0, 2, 3, 1)

    def lifted(self, share: Float[Tensor, " n 1 1 1"]) -> Float[Tensor, " n 1 t t"]:
        """1 where the pen is off the paper."""
        noise = self.noise(11)
        rank = noise[..., ::4, ::4].flatten(1).sort(dim=1).values
        place = (share.flatten() * (rank.shape[1] - 1)).long()[:, None]
        level = rank.gather(1, place)[..., None, None]
        return ((level - noise) * 12).clamp(0, 1) * (share > 0)

    def wiped(self, chance: float) -> Float[Tensor, " n 1 t t"]:
        """1 within a disc, in some of the pictures."""
        line = (torch.arange(self.side, device=self.device) + 0.5) / self.side
        u = self._rand(3, 1, 1)
        away = torch.hypot(line - (0.2 + 0.6 * u[:, :1]), line[:, None] - (0.2 + 0.6 * u[:, 1:2]))
        disc = ((0.08 + 0.12 * u[:, 2:] - away) * self.side / 2).clamp(0, 1)
        return disc * self.coins(chance)
