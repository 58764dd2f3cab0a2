"""The command line. It imports nothing heavy until a command really runs, so that `--help` answers at once.

A user's mistake is one line on stderr and exit code 2; some inputs of many failing is exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg, subcommand

from pspnb.errors import PspnbError
from pspnb.recipes.recipe import EncoderRecipe, option
from pspnb.recipes.scales import FACETS64, SCALES


@dataclass(frozen=True)
class Translate:
    """Translate images with a trained encoder: invert, frontalize, sketch to face, label map to face, super-resolution, ..."""

    model: str
    """Shipped model (see `pspnb models`), official checkpoint file, or the folder of a run of `pspnb train`."""
    input: Path
    """Image, folder of images (with sub-folders), or a file of latent codes to render (.safetensors, .npy, .pt)."""
    output: Path
    """Output folder; it gets the sub-folders of the input."""
    generator: Annotated[str | None, option("NAME_OR_FILE")] = None
    """The generator that a run was trained on, if its file was moved since."""
    codes: Annotated[Path | None, option("PATH")] = None
    """Also save the latent code of every input to this .safetensors file."""
    n_samples: int = 0
    """Write N different outputs for each input (multi-modal synthesis): each takes random styles in --layers."""
    mix: Annotated[str | None, option("PATH")] = None
    """Take the styles --layers of every output from this image (or file with one latent code) instead of the input."""
    layers: Annotated[str | None, option("TEXT")] = None
    """Styles to sample or mix, counted from 0, such as 8-17 or 4,6,8-10; default: depends on the task."""
    alpha: Annotated[float | None, option("X")] = None
    """Blend these styles with those of the input: 0 keeps the input's, 1 replaces them; default: depends on the task."""
    seed: Annotated[int | None, option("N")] = None
    """Random seed of --n-samples; default: 0."""
    direction: Annotated[str | None, option("PATH")] = None
    """Edit: add this latent direction (.safetensors, .npy, .pt), times --strength, to every code."""
    strength: Annotated[float | None, option("X")] = None
    """Factor of --direction; a negative one gives the opposite edit."""
    edit: Annotated[str | None, option("NAME=X,...")] = None
    """Attributes to edit and by how much, such as smile=0.5,glasses:round=1 (units: those of the directions file)."""
    directions: Annotated[Path | None, option("PATH")] = None
    """File of named latent directions (.safetensors) for --edit; default: the built-in ones of a generator of Facets."""
    task: Annotated[str | None, option("TEXT")] = None
    """Task of the model, if its file does not say: inversion, sketch, segmentation, super_resolution, ..."""
    factor: Annotated[int | None, option("N")] = None
    """Super-resolution only: downsample each input by this factor first."""
    mask: Annotated[Path | None, option("PATH")] = None
    """Inpainting only: mask image, white where the input is to be filled in; default: the triangular mask of the paper."""
    fit: Annotated[Literal["crop", "pad", "stretch"] | None, option("crop|pad|stretch")] = None
    """What to do with inputs that are not square; default: they are refused."""
    resize: Annotated[int | None, option("PX")] = None
    """Average-pool outputs to this size (256 in the published code); default: the generator's size."""
    side_by_side: bool = False
    """Put each input on the left of its output, in one image."""
    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps (untested), ..."""
    batch_size: Annotated[int | None, option("N")] = None
    """Images per batch; default: 8, or 1 for large images on a CPU."""
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
            _refuse_given(self, ("seed",), "belongs to --n-samples N, several outputs for each input")
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
        return _finish(report)


@dataclass(frozen=True)
class Align:
    """Crop and align faces in photographs as in the FFHQ data set."""

    images: Positional[Path]
    """Image or folder of images (with sub-folders)."""
    output: Path
    """Output folder; it gets the sub-folders of the input."""
    size: int = 256
    """Width and height of the output in pixels."""
    detector: Annotated[Path | None, option("PATH")] = None
    """File of the YuNet face detector; default: $PSPNB_YUNET, else downloaded once (0.3 MB)."""
    upright: bool = False
    """Do not rotate: by default, photographs that lie on their side or upside down are turned upright."""
    format: Literal["png", "jpg", "webp"] = "png"
    """Output image format."""
    overwrite: bool = False
    """Overwrite output files that exist."""

    def run(self) -> int:
        from pspnb.align import MAX_SIZE, align_folder
        from pspnb.files.download import YUNET_LICENCE, yunet_is_here

        if self.detector is None and 16 <= self.size <= MAX_SIZE and not yunet_is_here():
            print(f"downloading the YuNet face detector, 0.3 MB, licence {YUNET_LICENCE}")
        return _finish(
            align_folder(
                self.images,
                self.output,
                size=self.size,
                detector=self.detector,
                upright=self.upright,
                image_format=self.format,
                overwrite=self.overwrite,
            )
        )


@dataclass(frozen=True)
class Video:
    """Invert and edit the face in a video (MP4, WebM, MOV, MKV, AVI, GIF, or a folder of frames)."""

    input: Positional[Annotated[Path, arg(metavar="IN")]]
    """Video file, or a folder of pictures."""
    output: Positional[Annotated[Path, arg(metavar="OUT")]]
    """File that ends in .mp4, .mov, .mkv, .webm or .gif, or a new folder for the frames."""
    model: str
    """Shipped model (see `pspnb models`), official checkpoint file, or the folder of a run of `pspnb train`."""
    edit: Annotated[str | None, option("NAME=X,...")] = None
    """Attributes to edit and by how much, such as smile=0.5; default: reconstruct the video without an edit."""
    directions: Annotated[Path | None, option("PATH")] = None
    """File of named latent directions (.safetensors) for --edit; default: the built-in ones of a generator of Facets."""
    whole_frames: bool = False
    """The frames are aligned portraits already: skip face detection, alignment and pasting the face back."""
    steps: int = 0
    """Number of optimisation steps for each frame after the encoder (slow); default: encoder only."""
    start: Literal["encoder", "previous"] = "encoder"
    """With --steps: start the optimisation from the encoder's code, or from the previous frame's (less flicker)."""
    smoothing: float = 0.08
    """Smooth the position of the face over time, to avoid jitter: standard deviation in seconds; 0: off."""
    rate: Annotated[float | None, option("FPS")] = None
    """Frames per second of a folder of pictures; default: 25."""
    side_by_side: bool = False
    """Put each input frame on the left of the result."""
    detector: Annotated[Path | None, option("PATH")] = None
    """File of the YuNet face detector; default: $PSPNB_YUNET, else downloaded once (0.3 MB)."""
    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps (untested), ..."""
    batch_size: int = 8
    """Frames per batch."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> int:
        from pspnb.align import FaceDetector
        from pspnb.device import pick_device
        from pspnb.editing.named import named_shift, parse_edits
        from pspnb.inversion.tracking import largest_square
        from pspnb.inversion.video import drawing, edit_video
        from pspnb.models.load import load_translator

        if not self.steps:
            _refuse_given(self, ("start",), "belongs to --steps N, an optimisation of every frame")
        if self.whole_frames:
            _refuse_given(self, ("detector", "smoothing"), "belongs to videos in which the face is searched")
        if self.edit is None:
            _refuse_given(self, ("directions",), "belongs to --edit NAME=X")
        device = pick_device(self.device)
        model = load_translator(self.model, device=device)
        edits = None if self.edit is None else parse_edits(self.edit)
        report = edit_video(
            self.input,
            self.output,
            drawing(
                model,
                shift=None if edits is None else named_shift(model.decoder, edits, directions=self.directions),
                steps=self.steps,
                start=self.start,
                name=self.model,
            ),
            input_size=model.input_size,
            find=None if self.whole_frames else largest_square(FaceDetector(self.detector)),
            smoothing=self.smoothing,
            rate=self.rate,
            side_by_side=self.side_by_side,
            batch_size=self.batch_size,
            device=device,
            overwrite=self.overwrite,
        )
        print(f"{report} -> {self.output}")
        return 0


@dataclass(frozen=True)
class Models:
    """List the shipped models with their metrics and licences, and download links of official checkpoints."""

    name: Positional[Annotated[str | None, option("NAME")]] = None
    """Print the full model card of this model."""

    def run(self) -> int:
        import json

        from pspnb.models import zoo

        if self.name is not None:
            print(json.dumps(zoo.card(self.name), indent=2, ensure_ascii=False))
            return 0
        print("shipped models:" if zoo.available() else "no models are shipped with this installation")
        for name in zoo.available():
            print(name, *_card_lines(name), sep="\n    ")
        print("\nofficial files, to be downloaded by you (their licences are their authors'):")
        for name, file in zoo.OFFICIAL.items():
            print(name, file.what, file.url, f"licence: {file.licence}", sep="\n    ")
        return 0


@dataclass(frozen=True)
class Facets:
    """Render synthetic portraits with label maps and known factors (pose, hair, light, ...) to a folder."""

    output: Path
    """Output folder; it must be new or empty."""
    n: int = 64
    """Number of images."""
    size: int = 128
    """Width and height of the images in pixels, 16 to 1024."""
    seed: Annotated[int | None, option("N")] = None
    """Random seed for people and poses; default: 0."""
    split: Literal["train", "validation", "test"] | None = None
    """Export the first images of this split of the data set, instead of random people from --seed."""
    set: Annotated[str | None, option("NAME=VALUE,...")] = None
    """Fix factors in all images, such as yaw=0,hat=none (names and values: `pspnb.facets.TABLE`)."""
    overwrite: bool = False
    """Replace the output folder, if it is an earlier export and holds nothing else."""

    def run(self) -> int:
        from pspnb.facets import export

        if self.split is not None:
            _refuse_given(self, ("seed",), "belongs to images without --split, whose people are fixed")
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


@dataclass(frozen=True, kw_only=True)
class Train(EncoderRecipe):
    """Train an encoder for a task, the Feature-Style encoder, a StyleGAN2 generator, or a network for the metrics."""

    task: Positional[Annotated[str, arg(metavar="TASK|feature_style|generator|imitation|instrument")]]
    """A task: inversion, frontalization, sketch, strokes, segmentation, super_resolution, inpainting, ...;
    feature_style: the Feature-Style encoder (latent code and feature map);
    generator: a StyleGAN2;
    imitation: a StyleGAN2 that also learns to copy the renderer, so that the attributes of every z are known;
    instrument: a network for the metrics."""
    name: Positional[Annotated[str | None, option("NAME")]] = None
    """Network for the metrics to train: identity, identity_eval, parsing, factors, perceptual, perceptual_eval."""
    out: Path
    """Output folder for checkpoints, log and sample images."""
    lambdas: Annotated[str | None, option("NAME=X,...")] = None  # type: ignore[assignment]
    """Tasks: loss weights to change, such as id=0.5,w_norm=0.0005."""
    seconds: Annotated[float | None, option("X")] = None
    """Imitation: stop after this many seconds; the learning rate decays towards that end; default: no time limit."""
    tensorboard: bool = False
    """Tasks: also write TensorBoard events to the output folder."""
    resume: bool = False
    """Continue the run in the output folder from its last checkpoint."""
    published: bool = False
    """Tasks: print the command of the published code with the same losses, and stop."""
    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps (untested), ..."""

    def run(self) -> int:
        from pspnb.device import pick_device

        self._refuse_strangers()
        device = pick_device(self.device)
        if self.task not in _OTHERS:
            return self._task(device)
        if self.task != "instrument" and self.name is not None:
            raise PspnbError(f"expected no name after {self.task}, got {self.name!r}")
        print(f"checkpoint -> {self._other(device)}")
        return 0

    def _other(self, device: str) -> Path:
        """Trains a generator or an instrument; the checkpoint."""
        from pspnb.recipes.generators import train_generator, train_imitation
        from pspnb.recipes.instruments import train_instrument

        common: dict[str, Any] = {"out": self.out, "resume": self.resume, "steps": self.steps, "seed": self.seed}
        common |= {"n_images": self.images, "device": device}
        if self.task == "instrument":
            if self.name is None:
                raise PspnbError("expected the name of an instrument: pspnb train instrument NAME --out FOLDER")
            return train_instrument(self.name, **common)
        common |= {"scale": self.scale, "preset": self.preset, "batch": self.batch}
        if self.task == "generator":
            return train_generator(**common)
        return train_imitation(**common, init=self.init, seconds=self.seconds, compile=self.compile)

    def _refuse_strangers(self) -> None:
        """PspnbError for an option that this training does not use."""
        if self.task in _OTHERS:
            used = {*_OTHERS[self.task], "task", "name", "out", "resume", "steps", "seed", "images", "device"}
            strangers = [entry.name for entry in fields(self) if entry.name not in used]
        else:
            alone = ["sources", "init", "decay_from", "published"] if self.task == FEATURE_STYLE else ["preset"]
            strangers = ["seconds", *alone]
            if SCALES.get(self.scale, FACETS64).own_world:
                _refuse_given(
                    self, ("identity",), f"belongs to other scales; {self.scale} has a recognition network of its own"
                )
            if self.data is None:
                _refuse_given(self, ("validation", "strict"), "belongs to --data FOLDER")
        kind = self.task if self.task in _OTHERS else f"the task {self.task}"
        _refuse_given(self, strangers, f"is not an option of {kind}, which would be trained without regard to it")

    def _task(self, device: str) -> int:
        from pspnb.recipes.encoders import train_encoder
        from pspnb.recipes.feature_style import train_feature_style

        if self.name is not None:
            raise PspnbError(f"expected no name after the task {self.task}, got {self.name!r}")
        if self.published:
            return self._print_published()
        said = {entry.name: getattr(self, entry.name) for entry in fields(EncoderRecipe)}
        recipe = EncoderRecipe(**said | {"lambdas": _lambdas(self.lambdas)})
        train = train_feature_style if self.task == FEATURE_STYLE else train_encoder
        outcome = train(recipe, out=self.out, resume=self.resume, device=device, tensorboard=self.tensorboard)
        state = "done" if outcome.finished else "stopped, continue with --resume"
        best = "" if outcome.best is None else f", best validation loss {outcome.best:.4f}"
        print(f"step {outcome.step} ({state}){best} -> {self.out}")
        return 0

    def _print_published(self) -> int:
        from pspnb.tasks import published_command, task_named

        task = task_named(self.task)
        command = published_command(task, out=str(self.out), generator=self.generator)
        print(command or f"the published code has no command for {task.name}")
        return 0


FEATURE_STYLE = "feature_style"  # trained like a task, with batches and losses of its own
# What is trained beside the tasks, and the options that each of them alone uses.
_OTHERS: dict[str, set[str]] = {
    "generator": {"scale", "preset", "batch"},
    "imitation": {"scale", "preset", "batch", "init", "seconds", "compile"},
    "instrument": set(),
}


@dataclass(frozen=True)
class Evaluate:
    """Compute metrics (identity similarity, LPIPS, MSE, PSNR, SSIM) with 95 % confidence intervals, of one model or of Table 1."""

    what: Positional[Annotated[str | None, option("RUN_OR_NAME")]] = None
    """Shipped model, checkpoint file, or folder of a run."""
    table1: bool = False
    """Reproduce Table 1 of the paper: all shipped encoders, optimisation, and both combined, on the test split of Facets."""
    out: Path = Path("evaluation")
    """Output folder for metrics.json and worst.png (--table1: table1.json, table1.md and figures)."""
    data: Annotated[Path | None, option("FOLDER")] = None
    """Folder of test images (targets); default: the test split of Facets."""
    sources: Annotated[Path | None, option("FOLDER")] = None
    """Folder of input images (label maps, sketches), with the same file names as the targets."""
    n: Annotated[int | None, option("N")] = None
    """Use only the first N images; default: all (--table1: 1000)."""
    n_optimise: Annotated[int | None, option("N")] = None
    """--table1: number of images for the two rows with optimisation (slow); 0 leaves these rows out; default: 50."""
    task: Annotated[str | None, option("TEXT")] = None
    """Task of the model, if its file does not say."""
    generator: Annotated[str | None, option("NAME_OR_FILE")] = None
    """The generator that the run was trained on, if its file was moved since."""
    identity: Annotated[Path | None, option("PATH")] = None
    """Face-recognition weights to score models not trained on Facets; default: identity similarity is not computed."""
    lpips: Annotated[Path | None, option("PATH")] = None
    """AlexNet weights for LPIPS, for models not trained on Facets; default: downloaded once."""
    inversion: Annotated[str | None, option("RUN_OR_NAME")] = None
    """Inversion model to compare the scores with; default: the shipped one, if it uses the same generator."""
    seed: int = 0
    """Random seed for confidence intervals and for random inputs of the task (such as downsampling factors)."""
    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps (untested), ..."""

    def run(self) -> int:
        from pspnb.device import pick_device

        device = pick_device(self.device)
        if self.table1 == (self.what is not None):
            raise PspnbError(
                "expected a run or model, or --table1: pspnb evaluate RUN_OR_NAME, pspnb evaluate --table1"
            )
        if self.table1:
            from pspnb.measure.ablate import table1
            from pspnb.show.table1 import write_pictures

            alien = ("data", "sources", "task", "generator", "identity", "lpips", "inversion")
            _refuse_given(self, alien, "is not an option of --table1, which is measured on Facets")
            n = 1000 if self.n is None else self.n
            optimised = min(50, n) if self.n_optimise is None else min(self.n_optimise, n)
            table1(out=self.out, n=n, n_optimise=optimised, seed=self.seed, device=device, draw=write_pictures)
            print((self.out / "table1.md").read_text(encoding="utf-8"))
            return 0
        from pspnb.measure.evaluate_encoder import evaluate
        from pspnb.show.table1 import write_worst

        _refuse_given(self, ("n_optimise",), "belongs to --table1")
        assert self.what is not None
        result = evaluate(
            self.what,
            out=self.out,
            data=self.data,
            sources=self.sources,
            n=self.n,
            task=self.task,
            generator=self.generator,
            identity=self.identity,
            lpips=self.lpips,
            inversion=self.inversion,
            device=device,
            seed=self.seed,
            draw=write_worst,
        )
        for name, value in result["metrics"].items():
            print(f"{name:<12} {value['value']:.4f} [{value['lo']:.4f}, {value['hi']:.4f}]")
        print(_numbers_line(result["numbers"]))
        for line in _score_lines(result.get("application", {})):
            print(line)
        print(f"{result['n']} pictures of {result['data']} -> {self.out}")
        return 0


@dataclass(frozen=True)
class Export:
    """Export a model to ONNX files, for onnxruntime or a browser: encoder, mapping, synthesis, and the whole translation."""

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """Shipped model (see `pspnb models`), official checkpoint file, or the folder of a run of `pspnb train`."""
    out: Path
    """Output folder for the .onnx files and model.json, which describes their inputs and outputs."""
    format: Literal["onnx"] = "onnx"
    """File format."""
    parts: Annotated[str | None, option("NAME,...")] = None
    """Which of encoder, mapping, synthesis, translation to write; default: all that the model has."""
    noise: Literal["const", "input"] = "const"
    """Noise maps of the synthesis: stored in the file, or inputs of it."""
    float32: bool = False
    """Store the weights as float32 (files twice as large); default: stored as float16, computed in float32."""
    generator: Annotated[str | None, option("NAME_OR_FILE")] = None
    """The generator that a run was trained on, if its file was moved since."""
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


Command = (
    Annotated[Translate, subcommand("translate")]
    | Annotated[Align, subcommand("align")]
    | Annotated[Video, subcommand("video")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Facets, subcommand("facets")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Export, subcommand("export")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        from pspnb import __version__

        print(f"pspnb {__version__}")
        return 0
    try:
        _refuse_empty(arguments)
        return _parse(arguments).run()
    except KeyboardInterrupt:
        print("pspnb: interrupted; what was written is whole", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except (ValueError, MemoryError, OSError) as error:
        if os.environ.get("PSPNB_DEBUG"):
            raise
        print(f"pspnb: {_one_line(error)}", file=sys.stderr)
        return 2


def _refuse_given(command: Any, names: Sequence[str], reason: str) -> None:
    """PspnbError for the first of these options that is not at its default: one that would be ignored is a mistake."""
    defaults = {entry.name: entry.default for entry in fields(command)}
    for name in names:
        if getattr(command, name) != defaults[name]:
            raise PspnbError(f"--{name.replace('_', '-')} {reason}")


def _refuse_empty(arguments: list[str]) -> None:
    """PspnbError for an empty argument: an unset shell variable in `--input "$FOLDER"` would mean the current folder."""
    before = ["", *arguments]
    for previous, argument in zip(before, arguments, strict=False):
        name, equals, value = argument.partition("=")
        if not argument.strip() or (name.startswith("--") and equals and not value.strip()):
            after = f" for {name if equals else previous}" if equals or previous.startswith("--") else ""
            raise PspnbError(f"expected a value{after}, got an empty one; is a variable of the shell not set?")


def _parse(arguments: list[str]) -> Translate | Align | Video | Models | Facets | Train | Evaluate | Export:
    """Parse, with tyro's boxed page of advice reduced to the line that says what was wrong."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.cli(
                Command,
                prog="pspnb",
                description="StyleGAN encoders for image-to-image translation: pSp, exact and explained.",
                args=arguments,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise PspnbError(_advice(caught.getvalue())) from end


def _lambdas(text: str | None) -> dict[str, float] | None:
    """ "id=0.5,w_norm=0.0005" as a mapping. PspnbError when it isn't of this form."""
    if text is None:
        return None
    try:
        return {name: float(value) for name, value in _pairs(text)}
    except ValueError:
        raise PspnbError(f"expected loss weights such as id=0.5,w_norm=0.0005, got {text!r}") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    """ "a=1, b=2" in parts; a part without "=" has an empty value."""
    parts = (part.partition("=") for part in text.split(","))
    return [(name.strip(), value.strip()) for name, _, value in parts]


def _changes(text: str | None) -> dict[str, float | int | str]:
    """ "yaw=0,hat=sun hat" as a mapping: numbers where they are meant. PspnbError when it isn't of this form."""
    from pspnb.facets import BY_NAME

    changes: dict[str, float | int | str] = {}
    for name, value in _pairs(text) if text else ():
        if not value:
            raise PspnbError(f"expected factors such as yaw=0,hat=none, got {name!r}")
        kind = BY_NAME[name].kind if name in BY_NAME else "categorical"  # another name is refused with its own message
        try:
            changes[name] = {"continuous": float, "seed": int, "categorical": str}[kind](value)
        except ValueError:
            raise PspnbError(f"expected a number for the {kind} factor {name}, got {value!r}") from None
    return changes


def _advice(box: str) -> str:
    """The text of tyro's first box, up to its first ruler."""
    body: list[str] = []
    for line in box.splitlines()[1:]:  # the first line is a title; in ASCII a ruler follows it
        text = line.strip("│|╭╮╰╯+ ")
        if text.strip("─- "):
            body.append(" ".join(text.split()))
        elif body:
            break
    text = re.sub(r"^Error parsing \w+: ", "", " ".join(body))  # an option out of range
    return f"{text} (see pspnb --help)"


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, ValueError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _numbers_line(kept: dict[str, Any]) -> str:
    """How many numbers a model keeps of a picture."""
    return f"{'numbers':<12} {kept['codes']} of codes, {kept['feature']} of a feature: {kept['share']:.1%} of a picture"


def _score_lines(scores: dict[str, Any], name: str = "", depth: int = 3) -> list[str]:
    """A line for each score down to some depth: its value, its interval and its share of what inversion reaches."""
    if "value" in scores:
        numbers = [f"{scores[key]:.4f}" if scores[key] is not None else "-" for key in ("value", "lo", "hi")]
        share = scores.get("share_of_inversion", {}).get("value")
        reached = "" if share is None else f"  {share:.0%} of inversion"
        return [f"{name:<44} {numbers[0]} [{numbers[1]}, {numbers[2]}]{reached}"]
    lines: list[str] = []
    for key, value in scores.items():
        if isinstance(value, dict) and depth:
            lines += _score_lines(value, f"{name} {key}".strip(), depth - 1)
    return lines


def _finish(report) -> int:
    """The summary on stdout, a line for every failure on stderr."""
    print(report)
    for failure in report.failures:
        print(f"pspnb: {failure}", file=sys.stderr)
    return 1 if report.failures else 0


def _card_lines(name: str) -> list[str]:
    from pspnb.models import zoo

    card = zoo.card(name)
    numbers = [f"{key} {value}" for key, value in card.get("metrics", {}).items()]
    more = [f"and {len(numbers) - 6} more (pspnb models {name})"] if len(numbers) > 6 else []
    metrics = ", ".join(numbers[:6] + more)
    shown = (card.get("title"), metrics, f"licence: {card['licence']}" if "licence" in card else None)
    return [str(line) for line in shown if line]


if __name__ == "__main__":
    sys.exit(main())
