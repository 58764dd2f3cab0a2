"""What a mirror does to a portrait: the factors of the mirrored picture, and what is lost when both sides are averaged.

Frontalization trains with targets that are flipped at random (chapter "Applications"): whatever is one-sided then becomes
the mean of left and right. `ONE_SIDED` lists what that is, `mirrored` gives the factors that a flipped picture shows.
"""

from typing import Final

from pspnb.world2.factors import Factors

ONE_SIDED: Final[tuple[tuple[str, str], ...]] = (
    ("yaw", "which way the face turns: the average is frontal"),
    ("roll", "which way the head tilts: the average is upright"),
    ("gaze_x", "the direction of the eyes: the average looks ahead"),
    ("light_azimuth", "the side of the light: the average is lit from the front"),
    ("hair_part", "the side of the parting: the average is a faint parting in the middle"),
    ("freckle_variant", "places of single freckles: the average is an even tint"),
    ("earring_left", "a single earring: the average is a pale one on both sides"),
    ("earring_right", "a single earring: the average is a pale one on both sides"),
)
"""Rows of (factor, what averaging a picture with its mirror image loses). Every other factor is left alone by a mirror."""

_NEGATED: Final = ("yaw", "roll", "gaze_x", "light_azimuth", "hair_part")


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
    return out
