"""How wrong the factors are that `factors` reads from generated images, beside the same on renders: a table for the book.

The error on renders is the instrument's; what the generator adds to it is the generator's. Chapter: "StyleGAN2 from the inside".
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from pspnb.measure.intervals import ROUNDS, ratio
from pspnb.measure.pairs import Pairs
from pspnb.training.factor_targets import shown
from pspnb.world2 import BY_NAME


def factor_errors(pairs: Pairs, *, rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """Factor -> {unit, generated, rendered}: accuracy of a choice, else mean absolute error in the factor's unit.

    Only images in which the factor shows (the colour of glasses: where glasses are worn); `n` counts all of them.
    """
    table: dict[str, dict[str, Any]] = {}
    for name in sorted(key.removeprefix("read_") for key in pairs.generated if key.startswith("read_")):
        truth, where = pairs.factors[name], shown(name, pairs.factors)
        table[name] = {"unit": "accuracy" if BY_NAME[name].kind == "categorical" else BY_NAME[name].unit}
        for source, columns in (("generated", pairs.generated), ("rendered", pairs.rendered)):
            errors = error(name, columns[f"read_{name}"], truth)
            table[name][source] = ratio(errors * where, where, rounds=rounds)._asdict()
    return table


def error(name: str, read: Tensor, truth: Tensor) -> Float[Tensor, " n"]:
    """1 where a choice is right, else 0; the absolute difference of numbers."""
    return (read == truth).float() if BY_NAME[name].kind == "categorical" else (read - truth).abs()
