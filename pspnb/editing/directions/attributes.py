"""What an edit is meant to move: one factor of Facets, as a number or as one of its choices. Chapter: "Directions"."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.world2 import BY_NAME, Factor, Factors, edit


@dataclass(frozen=True)
class Attribute:
    """A continuous factor ("smile"), or a choice of a categorical one ("glasses:round"); made by `attribute`."""

    factor: Factor
    choice: str | None = None

    @property
    def name(self) -> str:
        return self.factor.name if self.choice is None else f"{self.factor.name}:{self.choice}"

    @property
    def unit(self) -> str:
        """What an amount of 1 means."""
        return "the choice" if self.choice is not None else self.factor.unit

    @property
    def step(self) -> float:
        """A fair amount to ask for: a quarter of the range; 1 for a choice."""
        return 1.0 if self.choice is not None else (self.factor.high - self.factor.low) / 4

    def scores(self, factors: Factors) -> Float[Tensor, " b"]:
        """The factor of each image; 1 and 0 for a choice that is taken and one that isn't."""
        value = factors[self.factor.name]
        return value.float() if self.choice is None else (value == self.factor.names.index(self.choice)).float()

    def possible(self, factors: Factors, amount: int | float) -> Bool[Tensor, " b"]:
        """Whose change by `amount` stays in the world: within the factor's range, or not chosen yet."""
        if self.choice is not None:
            return (
                (self.scores(factors) == 0) if amount > 0 else torch.zeros_like(self.scores(factors), dtype=torch.bool)
            )
        wanted = self.scores(factors) + amount
        return (wanted >= self.factor.low) & (wanted <= self.factor.high)

    def changed(self, factors: Factors, amount: int | float | Float[Tensor, " b"]) -> Factors:
        """The same people with the factor moved by `amount`, or with the choice taken; for rows that are `possible`.

        Raises ValueError where a row leaves its range (`pspnb.world2.edit`).
        """
        if self.choice is not None:
            return edit(factors, **{self.factor.name: self.choice})
        return edit(factors, **{self.factor.name: self.scores(factors) + amount})


def attribute(name: str) -> Attribute:
    """The attribute of a name such as "smile" or "glasses:round". PspnbError, which lists what there is, for another."""
    factor_name, colon, choice = name.partition(":")
    factor = BY_NAME.get(factor_name)
    if factor is None:
        raise PspnbError(f"expected a factor of Facets, got {factor_name!r}; there are {', '.join(BY_NAME)}")
    if factor.kind == "continuous":
        if colon:
            raise PspnbError(f"{factor_name} is a number; expected {factor_name}, got {name!r}")
        return Attribute(factor)
    if choice not in factor.names:
        choices = ", ".join(f"{factor_name}:{c}" for c in factor.names)
        raise PspnbError(f"expected one of {choices}, got {name!r}")
    return Attribute(factor, choice)
