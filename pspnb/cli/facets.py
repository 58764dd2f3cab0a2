"""`pspnb facets`: a folder of rendered portraits with their label maps and factors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from pspnb.cli.options import pairs, refuse_given
from pspnb.errors import PspnbError
from pspnb.recipes.recipe import option


@dataclass(frozen=True)
class Facets:
    """Render synthetic portraits with label maps and known factors (pose, hair, light, ...) to a folder."""

    output: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder; it must be new or empty."""
    n: Annotated[int, arg(metavar="N")] = 64
    """Number of images."""
    size: Annotated[int, arg(metavar="PX")] = 128
    """Width and height of the images in pixels, 16 to 1024."""
    seed: Annotated[int | None, option("N")] = None
    """Random seed for people and poses; default: 0."""
    split: Annotated[Literal["train", "validation", "test"] | None, option("train|validation|test")] = None
    """Render the first N images of this split of the data set; default: random people."""
    set: Annotated[str | None, option("NAME=VALUE,...")] = None
    """Attributes that are the same in all images, such as yaw=0,hat=none. A wrong name lists all."""
    overwrite: bool = False
    """Replace the output folder, if it is an earlier export and holds nothing else."""

    def run(self) -> int:
        from pspnb.facets import export

        if self.split is not None:
            refuse_given(self, ("seed",), "belongs to images without --split, whose people are fixed")
        folder = export(
            self.output,
            n=self.n,
            size=self.size,
            seed=0 if self.seed is None else self.seed,
            split=self.split,
            changes=_changes(self.set),
            overwrite=self.overwrite,
        )
        print(f"{self.n} images -> {folder}")
        return 0


def _changes(text: str | None) -> dict[str, float | int | str]:
    """ "yaw=0,hat=sun hat" as a mapping: numbers where they are meant. PspnbError when it isn't of this form."""
    from pspnb.facets import BY_NAME

    changes: dict[str, float | int | str] = {}
    for name, value in pairs(text) if text else ():
        if not value:
            raise PspnbError(f"expected factors such as yaw=0,hat=none, got {name!r}")
        if name not in BY_NAME:
            raise PspnbError(f"expected an attribute among {', '.join(BY_NAME)}; got {name!r}")
        kind = BY_NAME[name].kind
        try:
            changes[name] = {"continuous": float, "seed": int, "categorical": str}[kind](value)
        except ValueError:
            raise PspnbError(f"expected a number for the {kind} factor {name}, got {value!r}") from None
    return changes
