"""One edit tried on many people: how far it got, what else moved, who it still is, how near it comes to the true edit.

Chapter: "Directions".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.editing.directions import Attribute
from pspnb.measure.answer_key import pooled
from pspnb.measure.edit_readings import Calibration, Readings, moved, reached, read_factors
from pspnb.measure.edit_subjects import Subjects
from pspnb.measure.intervals import ROUNDS, mean, ratio
from pspnb.measure.pairs import Instruments
from pspnb.training.factor_targets import shown
from pspnb.world2 import Factors

STRENGTHS = (0.5, 1.0, 1.5, 2.25, 3.5)
"""Times the strength that ought to do: where the search for one that does looks."""


@dataclass(frozen=True)
class Trial:
    """An edit asked of those `subjects` for whom it is possible: +- one step of a number, or a choice."""

    attribute: Attribute
    subjects: Subjects
    amounts: Float[Tensor, " n"]
    asked: Factors
    """What the true edit would show."""
    before: Readings
    instruments: Instruments
    calibration: Mapping[str, Calibration]

    def shift(self, vector: Float[Tensor, " *n d"]) -> Float[Tensor, " n m d"]:
        """A direction's vector, forwards or backwards, for each subject."""
        signs = self.amounts.sign().to(vector)[:, None, None]
        return signs * (vector if vector.ndim == 2 else vector[None])

    def after(self, shift: Float[Tensor, " n m d"]) -> Float[Tensor, " n"]:
        """How far the shift gets with each subject."""
        read = read_factors(self.instruments.factors, self.subjects.edited(shift))
        return reached(self.attribute, self.before, read, self.amounts, dict(self.calibration))


def trial(
    attribute: Attribute,
    subjects: Subjects,
    instruments: Instruments,
    calibration: Mapping[str, Calibration],
    *,
    n: int,
) -> Trial:
    """At most `n` subjects, the first for whom the edit is possible and shows."""
    step, f = attribute.step, subjects.factors
    up, down = attribute.possible(f, step), attribute.possible(f, -step)
    fits = (up | down) & shown(attribute.factor.name, f).bool()
    fits &= fits.cumsum(0) <= n
    chosen = subjects.take(fits)
    amounts = torch.where(up, step, -step)[fits]
    before = read_factors(instruments.factors, chosen.images)
    asked = attribute.changed(chosen.factors, amounts)
    return Trial(attribute, chosen, amounts, asked, before, instruments, calibration)


def strength_for(t: Trial, vector: Float[Tensor, " *n d"], target: float) -> tuple[float, list[tuple[float, float]]]:
    """The strength at which `vector` gets as far as `target` on average, and the curve (strength, reached) that it was read from.

    The first crossing of the curve through 0 and `STRENGTHS`, straight between its points; where there is none, the strength that
    gets furthest.
    """
    here = float(reached(t.attribute, t.before, t.before, t.amounts, dict(t.calibration)).mean())
    curve = [(0.0, here)]
    for strength in STRENGTHS:
        got = float(t.after(t.shift(strength * vector)).mean())
        (s0, r0), curve = curve[-1], [*curve, (strength, got)]
        if r0 < target <= got:
            return s0 + (strength - s0) * (target - r0) / (got - r0), curve
    return max(curve, key=lambda point: point[1])[0], curve


def measure_trial(
    t: Trial, images: Float[Tensor, " n 3 s s"], wanted: Float[Tensor, " n 3 s s"], *, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Numbers with intervals of edited `images` of the subjects; `wanted`: the rendered true edits.

    `reached` in the attribute's units (a choice: share that is read as it); `identity`: cosine of before and after; `distance` and
    `mse` to the rendered true edit; `matrix`: how much every other legible factor moved, 1 = as between two random people;
    `leak`: its mean.
    """
    nets = t.instruments
    after = read_factors(nets.factors, images)
    judge = nets.perceptual_eval or nets.perceptual
    near = _batched(lambda a, b: judge.distance(judge.features(a), judge.features(b)), images, wanted)
    same = _batched(
        lambda a, b: F.cosine_similarity(nets.identity_eval(a), nets.identity_eval(b)), t.subjects.images, images
    )
    got = reached(t.attribute, t.before, after, t.amounts, dict(t.calibration))
    matrix = leakage(t, t.before, after, rounds=rounds)
    rest = [row["value"] for name, row in matrix.items() if name != t.attribute.factor.name]
    return {
        "reached": mean(got, rounds=rounds)._asdict(),
        "identity": mean(same, rounds=rounds)._asdict(),
        "distance": mean(near, rounds=rounds)._asdict(),
        "mse": mean((images - wanted).square().mean(dim=(1, 2, 3)).cpu(), rounds=rounds)._asdict(),
        "leak": sum(rest) / max(len(rest), 1),
        "matrix": matrix,
    }


def rendered_trial(t: Trial, calibration: Mapping[str, Calibration]) -> Trial:
    """The same subjects as the renderer draws them: the instruments' own leakage, with a `calibration` on renders."""
    start = t.subjects.truth()
    before = read_factors(t.instruments.factors, start)
    return replace(t, subjects=replace(t.subjects, images=start), before=before, calibration=calibration)


def leakage(t: Trial, before: Readings, after: Readings, *, rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """Mean change of each legible factor, divided by the mean difference of two random people."""
    out = {}
    for name, scale in t.calibration.items():
        where = shown(name, t.subjects.factors).cpu()
        if not scale.legible or int(where.sum()) < 10:
            continue
        change = moved(before[name], after[name]) * where
        out[name] = ratio(change / scale.between, where, rounds=rounds)._asdict()
    return out


@torch.no_grad()
def _batched(f: Any, a: Tensor, b: Tensor, size: int = 64) -> Float[Tensor, " n"]:
    parts = [f(pooled(x), pooled(y)) for x, y in zip(a.split(size), b.split(size), strict=True)]
    return torch.cat(parts).float().cpu()
