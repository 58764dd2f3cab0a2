"""Short films of Facets people of which every frame's factors are known: turning, speaking, blinking, a hand-held camera, cuts.

A clip is a pure function of its number and kind. Clip k shows test person k. Chapter: "Video".
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pspnb.world2.factors import BY_NAME, Factors
from pspnb.world2.hashing import stream_id, uniform
from pspnb.world2.render import MAX_YAW, render
from pspnb.world2.sampling import SPLIT_SIZES, sample_factors

KINDS: Final = ("still", "turning", "beyond", "speaking", "blinking", "handheld", "cuts", "mixed")
"""Nothing moves; the head turns within what was learned; beyond it (to 60 degrees); lips and small nods; lids and eyes; a camera
that shakes, as a shake of the pose; another person and place every third of the clip; all of it but "beyond"."""
_KEY: Final = 5_050_505
BLINK: Final = 0.18
"""Seconds from open to closed to open."""


@dataclass(frozen=True)
class Sequence:
    """`factors` of n frames, `rate` of them a second; `shot`: which frames belong together (counts up at a cut)."""

    kind: str
    factors: Factors
    shot: Int[Tensor, " n"]
    rate: float

    def __len__(self) -> int:
        return len(self.shot)

    def frames(self, size: int, *, device: str | torch.device = "cpu") -> Float[Tensor, " n 3 s s"]:
        """The pictures, in [-1, 1]."""
        return render(self.factors, size, device=device, yaw_limit=MAX_YAW if self.kind == "beyond" else None).image


def sequence(kind: str, clip: int = 0, *, n_frames: int = 48, rate: int | float = 24.0) -> Sequence:
    """Clip number `clip` of a kind of `KINDS`. ValueError for another kind, a negative number or no frames."""
    if kind not in KINDS or clip < 0 or n_frames < 1 or not rate > 0:
        raise ValueError(
            f"expected a kind of {', '.join(KINDS)}, a clip from 0, frames and a rate, got {kind!r}, {clip}"
        )
    shot = torch.zeros(n_frames, dtype=torch.int64)
    if kind in ("cuts", "mixed"):
        shot = torch.arange(n_frames) * 3 // n_frames
    people = sample_factors("test", (clip + shot) % SPLIT_SIZES["test"])
    if kind == "mixed":  # one person before three backgrounds
        person = sample_factors("test", [clip % SPLIT_SIZES["test"]])
        people = {
            name: value if name.startswith("background") else person[name].expand(n_frames).clone()
            for name, value in people.items()
        }
    t = torch.arange(n_frames, dtype=torch.float64) / rate
    return Sequence(kind, _moved(people, _motion(kind, clip, t)), shot, float(rate))


def _motion(kind: str, clip: int, t: Float[Tensor, " n"]) -> dict[str, Float[Tensor, " n"]]:
    """What is added to the factors, in their units; `eye_open` is multiplied."""
    motion: dict[str, Tensor] = {}
    if kind in ("turning", "beyond"):
        phase = 2 * math.pi * _u(clip, "turn")
        motion["yaw"] = (60.0 if kind == "beyond" else 38.0) * torch.sin(2 * math.pi * t / 2 + phase)
        motion["pitch"] = 8 * _wander(clip, "pitch", t, 0.5)
    if kind in ("speaking", "mixed"):
        syllables = torch.sin(2 * math.pi * (3 + 2 * _u(clip, "pace")) * t).clamp(min=0)
        motion["mouth_open"] = 0.5 * syllables * (0.6 + 0.4 * _wander(clip, "loud", t, 0.7))
        motion["smile"] = 0.15 * _wander(clip, "smile", t, 0.6)
        motion["pitch"] = 3 * _wander(clip, "nod", t, 1.2)
    if kind in ("blinking", "mixed"):
        motion["eye_open"] = _blinks(clip, t)
        motion["gaze_x"] = 0.6 * torch.sign(_wander(clip, "look", t, 0.8))
    if kind == "mixed":
        motion["yaw"] = 18 * _wander(clip, "yaw", t, 0.4)
    if kind in ("handheld", "mixed"):
        for name, reach in (("yaw", 1.5), ("pitch", 1.2), ("roll", 2.0)):
            shake = (
                reach * (_wander(clip, f"drift {name}", t, 0.6) + 0.5 * _wander(clip, f"shake {name}", t, 5.0)) / 1.5
            )
            motion[name] = motion.get(name, torch.zeros_like(t)) + shake
    return motion


def _moved(people: Factors, motion: dict[str, Tensor]) -> Factors:
    """The people in motion. What moves starts from the middle of its range, or closed lips and open eyes."""
    out = dict(people)
    for name, change in motion.items():
        factor = BY_NAME[name]
        if name == "eye_open":
            value = 0.75 * change
        elif name == "mouth_open":
            value = change
        else:
            middle = people[name].double() if name == "smile" else torch.zeros_like(change)
            value = middle + change
        low, high = (-MAX_YAW, MAX_YAW) if name == "yaw" else (factor.low, factor.high)
        out[name] = value.clamp(low, high).float()
    return out


def _u(clip: int, name: str) -> float:
    return float(uniform(_KEY, torch.tensor([clip]), stream_id(name))[0])


def _wander(clip: int, name: str, t: Tensor, hertz: float) -> Float[Tensor, " n"]:
    """A smooth motion in [-1, 1] around so many swings a second: three sines of unlike speed, phases by hash."""
    waves = [
        torch.sin(2 * math.pi * (hertz * speed * t + _u(clip, f"{name} {k}")))
        for k, speed in enumerate((0.61, 1.0, 1.37))
    ]
    return sum(waves[1:], waves[0]) / 3


def _blinks(clip: int, t: Tensor) -> Float[Tensor, " n"]:
    """1 with open eyes; down to 0.03 for a moment, first within a second, then every 1 to 2 seconds."""
    lids, at, k = torch.ones_like(t), 0.2 + 0.6 * _u(clip, "blink"), 0
    while at < float(t[-1]) + BLINK:
        lids = torch.minimum(lids, ((t - at).abs() / (BLINK / 2)).clamp(0.03, 1))
        k, at = k + 1, at + 1 + _u(clip, f"blink {k}")
    return lids
