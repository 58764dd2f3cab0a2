"""What an encoder is trained on and with, as one frozen dataclass: `pspnb train TASK` reads its options from it.

Importing it imports no network library, so that `pspnb --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Suppress, arg

from pspnb.checks import above_zero, at_least, between, seed_in_range
from pspnb.recipes.scales import FACETS64, FACETS128, FFHQ1024


def option(metavar: str) -> Any:
    """An option that may be left out; its help says what happens then, not "(default: None)"."""
    return arg(metavar=metavar, help_behavior_hint="")


_SCALE_HELP = (
    f"Image size and networks: {FACETS64.name}; tasks also {FFHQ1024.name} (needs --generator, --identity, --data), "
    f"generator also {FACETS128.name}."
)


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """Everything that decides an encoder's weights. What is None comes from the scale's schedule (`recipes.encoders.TRAINING`).

    Raises PspnbError for numbers out of range; names are checked by who looks them up.
    """

    task: str
    """Name of the task."""
    scale: Annotated[str, arg(help=_SCALE_HELP, metavar="SCALE")] = FACETS64.name
    variant: Annotated[str, arg(metavar="NAME")] = "psp"
    """Tasks: psp, a baseline (w, naive_wplus), or an ablation (no_id, no_lpips, wide_heads, ...);
    feature_style: psp stands for the paper's encoder, or an ablation (without_f, only_real, k5, ...).
    A wrong name lists all."""
    data: Annotated[Path | None, option("FOLDER")] = None
    """Tasks: folder of training images (targets); default: Facets, synthetic portraits."""
    sources: Annotated[Path | None, option("FOLDER")] = None
    """Tasks: folder of input images (label maps, sketches), with the same file names as the targets; default: made from the
    targets."""
    validation: Annotated[Path | None, option("FOLDER")] = None
    """Tasks: folder of validation images, to choose the best checkpoint; default: those of Facets, or none with --data."""
    generator: Annotated[str | None, option("NAME_OR_FILE")] = None
    """Tasks: pretrained generator (shipped model, official file, or run of `pspnb train generator`); default: the shipped one."""
    identity: Annotated[str | None, option("NAME_OR_FILE")] = None
    """Tasks on photographs: face-recognition weights (IR-SE50), for the identity loss and to initialise the encoder."""
    lr: Annotated[float | None, option("X")] = None
    """Tasks: learning rate; default: from the recipe."""
    decay_from: Annotated[float | None, option("X")] = None
    """Tasks: fraction of the steps (0 to 1) after which the learning rate decays to 0; default: from the recipe."""
    lambdas: Annotated[Mapping[str, float] | None, Suppress] = None
    """Loss weights (fields of `LossWeights`) other than those of the task and its variant."""
    init: Annotated[str | None, option("NAME_OR_FILE")] = None
    """Tasks: trained encoder to fine-tune: a shipped model, a pSp checkpoint, or a run. Imitation: "shipped", or a run."""
    strict: bool = False
    """Tasks: stop at an image that cannot be read; default: skip it with a warning."""
    compile: bool = False
    """Tasks and imitation: use torch.compile (about 2 minutes to start, then faster; on a CPU it needs a C++ compiler)."""
    replay: Annotated[bool | None, Suppress] = None
    """Record the step once as a CUDA graph and replay it; default: from the schedule."""
    preset: Annotated[Literal["cpu", "gpu"] | None, option("cpu|gpu")] = None
    """Generator, imitation, feature_style: hyperparameters for a CPU or a GPU; default: as --device
    (feature_style: cpu)."""
    steps: Annotated[int | None, option("N")] = None
    """Number of training steps; default: from the recipe."""
    batch: Annotated[int | None, option("N")] = None
    """Batch size (tasks, generator, imitation); default: from the recipe."""
    images: Annotated[int | None, option("N")] = None
    """Use only the first N training images."""
    seed: Annotated[int | None, option("N")] = None
    """Random seed; default: from the recipe."""

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps, batch=self.batch, images=self.images)
        above_zero(lr=self.lr)
        between(0, 1, decay_from=self.decay_from)
        seed_in_range(self.seed)
