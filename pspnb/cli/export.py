"""`pspnb export`: ONNX files of a model."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from pspnb.cli.options import Model, MovedGenerator
from pspnb.errors import PspnbError
from pspnb.recipes.recipe import option


@dataclass(frozen=True)
class Export:
    """Export a model to ONNX files, for onnxruntime or a browser: encoder, mapping, synthesis, and the whole translation."""

    model: Positional[Model]
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder for the .onnx files and model.json, which describes their inputs and outputs."""
    format: Literal["onnx"] = "onnx"
    """File format."""
    parts: Annotated[str | None, option("NAME,...")] = None
    """Which of encoder, mapping, synthesis, translation to write; default: all that the model has."""
    noise: Literal["const", "input"] = "const"
    """Noise maps of the generator: const, stored in the file, or input, given at each call."""
    float32: bool = False
    """Store the weights as float32 (files twice as large); default: stored as float16, computed in float32."""
    generator: MovedGenerator = None
    overwrite: bool = False
    """Replace files of an earlier export in the output folder."""

    def run(self) -> int:
        from pspnb.models import onnx

        if not self.overwrite and (self.out / "model.json").exists():
            raise PspnbError(f"{self.out}: holds an export already; expected another folder, or --overwrite")
        parts: Any = None if self.parts is None else [name.strip() for name in self.parts.split(",")]
        model = _model_or_generator(self.model, self.generator)
        paths = onnx.export(model, self.out, parts=parts, noise=self.noise, half=not self.float32)
        for path in paths.values():
            print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
        return 0


def _model_or_generator(name: str, generator: str | None) -> Any:
    """A model by any name that `load` takes, or a generator's file by any that `load_generator` takes."""
    import pspnb
    from pspnb.errors import LoadError

    try:
        return pspnb.load(name, generator=generator)
    except LoadError:
        if generator is not None:
            raise
        with contextlib.suppress(LoadError):
            return pspnb.load_generator(name)
        raise
