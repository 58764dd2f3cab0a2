"""What a mirror does to a portrait: the factors of the mirrored picture, and what is lost when both sides are averaged.

Frontalization trains with targets that are flipped at random (chapter "Applications"): whatever is one-sided then becomes
the mean of left and right. `ONE_SIDED` lists what that is, `mirrored` gives the factors that a flipped picture shows.
"""

from typing import Final

import torch
from torch import Tensor

from pspnb.world2.factors import BACKGROUND_PATTERNS, CLOTH_PATTERNS, PATTERN_ANGLES, Factors

ONE_SIDED: Final[tuple[tuple[str, str], ...]] = (
    ("yaw", "which way the face turns: the average is frontal"),
    ("roll", "which way the head tilts: the average is upright"),
    ("gaze_x", "the direction of the eyes: the average looks ahead"),
    ("light_azimuth", "the side of the light: the average is lit from the front"),
    ("hair_part", "the side of the parting: the average is a faint parting in the middle"),
    ("hair_phase", "where locks and curls lie: the average is smooth hair"),
    ("freckle_variant", "places of single freckles: the average is an even tint"),
    ("earring_left", "a single earring: the average is a pale one on both sides"),
    ("earring_right", "a single earring: the average is a pale one on both sides"),
    ("background_angle", "the slant of 45 and 135 degrees: the average is chequered or grey"),
    ("background_phase_x", "where an upright pattern lies: the average is grey"),
    ("background_phase_y", "where a slanted pattern lies: the average is grey"),
    ("cloth_angle", "the slant of 45 and 135 degrees: the average is chequered or plain"),
    ("cloth_phase_x", "where an upright pattern lies: the average is plain"),
    ("cloth_phase_y", "where a slanted pattern lies: the average is plain"),
)
"""Rows of (factor, what averaging a picture with its mirror image loses). Every other factor is left alone by a mirror."""

_NEGATED: Final = ("yaw", "roll", "gaze_x", "light_azimuth", "hair_part")
# Patterns whose lattice has cells (phase -> -phase); those of waves, or of cells of two kinds, move by half a turn as well.
_CELLS: Final = ("dots", "leaves", "zigzag", "florets")
_UPRIGHT: Final = ("zigzag", "argyle")
_TURNED: Final = (0, 3, 2, 1)  # 0, 45, 90, 135 degrees in a mirror
_ACROSS: Final = PATTERN_ANGLES.index("0")


def _turned(phase: Tensor, half: Tensor) -> Tensor:
    """-phase, plus half a turn where `half`, in [0, 1)."""
    out = torch.where(half, 0.5, 0.0) - phase
    out = out - torch.floor(out)
    return torch.where(out >= 1.0, 0.0, out)


def _pattern(f: Factors, name: str, kinds: tuple[str, ...], upright: tuple[str, ...]) -> Factors:
    """A mirror turns the direction, and reverses the coordinate that lies most across it: u at 0 degrees, v otherwise."""
    kind, angle = f[f"{name}_pattern"], f[f"{name}_angle"]
    has = lambda *names: torch.tensor([k in names for k in kinds], device=kind.device)[kind]  # noqa: E731
    half = ~has(*_CELLS)
    along = (angle == _ACROSS) | has(*upright)
    x, y = f[f"{name}_phase_x"], f[f"{name}_phase_y"]
    new_x, new_y = torch.where(along, _turned(x, half), x), torch.where(along, y, _turned(y, half))
    # a wave's bend runs along u and is added to v: reversing v turns the bend round, too
    new_x = torch.where(has("waves") & ~along, _turned(-x, half), new_x)
    new_x, new_y = torch.where(has("rays"), _turned(x, half), new_x), torch.where(has("rays"), y, new_y)
    return {
        f"{name}_angle": torch.tensor(_TURNED, device=angle.device)[angle],
        f"{name}_phase_x": new_x, f"{name}_phase_y": new_y,
    }  # fmt: skip


def mirrored(factors: Factors) -> Factors:
    """The factors whose picture is the left-right mirror image of `factors`' picture, (b,) each.

    Exact but for the pixels' rounding and, at the edges of partings and curls, a few samples. Labels follow `mirror_labels`.
    """
    out = dict(factors)
    for name in _NEGATED:
        out[name] = -factors[name]
    out["earring_left"], out["earring_right"] = factors["earring_right"], factors["earring_left"]
    variant = factors["freckle_variant"]
    out["freckle_variant"] = variant + 1 - 2 * (variant % 2)
    phase = factors["hair_phase"]
    out["hair_phase"] = _turned(phase, torch.ones_like(phase, dtype=torch.bool))
    out |= _pattern(factors, "background", BACKGROUND_PATTERNS, ())
    out |= _pattern(factors, "cloth", CLOTH_PATTERNS, _UPRIGHT)
    return out
