"""The applications' encoders as stages of `make weights`: planned, with what they take, until the generator has passed its gate.

One row of `ROWS` is one shipped file. Encoders start from `inversion` on the same generator (also those of sketches and label maps,
whose stem keeps its own weights) and train as its second part does; rows that are only compared train a third as long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pspnb.models.zoo import available
from pspnb.recipes.encoders import SECOND_PART, train_encoder
from pspnb.recipes.generators import train_imitation
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.variants import model_name
from pspnb.shipping.encoders import ship_encoder
from pspnb.shipping.generators import ship_generator
from pspnb.shipping.stage import Stage
from pspnb.tasks import TASKS

GENERATOR, CARTOON = "world2/generator", "world2/cartoon"
CARTOON_STEPS, CARTOON_BATCH, CARTOON_LESSONS = 3000, 16, 20_000
# Images per second of one CPU core, of training steps at 64 px on the generator with w of 256 numbers, by what the losses look at.
RATES = MappingProxyType({"photo": 25.0, "drawn": 35.0, "crops": 24.0, "imitation": 28.0})


@dataclass(frozen=True)
class Row:
    """One file: the encoder of a task, `part` of the second part's length, and the chapter or table that it feeds."""

    task: str
    feeds: str
    variant: str = "psp"
    part: float = 1.0

    @property
    def rate(self) -> float:
        """Images per second."""
        weights = TASKS[self.task].weights
        return RATES["crops" if weights.lpips_crop else "photo" if weights.id else "drawn"]


ROWS = (
    Row("frontalization", "Frontalization"),
    Row("sketch", "Sketch to face, the lab's pad"),
    Row("strokes", "Sketch to face, the lab's pad"),
    Row("segmentation", "Labels to face, the lab's brush"),
    Row("segmentation_helen", "Labels to face"),
    Row("super_resolution", "Super-resolution, the lab's zoom"),
    Row("inpainting", "Inpainting"),
    Row("inpainting_random", "Inpainting"),
    Row("toonify", "Another domain"),
    Row("toonify_pairs", "Another domain"),
    Row("super_resolution_x8", "Super-resolution: the second paper's table"),
    Row("frontalization", "Frontalization: the paper's comparison", variant="naive_wplus"),
    Row("frontalization_unflipped", "Frontalization: it then only copies", part=1 / 3),
    Row("frontalization", "Frontalization: inner and outer weights", variant="no_inner", part=1 / 3),
    Row("frontalization", "Frontalization: inner and outer weights", variant="no_outer", part=1 / 3),
    Row("frontalization", "Frontalization: inner and outer weights", variant="even", part=1 / 3),
)


def planned(device: str | None = None) -> list[Stage]:
    """The stages of the applications, the cartoon's generator first."""
    train = partial(_train_cartoon, device)
    ship = partial(ship_generator, name=CARTOON)
    images = CARTOON_STEPS * CARTOON_BATCH
    rows = [Stage("cartoon", CARTOON_STEPS, images, RATES["imitation"], train, ship, "Another domain", CARTOON, False)]
    return rows + [_stage(row, device) for row in ROWS]


def _stage(row: Row, device: str | None) -> Stage:
    name = model_name(row.task, row.variant)
    steps = round(SECOND_PART["steps"] * row.part)
    ship: Callable[[Path], object] = partial(ship_encoder, task=row.task, variant=row.variant, name=name)
    return Stage(
        name.split("/")[1],
        steps,
        steps * SECOND_PART["batch"],
        row.rate,
        partial(_train, row, steps, device),
        ship,
        row.feeds,
        name,
        False,
    )


def _train(row: Row, steps: int, device: str | None, folder: Path) -> object:
    """An encoder from that of inversion whose run lies beside this one's, else from the shipped one."""
    start = model_name("inversion", row.variant if row.variant in ("w", "naive_wplus") else "psp")
    beside = folder.with_name(start.split("/")[1])
    recipe = EncoderRecipe(
        task=row.task,
        variant=row.variant,
        generator=CARTOON if TASKS[row.task].outputs == "cartoon" else GENERATOR,
        init=str(beside) if beside.exists() else start,
        **{**SECOND_PART, "steps": steps},
    )
    return train_encoder(recipe, out=folder, resume=True, device=device)


def _train_cartoon(device: str | None, folder: Path) -> object:
    return train_imitation(
        out=folder,
        style="cartoon",
        init="shipped",
        steps=CARTOON_STEPS,
        batch=CARTOON_BATCH,
        n_images=CARTOON_LESSONS,
        resume=True,
        device=device,
    )


def is_shipped(stage: Stage) -> bool:
    """Whether the file that a stage makes is there."""
    return stage.file is not None and stage.file in available()
