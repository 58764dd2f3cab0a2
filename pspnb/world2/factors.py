"""The factors of a Facets portrait: one table with every name, group, kind, range and distribution, and the sampler.

*Identity* factors are what makes two images the same person; *free* factors are everything else. Every factor is drawn
independently of every other one (the two earrings are the one exception: people mostly wear pairs). Nothing visible
hangs on anything but the factors: equal factors are equal pictures. The distributions are shown in the chapter "The
world of Facets".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor

Group = Literal["identity", "free"]
Factors = dict[str, Tensor]
"""One tensor of shape (b,) for each name in `TABLE`: float32 for continuous factors, int64 for categorical ones."""


@dataclass(frozen=True)
class Factor:
    """One row of the table. `distribution`: uniform; bell (mean of three uniforms); often_zero (zero with probability
    `weights[0]`, else uniform); weights (categorical)."""

    name: str
    group: Group
    kind: Literal["continuous", "categorical"]
    low: float
    high: float
    unit: str
    distribution: Literal["uniform", "bell", "often_zero", "weights"]
    meaning: str
    names: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()


def _bell(group: Group, name: str, meaning: str) -> Factor:
    return Factor(name, group, "continuous", -1.0, 1.0, "relative", "bell", meaning)


def _shape(group: Group, name: str, meaning: str) -> Factor:
    return Factor(name, group, "continuous", -1.0, 1.0, "relative", "uniform", meaning)


def _flat(group: Group, name: str, low: float, high: float, unit: str, meaning: str) -> Factor:
    return Factor(name, group, "continuous", low, high, unit, "uniform", meaning)


def _rare(group: Group, name: str, low: float, high: float, zero: float, meaning: str) -> Factor:
    return Factor(name, group, "continuous", low, high, "relative", "often_zero", meaning, weights=(zero,))


def _kind(group: Group, name: str, choices: Mapping[str, float], meaning: str) -> Factor:
    total = sum(choices.values())
    weights = tuple(w / total for w in choices.values())
    return Factor(
        name, group, "categorical", 0.0, len(choices) - 1.0, "choice", "weights", meaning, tuple(choices), weights
    )


def _even(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


HAIR_STYLES: Final = ("bald", "buzz", "short", "parted", "bob", "fringe", "long", "curly", "bun", "afro")
_HAIR_WEIGHTS: Final = (0.05, 0.07, 0.12, 0.13, 0.11, 0.10, 0.13, 0.11, 0.09, 0.09)
HAIR_COLOURS: Final = ("black", "espresso", "brown", "chestnut", "auburn", "copper", "honey", "blond", "grey", "white")
IRIS_COLOURS: Final = ("dark brown", "brown", "hazel", "amber", "green", "grey", "blue", "deep blue")
GLASSES: Final = ("none", "round", "square", "tinted")
HATS: Final = ("none", "beanie", "cap", "sun hat")
EARRINGS: Final = ("none", "stud", "hoop", "drop")
NECKLACES: Final = ("none", "chain", "pearls", "pendant")
BEARDS: Final = ("none", "stubble", "moustache", "full")
COLLARS: Final = ("crew", "v-neck", "shirt", "turtleneck")
CLOTH_PATTERNS: Final = ("plain", "stripes", "checks", "dots", "zigzag", "argyle", "florets")
BACKGROUND_PATTERNS: Final = ("gradient", "stripes", "dots", "tiles", "waves", "rays", "leaves", "bokeh")
METALS: Final = ("gold", "silver", "rose gold", "coral", "turquoise")
FRAMES: Final = ("black", "tortoise", "gold", "red", "blue", "clear")
BACKGROUND_PALETTES: Final = 16
CLOTH_PALETTES: Final = 16
HAT_COLOURS: Final = 10
PATTERN_SCALES: Final = ("fine", "coarse")
PATTERN_ANGLES: Final = ("0", "90")
FRECKLE_VARIANTS: Final = 4

_I: Final = "identity"
_F: Final = "free"
TABLE: Final[tuple[Factor, ...]] = (
    _shape(_I, "head_width", "skull width"),
    _shape(_I, "head_height", "skull height"),
    _shape(_I, "jaw_width", "width of the lower face"),
    _shape(_I, "chin_length", "how far the chin reaches down"),
    _shape(_I, "chin_width", "pointed (-1) or square (1) chin"),
    _shape(_I, "cheek_fullness", "roundness of the cheeks"),
    _shape(_I, "ear_size", "height of the ears"),
    _shape(_I, "ear_angle", "how far the ears stand off"),
    _shape(_I, "nose_width", "width over the wings"),
    _shape(_I, "nose_length", "from the bridge to the tip"),
    _shape(_I, "nose_depth", "how far the tip stands out"),
    _shape(_I, "nose_bridge", "width and height of the bridge"),
    _shape(_I, "nose_tip", "tip hangs (-1) or turns up (1)"),
    _shape(_I, "eye_height", "position of the eyes in the face"),
    _shape(_I, "eye_size", "width of the eyes"),
    _shape(_I, "eye_roundness", "height of the eyes for their width"),
    _shape(_I, "eye_spacing", "distance between the eyes"),
    _shape(_I, "eye_slant", "outer corners up (positive) or down"),
    _shape(_I, "brow_height", "distance of the brows from the eyes"),
    _shape(_I, "brow_thickness", "thickness of the brows"),
    _shape(_I, "brow_angle", "outer ends up (positive) or down"),
    _shape(_I, "mouth_width", "width of the resting mouth"),
    _shape(_I, "mouth_height", "position of the mouth"),
    _shape(_I, "lip_fullness", "thickness of the lips"),
    _flat(_I, "skin_tone", 0.0, 1.0, "even steps in CIELAB", "light (0) to dark (1)"),
    _bell(_I, "undertone", "cool (-1) to warm (1) skin"),
    _flat(_I, "lip_tint", 0.0, 1.0, "relative", "natural (0) to rosy (1) lips"),
    _flat(_I, "lashes", 0.0, 1.0, "relative", "thickness of the upper lash line"),
    _kind(_I, "iris", _even(*IRIS_COLOURS), "iris colour"),
    _kind(_I, "hair_style", dict(zip(HAIR_STYLES, _HAIR_WEIGHTS, strict=True)), "hair style"),
    _kind(_I, "hair_colour", _even(*HAIR_COLOURS), "hair colour"),
    _shape(_I, "hair_shade", "darker (-1) or lighter (1) than the named colour"),
    _shape(_I, "hair_volume", "thickness of the hair"),
    _shape(_I, "hair_length", "longer or shorter than the style's own length"),
    _flat(_I, "hair_part", -1.0, 1.0, "relative", "side of the parting"),
    _kind(_I, "beard", {"none": 0.64, "stubble": 0.12, "moustache": 0.10, "full": 0.14}, "beard"),
    _rare(_I, "freckles", 0.0, 1.0, 0.65, "density of freckles"),
    _kind(
        _I,
        "freckle_variant",
        _even(*map(str, range(FRECKLE_VARIANTS))),
        "where the freckles are (1 mirrors 0, 3 mirrors 2)",
    ),
    _flat(_I, "age", 0.0, 1.0, "relative", "strength of the age lines"),
    _flat(_F, "yaw", -40.0, 40.0, "degrees", "face turned to the image's right (positive)"),
    _flat(_F, "pitch", -20.0, 20.0, "degrees", "face turned up (positive)"),
    _flat(_F, "roll", -8.0, 8.0, "degrees", "head tilted counter-clockwise (positive)"),
    _flat(_F, "smile", -0.4, 1.0, "relative", "frown to broad smile"),
    _rare(_F, "mouth_open", 0.0, 1.0, 0.5, "closed to wide open"),
    _flat(_F, "eye_open", 0.0, 1.0, "relative", "nearly closed to wide open"),
    _bell(_F, "gaze_x", "eyes to the image's left (-1) or right (1)"),
    _bell(_F, "gaze_y", "eyes down (-1) or up (1)"),
    _bell(_F, "brow_raise", "brows down (-1) or up (1)"),
    _flat(_F, "light_azimuth", -70.0, 70.0, "degrees", "key light from the image's right (positive)"),
    _flat(_F, "light_elevation", 0.0, 60.0, "degrees", "key light above the camera"),
    _flat(_F, "light_strength", 0.5, 1.0, "relative", "key light, against the fill light"),
    _bell(_F, "light_warmth", "bluish (-1) to golden (1) key light"),
    _kind(_F, "background_pattern", _even(*BACKGROUND_PATTERNS), "pattern behind the person"),
    _kind(_F, "background_palette", _even(*map(str, range(BACKGROUND_PALETTES))), "its two colours"),
    _kind(_F, "background_scale", _even(*PATTERN_SCALES), "size of the pattern"),
    _kind(_F, "background_angle", _even(*PATTERN_ANGLES), "direction of the pattern, degrees counter-clockwise"),
    _kind(_F, "glasses", {"none": 0.70, "round": 0.12, "square": 0.12, "tinted": 0.06}, "glasses"),
    _kind(_F, "glasses_colour", _even(*FRAMES), "colour of the frame"),
    _kind(_F, "hat", {"none": 0.82, "beanie": 0.07, "cap": 0.06, "sun hat": 0.05}, "hat"),
    _kind(_F, "hat_colour", _even(*map(str, range(HAT_COLOURS))), "colour of the hat"),
    _kind(_F, "earring_left", {"none": 0.68, "stud": 0.11, "hoop": 0.11, "drop": 0.10}, "earring, image left"),
    _kind(_F, "earring_right", {"none": 0.68, "stud": 0.11, "hoop": 0.11, "drop": 0.10}, "earring, image right"),
    _kind(_F, "necklace", {"none": 0.76, "chain": 0.08, "pearls": 0.08, "pendant": 0.08}, "necklace"),
    _kind(_F, "metal", _even(*METALS), "colour of the jewellery"),
    _kind(_F, "collar", {"crew": 0.34, "v-neck": 0.24, "shirt": 0.27, "turtleneck": 0.15}, "neckline"),
    _kind(_F, "cloth_pattern", _even(*CLOTH_PATTERNS), "pattern of the clothes"),
    _kind(_F, "cloth_palette", _even(*map(str, range(CLOTH_PALETTES))), "colours of the clothes"),
    _kind(_F, "cloth_scale", _even(*PATTERN_SCALES), "size of the pattern"),
    _kind(_F, "cloth_angle", _even(*PATTERN_ANGLES), "direction of the pattern, degrees counter-clockwise"),
)
BY_NAME: Final[dict[str, Factor]] = {f.name: f for f in TABLE}
IDENTITY_FACTORS: Final = tuple(f.name for f in TABLE if f.group == "identity")
FREE_FACTORS: Final = tuple(f.name for f in TABLE if f.group == "free")
