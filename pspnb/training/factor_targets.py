"""Factors as what a network is trained to say: which outputs it has, their target values, and where they can be seen.

A factor that nothing in the picture shows must not be asked for: the colour of the frame without glasses, the scale
of a plain wall. `SHOWN_BY` says what shows each factor, and a test compares it with the renderer.
Chapter: "The world of Facets".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from pspnb.world2 import BY_NAME, TABLE, Factors

_READ = [f for f in TABLE if f.kind in ("continuous", "categorical")]
# Outputs of each factor, in the order of TABLE: logits of a choice, else one number.
HEADS = {f.name: len(f.names) if f.kind == "categorical" else 1 for f in _READ}
RANGES = {f.name: (float(f.low), float(f.high)) for f in _READ if f.kind == "continuous"}

Gate = Mapping[str, tuple[str, ...] | None]
"""Factor -> choices of it that show another factor; None: every choice but the first, or any value above zero."""


def _these(name: str, *choices: str) -> Gate:
    return {name: choices}


def _but(name: str, *hidden: str) -> Gate:
    return {name: tuple(choice for choice in BY_NAME[name].names if choice not in hidden)}


AMBIGUOUS = {
    "background_pattern": ("dots", "tiles", "leaves", "bokeh", "rays"),
    "cloth_pattern": ("checks", "dots", "argyle", "florets"),
}
"""Patterns that other directions draw as well, a quarter turn on: nobody can read which it was."""

# Factor -> what shows it, of which one must hold. A factor that isn't named shows in every picture.
SHOWN_BY: dict[str, Gate] = {
    "glasses_colour": {"glasses": None},
    "hat_colour": {"hat": None},
    "freckle_variant": {"freckles": None},
    "metal": {"earring_left": None, "earring_right": None, "necklace": None},
    "hair_volume": {"hair_style": None},
    "hair_length": _these("hair_style", "bob", "fringe", "long", "curly"),
    "hair_part": _these("hair_style", "parted", "bob", "long"),
    "background_scale": {"background_pattern": None},
    "background_angle": _but("background_pattern", *AMBIGUOUS["background_pattern"]),
    "cloth_scale": {"cloth_pattern": None},
    "cloth_angle": _these("cloth_pattern", "stripes"),
}


def shown(name: str, factors: Mapping[str, Tensor]) -> Float[Tensor, " b"]:
    """1 for images that show the factor `name`, 0 for those where it can't be read."""
    some = factors[name if name in factors else "yaw"]
    if name not in SHOWN_BY:
        return torch.ones(len(some), device=some.device)
    hits = [_shows(gate, choices, factors[gate]) for gate, choices in SHOWN_BY[name].items()]
    return torch.stack(hits).any(dim=0).float()


def _shows(gate: str, choices: tuple[str, ...] | None, value: Tensor) -> Tensor:
    if choices is None:
        return value > 0
    table = torch.tensor([choice in choices for choice in BY_NAME[gate].names], device=value.device)
    return table[value.long()]


@dataclass(frozen=True)
class FactorTargets:
    """All factors of `n` images as matrices: one gather a step instead of a hundred.

    `numbers`: continuous factors in [-1, 1]; `choices`: class ids. The weights are
    0 where a factor isn't shown; elsewhere 1 / sqrt(share of images that show it), so that rarely shown ones count too.
    """

    numbers: Float[Tensor, " n k"]
    number_weights: Float[Tensor, " n k"]
    choices: Int[Tensor, " n c"]
    choice_weights: Float[Tensor, " n c"]

    @staticmethod
    def of(factors: Factors) -> "FactorTargets":
        """Targets of every row of `factors`, on their device."""
        numbers, number_weights = [], []
        for name, (low, high) in RANGES.items():
            numbers.append(2 * (factors[name].float() - low) / (high - low) - 1)
            number_weights.append(_weight(name, factors))
        chosen = [name for name in HEADS if BY_NAME[name].kind == "categorical"]
        choices = torch.stack([factors[name].long() for name in chosen], dim=1)
        choice_weights = torch.stack([_weight(name, factors) for name in chosen], dim=1)
        return FactorTargets(torch.stack(numbers, 1), torch.stack(number_weights, 1), choices, choice_weights)

    def take(self, index: Int[Tensor, " m"]) -> "FactorTargets":
        """The rows at `index`."""
        parts = (self.numbers, self.number_weights, self.choices, self.choice_weights)
        return FactorTargets(*(part[index] for part in parts))

    def to(self, device: str | torch.device) -> "FactorTargets":
        """The same on another device."""
        parts = (self.numbers, self.number_weights, self.choices, self.choice_weights)
        return FactorTargets(*(part.to(device) for part in parts))


def _weight(name: str, factors: Factors) -> Tensor:
    visible = shown(name, factors)
    return visible / visible.mean().clamp(min=1e-3).sqrt()


def _columns() -> tuple[list[int], list[list[int]]]:
    """Columns of the outputs (in the order of HEADS) that hold numbers, and those of each choice, padded with `total`."""
    start, at = 0, {}
    for name, width in HEADS.items():
        at[name] = list(range(start, start + width))
        start += width
    numbers = [column for name in RANGES for column in at[name]]
    chosen = [at[name] for name in HEADS if BY_NAME[name].kind == "categorical"]
    longest = max(len(columns) for columns in chosen)
    return numbers, [columns + [start] * (longest - len(columns)) for columns in chosen]


NUMBERS, CHOICES = _columns()


class FactorLoss(torch.nn.Module):
    """Squared error of the numbers and cross entropy of the choices, from outputs in the order of HEADS, where they show.

    `of`: names of the factors that count (default: all).
    """

    numbers: Tensor
    choices: Tensor
    numbers_count: Tensor
    choices_count: Tensor

    def __init__(self, of: Collection[str] = tuple(HEADS)) -> None:
        super().__init__()
        # One entry a column of FactorTargets: its share in a mean over the factors that count.
        names = list(RANGES)
        chosen = [name for name in HEADS if BY_NAME[name].kind == "categorical"]
        count = {"numbers_count": [n in of for n in names], "choices_count": [n in of for n in chosen]}
        for name, counts in count.items():
            self.register_buffer(name, torch.tensor(counts).float() / max(sum(counts), 1), persistent=False)
        self.register_buffer("numbers", torch.tensor(NUMBERS), persistent=False)
        self.register_buffer("choices", torch.tensor(CHOICES), persistent=False)

    def forward(self, outputs: Float[Tensor, " b k"], truth: FactorTargets) -> tuple[Tensor, dict[str, Tensor]]:
        """4 squared + entropy, and the two for the log."""
        outputs = outputs.float()
        errors = (outputs[:, self.numbers] - truth.numbers).square() * truth.number_weights
        squared = (errors.mean(dim=0) * self.numbers_count).sum()
        padded = F.pad(outputs, [0, 1], value=-1e4)  # what no choice has is never chosen
        logits = padded[:, self.choices].movedim(2, 1)
        errors = F.cross_entropy(logits, truth.choices, reduction="none") * truth.choice_weights
        entropy = (errors.mean(dim=0) * self.choices_count).sum()
        return 4 * squared + entropy, {"squared": squared.detach(), "entropy": entropy.detach()}
