"""From factors to measures: every length, radius and colour the renderer needs, one float per image, in head units
(half the image's height is 1). The only place where a factor's -1..1 becomes a size."""

import torch
from torch import Tensor

from pspnb.facets import palettes
from pspnb.facets.factors import HAIR_STYLES, Factors
from pspnb.facets.hashing import stream_id, uniform

# Per style: top, side and back thickness; bottom at the ear and its slope to the back; curtain half-width, flare, end
# (the lowest y of hanging hair; 9 = none); top of the face opening, its half-width; bun radius; curl amplitude;
# curl frequency; fuzz (how matt). One row per name of HAIR_STYLES, in that order.
HAIR_TABLE = {
    #          top   side  back  bottom slope wide  flare end    open  half  bun   curl  freq  fuzz
    "bald":   (0.00, 0.00, 0.00, 0.90, 0.0, 0.00, 0.00, 9.00, 0.40, 0.42, 0.00, 0.000, 2.0, 0.0),
    "buzz":   (0.03, 0.02, 0.03, 0.06, 0.9, 0.00, 0.00, 9.00, 0.42, 0.43, 0.00, 0.000, 2.0, 1.0),
    "short":  (0.12, 0.045, 0.08, 0.08, 0.9, 0.00, 0.00, 9.00, 0.40, 0.42, 0.00, 0.012, 1.9, 0.3),
    "parted": (0.11, 0.07, 0.09, 0.02, 0.9, 0.00, 0.00, 9.00, 0.38, 0.41, 0.00, 0.000, 2.0, 0.0),
    "bob":    (0.10, 0.09, 0.10, -0.40, 0.0, 0.58, 0.16, -0.40, 0.39, 0.40, 0.00, 0.000, 2.0, 0.0),
    "fringe": (0.10, 0.08, 0.10, -0.25, 0.0, 0.56, 0.10, -0.28, 0.25, 0.41, 0.00, 0.000, 2.0, 0.0),
    "long":   (0.09, 0.07, 0.10, -0.95, 0.0, 0.56, 0.14, -0.98, 0.40, 0.38, 0.00, 0.006, 1.2, 0.0),
    "curly":  (0.16, 0.15, 0.15, -0.45, 0.0, 0.62, 0.12, -0.46, 0.35, 0.40, 0.00, 0.030, 1.6, 0.1),
    "bun":    (0.05, 0.03, 0.06, 0.06, 0.7, 0.00, 0.00, 9.00, 0.42, 0.42, 0.17, 0.000, 2.0, 0.0),
    "afro":   (0.22, 0.26, 0.22, -0.15, 0.5, 0.00, 0.00, 9.00, 0.36, 0.42, 0.00, 0.017, 3.0, 0.9),
}  # fmt: skip
_HAIR_COLUMNS = (
    "hair_top", "hair_side", "hair_back", "hair_bottom", "hair_slope", "curtain", "flare", "curtain_end",
    "open_top", "open_half", "bun", "curl", "curl_freq", "fuzz",
)  # fmt: skip


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


def _face(f: Factors) -> dict[str, Tensor]:
    eye_w = 0.132 + 0.014 * f["eye_size"]
    mouth_y = -0.352 + 0.022 * f["mouth_height"]
    smile = f["smile"]
    nose_len = 0.235 + 0.04 * f["nose_length"]
    return {
        "head_w": 0.485 + 0.028 * f["head_width"], "head_h": 0.545 + 0.03 * f["head_height"],
        "jaw_w": 0.415 + 0.045 * f["jaw_width"] + 0.012 * smile.clamp(min=0),
        "chin_y": -0.555 - 0.035 * f["chin_length"], "cheek": 0.135 + 0.03 * f["cheek_fullness"],
        "jaw_drop": 0.075 * f["mouth_open"],
        "ear_h": 0.125 + 0.03 * f["ear_size"], "ear_out": 0.02 * f["ear_angle"],
        "nose_w": 0.062 + 0.016 * f["nose_width"], "nose_len": nose_len,
        "nose_z": 0.585 + 0.035 * f["nose_depth"], "nose_b": 0.030 + 0.009 * f["nose_bridge"],
        "nose_tip_y": 0.055 - nose_len,
        "eye_w": eye_w, "eye_h": eye_w * (0.58 + 0.09 * f["eye_roundness"]), "eye_x": 0.212 + 0.016 * f["eye_spacing"],
        "eye_y": torch.full_like(eye_w, 0.045), "slant": 0.10 * f["eye_slant"] + 0.05,
        "eye_open": f["eye_open"] * (2.0 - f["eye_open"]),
        "iris_size": 0.064 + 0.004 * f["eye_size"], "gaze_x": 0.050 * f["gaze_x"], "gaze_y": 0.030 * f["gaze_y"],
        "lash": 0.0065 + 0.007 * f["lashes"],
        "brow_y": 0.135 + 0.018 * f["brow_height"] + 0.025 * f["brow_raise"] + 0.012 * f["eye_open"],
        "brow_t": 0.019 + 0.007 * f["brow_thickness"], "brow_a": 0.11 * f["brow_angle"] - 0.05,
        "mouth_y": mouth_y, "mouth_w": 0.185 + 0.018 * f["mouth_width"] + 0.028 * smile,
        "smile": smile, "mouth_open": f["mouth_open"], "lip": 0.040 + 0.011 * f["lip_fullness"],
        "age": f["age"], "freckles": f["freckles"],
        "stubble": (f["beard"] == 1).float(), "moustache": (f["beard"] >= 2).float(), "beard": (f["beard"] == 3).float(),
    }  # fmt: skip


def _hair(f: Factors) -> dict[str, Tensor]:
    rows = _lookup(tuple(HAIR_TABLE[name] for name in HAIR_STYLES), f["hair_style"])
    out = {name: rows[:, i] for i, name in enumerate(_HAIR_COLUMNS)}
    grow = 1.0 + 0.22 * f["hair_volume"]
    for name in ("hair_top", "hair_side", "hair_back"):
        out[name] = out[name] * grow
    length = 0.09 * f["hair_length"]
    hangs = (out["curtain"] > 0).float()
    out["curtain_end"] = out["curtain_end"] - length * hangs
    out["hair_bottom"] = out["hair_bottom"] - length * hangs
    out["curtain"] = out["curtain"] * (1.0 + 0.05 * f["hair_volume"])
    out["open_top"] = out["open_top"] + 0.025 * f["head_height"]
    out["part"] = f["hair_part"] * 0.22
    parted = torch.tensor([n in ("parted", "bob", "long") for n in HAIR_STYLES])[f["hair_style"]].float()
    out["parted"] = parted
    out["hatted"] = (f["hat"] > 0).float()
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
    dy, dz = m["nose_tip_y"] - 0.06, m["nose_z"] - 0.485
    short = 1.0 / (dy * dy + dz * dz)
    return {
        "inv_head_w": 1.0 / m["head_w"], "inv_head_h": 1.0 / m["head_h"], "inv_jaw_w": 1.0 / m["jaw_w"],
        "inv_jaw_h": 1.0 / (-0.13 - m["chin_y"]), "inv_ear_h": 1.0 / m["ear_h"],
        "nose_dy": dy, "nose_dz": dz, "nose_py": dy * short, "nose_pz": dz * short,
        "nose_taper": m["nose_w"] * 0.80 - m["nose_b"], "wing_x": m["nose_w"] * 0.80, "inv_wing": 1.0 / (m["nose_w"] * 0.62),
        "ear_x": m["head_w"] + 0.012 + m["ear_out"], "chin_c": m["chin_y"] + 0.09, "cheek_y": 0.03 * m["smile"] - 0.155,
        "cheek_out": m["cheek"] - 0.135,
        "inv_hair_x": 1.0 / (m["head_w"] + m["hair_side"]), "inv_hair_y": 1.0 / (m["head_h"] + m["hair_top"]),
        "inv_hair_z": 1.0 / (0.565 + m["hair_back"]), "inv_open_half": 1.0 / m["open_half"],
        "inv_open_top": 1.0 / (m["open_top"] + 0.08), "part_x": m["part"] * m["parted"],
        "carve_z": 0.06 - 0.10 * (m["hair_slope"] <= 0).float(),
    }  # fmt: skip


def _details(f: Factors) -> dict[str, Tensor]:
    """Eight uniform numbers of the person and eight of the image, for phases and small asymmetries."""
    person = {f"id{k}": uniform(7, f["identity_detail"], stream_id("detail") + k).float() for k in range(8)}
    image = {f"im{k}": uniform(8, f["image_detail"], stream_id("detail") + k).float() for k in range(8)}
    return {**person, **image}


def measures(f: Factors) -> dict[str, Tensor]:
    """Every per-image float of the renderer, (b,) float32 on the CPU. `f` holds CPU tensors that passed `validate`."""
    kinds = (
        "background_pattern", "background_scale", "background_angle", "cloth_pattern", "cloth_scale", "cloth_angle",
        "collar", "glasses", "hat", "earring_left", "earring_right", "necklace", "hair_style", "light_strength", "light_warmth",
    )  # fmt: skip
    shape = {**_face(f), **_hair(f)}
    return {**shape, **_derived(shape), **_colours(f), **_details(f), **{k: f[k].float() for k in kinds}}
