"""`pspnb translate`: pictures in, pictures out; variants, mixing and editing of their codes on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from pspnb.cli.options import Device, Directions, Model, MovedGenerator, Output, finish, refuse_given
from pspnb.recipes.recipe import option


@dataclass(frozen=True)
class Translate:
    """Translate images with a trained encoder: invert, frontalize, sketch to face, label map to face, super-resolution, ..."""

    model: Model
    input: Annotated[Path, arg(metavar="PATH")]
    """Image, folder of images (with sub-folders), or a file of latent codes to render (.safetensors, .npy, .pt)."""
    output: Output
    generator: MovedGenerator = None
    codes: Annotated[Path | None, option("PATH")] = None
    """Also save the latent code of every input to this .safetensors file."""
    n_samples: Annotated[int, option("N")] = 0
    """Write N different outputs for each input (multi-modal synthesis), with random styles in --layers; default: one output
    from the styles of the input."""
    mix: Annotated[str | None, option("PATH")] = None
    """Style mixing: take the styles --layers from this image (or file of one latent code), the others from the input."""
    layers: Annotated[str | None, option("TEXT")] = None
    """Styles (layers of the generator) that --n-samples or --mix replaces, counted from 0, such as 8-17 or 4,6,8-10;
    default: depends on the task."""
    alpha: Annotated[float | None, option("X")] = None
    """How far the styles --layers are replaced, from 0 (styles of the input) to 1; default: depends on the task."""
    seed: Annotated[int | None, option("N")] = None
    """Random seed for --n-samples; default: 0."""
    direction: Annotated[str | None, option("PATH")] = None
    """File of a latent direction (.safetensors, .npy, .pt) to edit with: --strength times it is added to each latent code."""
    strength: Annotated[float | None, option("X")] = None
    """With --direction: its factor, such as 2, or -2 for the opposite edit."""
    edit: Annotated[str | None, option("NAME=X,...")] = None
    """Attributes to edit and by how much, such as smile=0.5,glasses:round=1 (units: those of the directions file)."""
    directions: Directions = None
    task: Annotated[str | None, option("TEXT")] = None
    """Task of the model, if its file does not say: inversion, sketch, segmentation, super_resolution, ..."""
    factor: Annotated[int | None, option("N")] = None
    """Super-resolution only: downsample each input by this factor first."""
    mask: Annotated[Path | None, option("PATH")] = None
    """Inpainting only: mask image, white where the input is to be filled in; default: the triangular mask of the paper."""
    fit: Annotated[Literal["crop", "pad", "stretch"] | None, option("crop|pad|stretch")] = None
    """How to make inputs square that are not; default: they are refused."""
    resize: Annotated[int | None, option("PX")] = None
    """Average-pool outputs to this size (256 in the published code); default: the generator's size."""
    side_by_side: bool = False
    """Put each input on the left of its output, in one image."""
    device: Device = "auto"
    batch_size: Annotated[int | None, option("N")] = None
    """Number of images per batch; default: 8, or 1 for large images on a CPU."""
    format: Literal["png", "jpg", "webp"] = "png"
    """Output image format."""
    overwrite: bool = False
    """Overwrite output files that exist; default: keep them and skip their inputs."""

    def run(self) -> int:
        from pspnb.device import pick_device
        from pspnb.editing.named import parse_edits
        from pspnb.editing.translate import parse_layers, task_of, translate
        from pspnb.files.memory import keep_freed_memory
        from pspnb.models.load import load_translator
        from pspnb.nn.inference import for_inference

        if not self.n_samples:
            refuse_given(self, ("seed",), "belongs to --n-samples N, several outputs for each input")
        device = pick_device(self.device)
        psp = load_translator(self.model, device=device, generator=self.generator)
        if device == "cpu" and psp.decoder.size >= 256:
            psp = for_inference(psp)
            keep_freed_memory()
        report = translate(
            psp,
            self.input,
            self.output,
            task=task_of(psp, model_name=self.model, task=self.task),
            codes=self.codes,
            n_samples=self.n_samples,
            mix=self.mix,
            layers=None if self.layers is None else parse_layers(self.layers, psp.n_styles),
            alpha=self.alpha,
            seed=0 if self.seed is None else self.seed,
            direction=self.direction,
            strength=self.strength,
            edits=None if self.edit is None else parse_edits(self.edit),
            directions=self.directions,
            factor=self.factor,
            mask=self.mask,
            fit=self.fit,
            resize=self.resize,
            side_by_side=self.side_by_side,
            batch_size=self.batch_size,
            image_format=self.format,
            overwrite=self.overwrite,
        )
        return finish(report)
