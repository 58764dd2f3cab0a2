"""From factors to measures: every length, radius and colour the renderer needs, one float per image, in head units
(half the image's height is 1). The only place where a factor's -1..1 becomes a size."""

import torch
from torch import Tensor

from pspnb.world2 import palettes
from pspnb.world2.factors import HAIR_STYLES, Factors
from pspnb.world2.geometry.pixels import Measures

# Per style: top, side and back thickness; bottom at the ear and its slope to the back; curtain half-width, flare, end
# (the lowest y of hanging hair; 9 = none); top of the face opening, its half-width; bun radius; curl amplitude;
# curl frequency; fuzz (how matt). One row per name of HAIR_STYLES, in that order.
HAIR_TABLE = {
    #          top   side  back  bottom slope wide  flare end    open  half  bun   curl  freq  fuzz
    "bald":   (0.00, 0.00, 0.00, 0.90, 0.0, 0.00, 0.00, 9.00, 0.40, 0.42, 0.00, 0.000, 2.0, 0.0),
    "buzz":   (0.03, 0.02, 0.03, 0.06, 0.9, 0.00, 0.00, 9.00, 0.42, 0.43, 0.00, 0.000, 2.0, 1.0),
    "short":  (0.12, 0.045, 0.08, 0.08, 0.9, 0.00, 0.00, 9.00, 0.40, 0.42, 0.00, 0.000, 1.9, 0.3),
    "parted": (0.11, 0.07, 0.09, 0.02, 0.9, 0.00, 0.00, 9.00, 0.38, 0.41, 0.00, 0.000, 2.0, 0.0),
    "bob":    (0.10, 0.09, 0.10, -0.40, 0.0, 0.58, 0.16, -0.40, 0.39, 0.40, 0.00, 0.000, 2.0, 0.0),
    "fringe": (0.10, 0.08, 0.10, -0.25, 0.0, 0.56, 0.10, -0.28, 0.25, 0.41, 0.00, 0.000, 2.0, 0.0),
    "long":   (0.09, 0.07, 0.10, -0.95, 0.0, 0.56, 0.14, -0.98, 0.40, 0.38, 0.00, 0.000, 1.2, 0.0),
    "curly":  (0.16, 0.15, 0.15, -0.45, 0.0, 0.62, 0.12, -0.46, 0.35, 0.40, 0.00, 0.030, 1.6, 0.1),
    "bun":    (0.05, 0.03, 0.06, 0.06, 0.7, 0.00, 0.00, 9.00, 0.42, 0.42, 0.17, 0.000, 2.0, 0.0),
    "afro":   (0.22, 0.26, 0.22, -0.15, 0.5, 0.00, 0.00, 9.00, 0.36, 0.42, 0.00, 0.017, 3.0, 0.9),
}  # fmt: skip
_HAIR_COLUMNS = (
    "hair_top", "hair_side", "hair_back", "hair_bottom", "hair_slope", "curtain", "flare", "curtain_end",
    "open_top", "open_half", "bun", "curl", "curl_freq", "fuzz",
)  # fmt: skip

# Cycles of a pattern per head unit (35 px at 64 px), fine to coarse. Nothing repeats within 6 px: finer patterns neither
# read well as a thumbnail nor can a small network hold them.
WALL_CYCLES = (3.0, 1.6)
CLOTH_CYCLES = (3.4, 2.6)


def _lookup(table: tuple[tuple[float, ...], ...], index: Tensor) -> Tensor:
    return torch.tensor(table, dtype=torch.float32)[index]


def skin_colour(tone: Tensor, undertone: Tensor) -> Tensor:
    """sRGB (b, 3) of skin tones in [0, 1]: equal tone steps are equal CIELAB distances; undertone shifts red against blue."""
    anchors = torch.tensor(palettes.SKIN)
    place = tone.clamp(0, 1) * (len(anchors) - 1)
    low = place.floor().clamp(max=len(anchors) - 2).long()
    w = (place - low)[:, None]
    colour = anchors[low] + (anchors[low + 1] - anchors[low]) * w
    return colour * (1.0 + undertone[:, None] * torch.tensor([0.015, 0.0, -0.05]))


def _skull(f: Factors) -> dict[str, Tensor]:
    """The head without its features. The jaw follows the skull, so that no combination of factors falls apart."""
    head_w = 0.485 + 0.055 * f["head_width"]
    jaw_w = 0.855 * head_w + 0.060 * f["jaw_width"] + 0.012 * f["smile"].clamp(min=0)
    # the head's half width where the ears are: skull and jaw, and the smooth union's bulge between them
    blend = (0.24 - 0.955 * (head_w - jaw_w).abs()).clamp(min=0.0)
    ear_base = 0.955 * torch.maximum(head_w, jaw_w) + (0.25 / 0.24) * blend * blend - 0.009
    return {
        "head_w": head_w, "head_h": 0.545 + 0.055 * f["head_height"], "jaw_w": jaw_w,
        "chin_y": -0.565 - 0.060 * f["chin_length"], "inv_chin_w": 5.7 - 1.4 * f["chin_width"],
        "cheek": 0.135 + 0.045 * f["cheek_fullness"], "cheek_x": 0.485 * head_w, "jaw_drop": 0.075 * f["mouth_open"],
        "ear_h": 0.125 + 0.042 * f["ear_size"], "ear_out": 0.024 + 0.028 * f["ear_angle"],
        "ear_base": ear_base,
        "stubble": (f["beard"] == 1).float(), "moustache": (f["beard"] >= 2).float(), "beard": (f["beard"] == 3).float(),
        "age": f["age"], "freckles": f["freckles"], "smile": f["smile"], "mouth_open": f["mouth_open"],
    }  # fmt: skip


def _features(f: Factors, skull: dict[str, Tensor]) -> dict[str, Tensor]:
    """Eyes, brows, nose and mouth. Each is placed between its neighbours, as on real faces: eyes by the skull's width,
    brows above the eyes' own height, the mouth between nose and chin."""
    eye_y = 0.045 + 0.036 * f["eye_height"]
    eye_x = 0.437 * skull["head_w"] * (1.0 + 0.105 * f["eye_spacing"])
    eye_w = (0.132 + 0.021 * f["eye_size"]) * (0.5 + 2.36 * eye_x)
    eye_h = eye_w * (0.58 + 0.13 * f["eye_roundness"])
    nose_y = 0.5 * (eye_y + 0.045) - 0.215 - 0.055 * f["nose_length"] + 0.012 * f["nose_tip"]
    gap = nose_y - skull["chin_y"]
    smile = f["smile"]
    return {
        "eye_x": eye_x, "eye_y": eye_y, "eye_w": eye_w, "eye_h": eye_h, "slant": 0.05 + 0.17 * f["eye_slant"],
        "eye_open": f["eye_open"] * (2.0 - f["eye_open"]), "inv_brow": 1.0 / torch.minimum(0.715 * eye_x, 0.312 * skull["head_w"]),
        "iris_size": 0.040 + 0.18 * eye_w, "gaze_x": 0.38 * eye_w * f["gaze_x"], "gaze_y": 0.030 * f["gaze_y"],
        "lash": 0.0065 + 0.008 * f["lashes"],
        "brow_y": 0.080 + 0.66 * eye_h + 0.032 * f["brow_height"] + 0.025 * f["brow_raise"] + 0.012 * f["eye_open"],
        "brow_t": 0.021 + 0.009 * f["brow_thickness"], "brow_a": 0.17 * f["brow_angle"] - 0.05,
        "nose_w": 0.062 + 0.024 * f["nose_width"], "nose_z": 0.585 + 0.050 * f["nose_depth"],
        "nose_b": 0.030 + 0.013 * f["nose_bridge"], "nose_tip_y": nose_y, "nose_up": 0.022 * f["nose_tip"],
        "bridge_y": eye_y + 0.015,
        "mouth_y": nose_y - gap * (0.455 - 0.055 * f["mouth_height"]),
        "mouth_w": (0.185 + 0.036 * f["mouth_width"] + 0.028 * smile) * (0.52 + 1.157 * skull["jaw_w"]),
        "lip": (0.040 + 0.018 * f["lip_fullness"]) * (gap * 2.7).clamp(max=1.0),
    }  # fmt: skip


def _hair(f: Factors, skull: dict[str, Tensor]) -> dict[str, Tensor]:
    rows = _lookup(tuple(HAIR_TABLE[name] for name in HAIR_STYLES), f["hair_style"])
    out = {name: rows[:, i] for i, name in enumerate(_HAIR_COLUMNS)}
    grow = 1.0 + 0.17 * f["hair_volume"]
    for name in ("hair_top", "hair_side", "hair_back"):
        out[name] = out[name] * grow
    length = 0.09 * f["hair_length"]
    hangs = (out["curtain"] > 0).float()
    out["curtain_end"] = out["curtain_end"] - length * hangs
    out["hair_bottom"] = out["hair_bottom"] - length * hangs
    wide = skull["head_w"] * (1.0 / 0.485)
    out["curtain"] = out["curtain"] * (1.0 + 0.05 * f["hair_volume"]) * wide
    out["open_half"] = out["open_half"] * wide
    out["open_top"] = out["open_top"] + 0.8 * (skull["head_h"] - 0.545)
    out["bun_y"] = 0.175 + skull["head_h"]
    out["part"] = f["hair_part"] * 0.22
    parted = torch.tensor([n in ("parted", "bob", "long") for n in HAIR_STYLES])[f["hair_style"]].float()
    out["parted"] = parted
    curls, haired = (out["curl"] > 0).float(), (out["hair_top"] > 0).float()
    out |= {
        "hair_short": haired * (1 - hangs) * (1 - curls), "hair_long": hangs * (1 - curls), "hair_curly": hangs * curls,
        "hair_afro": (1 - hangs) * curls, "hatted": (f["hat"] > 0).float(),
        "beanie": (f["hat"] == 1).float(), "cap": (f["hat"] == 2).float(), "sun_hat": (f["hat"] == 3).float(),
    }  # fmt: skip
    return out


def _colours(f: Factors) -> dict[str, Tensor]:
    def rgb(name: str, value: Tensor) -> dict[str, Tensor]:
        return {f"{name}_{c}": value[:, i] for i, c in enumerate("rgb")}

    skin = skin_colour(f["skin_tone"], f["undertone"])
    tint = f["lip_tint"][:, None]
    lip = skin * torch.tensor([0.86, 0.60, 0.60]) * (1 - 0.75 * tint) + tint * 0.75 * (
        skin * torch.tensor([0.62, 0.22, 0.25]) + torch.tensor([0.27, 0.09, 0.11])
    )
    hair = _lookup(palettes.HAIR, f["hair_colour"]) * (1.0 + 0.16 * f["hair_shade"][:, None])
    cloth = f["cloth_palette"]
    return {
        **rgb("skin", skin), **rgb("lip", lip), **rgb("hair", hair), **rgb("iris", _lookup(palettes.IRIS, f["iris"])),
        **rgb("metal", _lookup(palettes.METAL, f["metal"])), **rgb("frame", _lookup(palettes.FRAME, f["glasses_colour"])),
        **rgb("hat", _lookup(palettes.HAT, f["hat_colour"])),
        **rgb("wall", _lookup(palettes.BACKGROUND_A, f["background_palette"])),
        **rgb("deco", _lookup(palettes.BACKGROUND_B, f["background_palette"])),
        **rgb("cloth", _lookup(palettes.CLOTH_A, cloth)), **rgb("weave", _lookup(palettes.CLOTH_B, cloth)),
        **rgb("trim", _lookup(palettes.CLOTH_C, cloth)),
    }  # fmt: skip


def _derived(m: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reciprocals and products that the fields would otherwise recompute for every sample."""
    dy, dz = m["nose_tip_y"] - m["bridge_y"], m["nose_z"] - 0.485
    short = 1.0 / (dy * dy + dz * dz)
    return {
        "inv_head_w": 1.0 / m["head_w"], "inv_head_h": 1.0 / m["head_h"], "inv_jaw_w": 1.0 / m["jaw_w"],
        "inv_jaw_h": 1.0 / (-0.13 - m["chin_y"]), "inv_ear_h": 1.0 / m["ear_h"],
        "nose_dy": dy, "nose_dz": dz, "nose_py": dy * short, "nose_pz": dz * short,
        "nose_taper": m["nose_w"] * 0.80 - m["nose_b"], "wing_x": m["nose_w"] * 0.80, "inv_wing": 1.0 / (m["nose_w"] * 0.62),
        "wing_y": m["nose_tip_y"] + 0.008 - m["nose_up"],
        "ear_x": m["ear_base"] + 0.012 + m["ear_out"],
        "chin_c": m["chin_y"] + 0.09 + 0.016 * (5.7 - m["inv_chin_w"]), "cheek_y": 0.03 * m["smile"] - 0.155,
        "cheek_out": m["cheek"] - 0.135,
        "inv_hair_x": 1.0 / (m["head_w"] + m["hair_side"]), "inv_hair_y": 1.0 / (m["head_h"] + m["hair_top"]),
        "inv_hair_z": 1.0 / (0.565 + m["hair_back"]), "inv_open_half": 1.0 / m["open_half"],
        "inv_open_top": 1.0 / (m["open_top"] + 0.08), "part_x": m["part"] * m["parted"],
        "carve_z": 0.06 - 0.10 * (m["hair_slope"] <= 0).float(),
    }  # fmt: skip


def _patterns(f: Factors) -> dict[str, Tensor]:
    """Directions as cosine and sine, scales as cycles per unit."""
    out = {
        "fade": torch.tensor([1.0, -1.0])[f["background_angle"]],
    }  # fmt: skip
    for name, cycles in (("background", WALL_CYCLES), ("cloth", CLOTH_CYCLES)):
        out[f"{name}_cos"] = torch.tensor([1.0, 0.0])[f[f"{name}_angle"]]
        out[f"{name}_sin"] = torch.tensor([0.0, 1.0])[f[f"{name}_angle"]]
        out[f"{name}_cycles"] = torch.tensor(cycles)[f[f"{name}_scale"]]
    return out


_KINDS = (
    "background_pattern",
    "cloth_pattern",
    "collar",
    "glasses",
    "hat",
    "necklace",
    "earring_left",
    "earring_right",
)
_PARTS = (
    "beard", "moustache", "stubble", "freckles", "parted", "bun", "curl", "fuzz", "hair_short", "hair_long", "hair_curly",
    "hair_afro", "hatted", "beanie", "cap", "sun_hat", "glasses", "earring_left", "earring_right", "necklace",
)  # fmt: skip


def measures(f: Factors) -> Measures:
    """Every per-image float of the renderer, (b,) float32 on the CPU. `f` holds CPU tensors that passed `validate`."""
    skull = _skull(f)
    shape = {**skull, **_features(f, skull), **_hair(f, skull)}
    kinds = {k: f[k].float() for k in (*_KINDS, "background_scale", "freckle_variant")}
    out = Measures({**shape, **_derived(shape), **_colours(f), **_patterns(f), **kinds})
    occurring = {f"{k}={value}" for k in _KINDS for value in f[k].unique().tolist()}
    out.has = frozenset(occurring | {k for k in _PARTS if bool((out[k] > 0).any())})
    return out
