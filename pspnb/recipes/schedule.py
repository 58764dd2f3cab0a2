"""How long an encoder is trained, in what batches and with which optimiser: a row of a table by scale and preset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pspnb.checks import given
from pspnb.errors import PspnbError
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.scales import scale_named
from pspnb.training.encoder_config import EncoderConfig

Config = TypeVar("Config", bound=EncoderConfig)


@dataclass(frozen=True, kw_only=True)
class Schedule(Generic[Config]):
    """Images a step, and the configuration of the steps."""

    batch: int
    config: Config


def schedule_of(recipe: EncoderRecipe, table: Mapping[tuple[str, str], Schedule[Config]]) -> Schedule[Config]:
    """The row of the recipe's scale and preset (None: "cpu"), with what the recipe says of it. PspnbError where there is none."""
    key = (scale_named(recipe.scale).name, recipe.preset or "cpu")
    if key not in table:
        there = ", ".join(scale for scale, preset in table if preset == key[1])
        raise PspnbError(f"expected preset {key[1]} for a scale among {there}, got {key[0]!r}")
    usual = table[key]
    said = given(replay=recipe.replay, steps=recipe.steps, lr=recipe.lr, decay_from=recipe.decay_from)
    return Schedule(
        batch=usual.batch if recipe.batch is None else recipe.batch,
        config=replace(usual.config, compile=recipe.compile, **said),
    )
