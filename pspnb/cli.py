"""The command line. It imports nothing heavy until a command really runs, so that `--help` answers at once.

A user's mistake is one line on stderr and exit code 2; some inputs of many failing is exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg, subcommand

from pspnb.checks import at_least, seed_in_range
from pspnb.errors import PspnbError


@dataclass(frozen=True)
class Translate:
    """Run a pSp model on an image or a folder of images."""

    model: str
    """Shipped model (see `pspnb models`), official checkpoint file, or the folder of a run of `pspnb train`."""
    input: Path
    """Image, folder of images (sub-folders included), or a .safetensors file of codes to draw."""
    output: Path
    """Folder for the results; sub-folders are mirrored."""
    generator: Annotated[str | None, arg(metavar="NAME_OR_FILE")] = None
    """Generator that a run was trained on, where it has moved since."""
    codes: Annotated[Path | None, arg(metavar="PATH")] = None
    """Also write the codes of every input to this .safetensors file."""
    n_samples: int = 0
    """Write this many variants of each input, with the styles --layers redrawn, instead of one output."""
    layers: Annotated[str | None, arg(metavar="TEXT")] = None
    """Styles to redraw, counted from 0, such as 8-17 or 4,6,8-10; default: those of the task."""
    alpha: Annotated[float | None, arg(metavar="X")] = None
    """Blend the redrawn styles with those of the input: 0 keeps the input, 1 replaces; default: that of the task."""
    seed: Annotated[int | None, arg(metavar="N")] = None
    """Random seed for the redrawn styles; default: 0."""
    task: Annotated[str | None, arg(metavar="TEXT")] = None
    """How to prepare inputs, where the model does not tell: inversion, sketch, segmentation, super_resolution, ..."""
    factor: Annotated[int | None, arg(metavar="N")] = None
    """Super-resolution: shrink each input by this factor first."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, mps (untested), ..."""
    batch_size: Annotated[int | None, arg(metavar="N")] = None
    """Images at a time; default: 8, or 1 for large pictures on the CPU."""
    format: Literal["png", "jpg", "webp"] = "png"
    """Of the results."""
    overwrite: bool = False
    """Replace results that exist already; without it they are kept and not computed again."""

    def run(self) -> int:
        import pspnb
        from pspnb.device import pick_device
        from pspnb.psp import PSP
        from pspnb.translate import parse_layers, task_of, translate

        if not self.n_samples:
            _refuse_given(self, ("seed",), "belongs to --n-samples N, several outputs for each input")
        psp = pspnb.load(self.model, device=pick_device(self.device), generator=self.generator)
        if not isinstance(psp, PSP):
            raise PspnbError(f"{self.model} is a {type(psp).__name__}; expected a model that translates images")
        report = translate(
            psp,
            self.input,
            self.output,
            task=task_of(psp, model_name=self.model, task=self.task),
            codes=self.codes,
            n_samples=self.n_samples,
            layers=None if self.layers is None else parse_layers(self.layers, psp.n_styles),
            alpha=self.alpha,
            seed=0 if self.seed is None else self.seed,
            factor=self.factor,
            batch_size=self.batch_size,
            image_format=self.format,
            overwrite=self.overwrite,
        )
        return _finish(report)


@dataclass(frozen=True)
class Align:
    """Find the face in photographs and cut it out, upright and centred, as the FFHQ data set does."""

    images: Positional[Path]
    """Image or folder of images (sub-folders included)."""
    output: Path
    """Folder for the results; sub-folders are mirrored."""
    size: int = 256
    """Side of the results in pixels."""
    detector: Annotated[Path | None, arg(metavar="PATH")] = None
    """File of the YuNet face detector; default: $PSPNB_YUNET, else a verified copy, downloaded once (0.3 MB)."""
    upright: bool = False
    """The photographs stand upright: don't look whether one lies on its side or upside down."""
    format: Literal["png", "jpg", "webp"] = "png"
    """Output image format."""
    overwrite: bool = False
    """Replace results that exist already."""

    def run(self) -> int:
        from pspnb.align import MAX_SIZE, align_folder
        from pspnb.download import YUNET_LICENCE, yunet_is_here

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
class Models:
    """List what is shipped, with its card, and where the official files are published."""

    name: Positional[Annotated[str | None, arg(metavar="NAME")]] = None
    """Show the whole card of this model."""

    def run(self) -> int:
        import json

        from pspnb import hub

        if self.name is not None:
            print(json.dumps(hub.card(self.name), indent=2, ensure_ascii=False))
            return 0
        print("shipped models:" if hub.available() else "no models are shipped with this installation")
        for name in hub.available():
            print(name, *_card_lines(name), sep="\n    ")
        print("\nofficial files, to be downloaded by you (their licences are their authors'):")
        for name, file in hub.OFFICIAL.items():
            print(name, file.what, file.url, f"licence: {file.licence}", sep="\n    ")
        return 0


@dataclass(frozen=True)
class Facets:
    """Render procedural portraits, with label maps and factors, to a folder."""

    output: Path
    """A new or empty folder."""
    n: int = 64
    """Number of images."""
    size: int = 128
    """Side of the images in pixels."""
    seed: Annotated[int | None, arg(metavar="N")] = None
    """Random seed for people and poses; default: 0."""
    split: Literal["train", "validation", "test"] | None = None
    """Take the images of this split of the data set instead of those of --seed."""
    set: Annotated[str | None, arg(metavar="NAME=VALUE,...")] = None
    """Factors that are the same in all images, such as yaw=0,hat=none (names and values: `pspnb.facets.TABLE`)."""
    overwrite: bool = False
    """Replace the folder, if it is an earlier export and holds nothing else."""

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


@dataclass(frozen=True)
class Train:
    """Train the encoder of a task on a frozen generator; or a network of the Facets world: its generator or an instrument."""

    what: Positional[Annotated[str, arg(metavar="TASK|generator|instrument")]]
    """A task (inversion, frontalization, sketch, segmentation, super_resolution, inpainting, ...), or generator, or instrument."""
    out: Path
    """Folder of the run: checkpoint, log and pictures."""
    name: Positional[Annotated[str | None, arg(metavar="NAME")]] = None
    """Of the instrument: identity, identity_eval, parsing, factors, perceptual, perceptual_eval."""
    scale: str = "facets64"
    """Of a task: facets64, or ffhq1024 with --generator, --identity and --data. Of the generator: facets64, facets128."""
    variant: str = "psp"
    """Of a task: psp, a baseline (w, naive_wplus), or an ablation (no_id, no_lpips, wide_heads, ...); a wrong name lists all."""
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Of a task: target pictures; default: Facets."""
    sources: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Of a task: source pictures (label maps, sketches) with the names of the targets."""
    validation: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Of a task: pictures on which the best encoder is chosen; default: Facets' own, or none with --data."""
    generator: Annotated[str | None, arg(metavar="NAME_OR_FILE")] = None
    """Of a task: generator to invert: shipped model, official file, or run of `pspnb train generator`; default: the shipped one."""
    identity: Annotated[Path | None, arg(metavar="PATH")] = None
    """Of a task at ffhq1024: face-recognition file (IR-SE50), for the identity loss and as the encoder's start."""
    lr: Annotated[float | None, arg(metavar="X")] = None
    """Of a task: learning rate; default: that of the recipe."""
    decay_from: Annotated[float | None, arg(metavar="X")] = None
    """Of a task: share of the steps after which the learning rate falls to 0; default: that of the recipe."""
    lambdas: Annotated[str | None, arg(metavar="NAME=X,...")] = None
    """Of a task: loss weights other than the recipe's, such as id=0.5,w_norm=0.0005."""
    init: Annotated[str | None, arg(metavar="NAME_OR_FILE")] = None
    """Of a task: trained encoder to start from: a shipped model, a pSp file, or a run."""
    strict: bool = False
    """Of a task: stop at a picture that cannot be read, instead of leaving it out."""
    tensorboard: bool = False
    """Of a task: also write events for TensorBoard below the run's folder."""
    compile: bool = False
    """Of a task: torch.compile the step: 2 minutes at the start, then faster; on a CPU it needs a C++ compiler."""
    preset: Annotated[Literal["cpu", "gpu"] | None, arg(metavar="cpu|gpu")] = None
    """Recipe of the generator; default: that of the device."""
    resume: bool = False
    """Continue the run that is in the folder."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Number of steps; default: that of the recipe."""
    batch: Annotated[int | None, arg(metavar="N")] = None
    """Images per step (not of an instrument); default: that of the recipe."""
    images: Annotated[int | None, arg(metavar="N")] = None
    """Use only the first N training images."""
    seed: Annotated[int | None, arg(metavar="N")] = None
    """Of everything random; default: that of the recipe."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""

    def run(self) -> int:
        from pspnb.device import pick_device
        from pspnb.training.instrument_runs import train_instrument
        from pspnb.training.runs import train_generator

        self._refuse_strangers()
        at_least(1, steps=self.steps, batch=self.batch, images=self.images)
        seed_in_range(self.seed)
        common: dict[str, Any] = {"out": self.out, "resume": self.resume, "steps": self.steps, "seed": self.seed}
        device = pick_device(self.device)
        if self.what not in ("generator", "instrument"):
            return self._task(device)
        if self.what == "generator":
            if self.name is not None:
                raise PspnbError(f"expected no name after generator, got {self.name!r}")
            path = train_generator(
                **common, scale=self.scale, preset=self.preset, batch=self.batch, n_images=self.images, device=device
            )
        else:
            if self.name is None:
                raise PspnbError("expected the name of an instrument: pspnb train instrument NAME --out FOLDER")
            path = train_instrument(self.name, **common, n_images=self.images, device=device)
        print(f"checkpoint -> {path}")
        return 0

    def _refuse_strangers(self) -> None:
        """Options that have no meaning for what is trained are mistakes, not decoration."""
        if self.what == "generator":
            used = {"scale", "preset", "batch", "images"}
        elif self.what == "instrument":
            used = {"name", "images"}
        else:
            used = {entry.name for entry in fields(self)} - {"preset"}
            if self.scale == "facets64":
                _refuse_given(
                    self, ("identity",), "belongs to other scales; facets64 has a recognition network of its own"
                )
            if self.data is None:
                _refuse_given(self, ("validation", "strict"), "belongs to --data FOLDER")
        used |= {"what", "name", "out", "resume", "steps", "seed", "device"}
        strangers = [entry.name for entry in fields(self) if entry.name not in used]
        kind = self.what if self.what in ("generator", "instrument") else f"the task {self.what}"
        _refuse_given(self, strangers, f"is not an option of {kind}, which would be trained without regard to it")

    def _task(self, device: str) -> int:
        from pspnb.training.recipes import train_encoder

        if self.name is not None:
            raise PspnbError(f"expected no name after the task {self.what}, got {self.name!r}")
        outcome = train_encoder(
            self.what,
            out=self.out,
            variant=self.variant,
            scale=self.scale,
            generator=self.generator,
            identity=self.identity,
            data=self.data,
            sources=self.sources,
            validation=self.validation,
            resume=self.resume,
            steps=self.steps,
            batch=self.batch,
            lr=self.lr,
            decay_from=self.decay_from,
            lambdas=_lambdas(self.lambdas),
            init=self.init,
            seed=self.seed or 0,
            device=device,
            n_images=self.images,
            strict=self.strict,
            tensorboard=self.tensorboard,
            compile=self.compile,
        )
        state = "done" if outcome.finished else "stopped, continue with --resume"
        best = "" if outcome.best is None else f", best validation loss {outcome.best:.4f}"
        print(f"step {outcome.step} ({state}){best} -> {self.out}")
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Measure reconstructions with 95 % intervals: a run, a shipped model or a checkpoint file; or all rows of Table 1."""

    what: Positional[Annotated[str | None, arg(metavar="RUN_OR_NAME")]] = None
    """Folder of a run, shipped model, or checkpoint file."""
    table1: bool = False
    """Instead of one model: the shipped encoders, optimisation and hybrid on the test people of Facets."""
    out: Path = Path("evaluation")
    """Folder for numbers and pictures: metrics.json and worst.png, or table1.json, table1.md and figures."""
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Target pictures; default: the test split of Facets."""
    sources: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Source pictures (label maps, sketches) with the names of the targets."""
    n: Annotated[int | None, arg(metavar="N")] = None
    """Use the first N pictures; default: all (--table1: 1000)."""
    n_optimise: Annotated[int | None, arg(metavar="N")] = None
    """Pictures for the two optimised rows of --table1; 0 leaves them out; default: 50."""
    task: Annotated[str | None, arg(metavar="TEXT")] = None
    """Task of the model, where run or file do not tell."""
    generator: Annotated[str | None, arg(metavar="NAME_OR_FILE")] = None
    """Generator that the run was trained on, where it has moved since."""
    identity: Annotated[Path | None, arg(metavar="PATH")] = None
    """Face-recognition file that judges models of other worlds than Facets; without one similarity is left out."""
    lpips: Annotated[Path | None, arg(metavar="PATH")] = None
    """File of AlexNet's weights for LPIPS, for models of other worlds than Facets; default: downloaded once."""
    seed: int = 0
    """Of intervals and of what a task draws."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""

    def run(self) -> int:
        from pspnb.device import pick_device

        device = pick_device(self.device)
        if self.table1 == (self.what is not None):
            raise PspnbError(
                "expected a run or model, or --table1: pspnb evaluate RUN_OR_NAME, pspnb evaluate --table1"
            )
        if self.table1:
            from pspnb.ablate import table1

            alien = ("data", "sources", "task", "generator", "identity", "lpips")
            _refuse_given(self, alien, "is not an option of --table1, which is measured on Facets")
            n = 1000 if self.n is None else self.n
            optimised = min(50, n) if self.n_optimise is None else min(self.n_optimise, n)
            table1(out=self.out, n=n, n_optimise=optimised, seed=self.seed, device=device)
            print((self.out / "table1.md").read_text(encoding="utf-8"))
            return 0
        from pspnb.evaluate_encoder import evaluate

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
            device=device,
            seed=self.seed,
        )
        for name, value in result["metrics"].items():
            print(f"{name:<12} {value['value']:.4f} [{value['lo']:.4f}, {value['hi']:.4f}]")
        print(f"{result['n']} pictures of {result['data']} -> {self.out}")
        return 0


Command = (
    Annotated[Translate, subcommand("translate")]
    | Annotated[Align, subcommand("align")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Facets, subcommand("facets")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
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


def _parse(arguments: list[str]) -> Translate | Align | Models | Facets | Train | Evaluate:
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
    return f"{' '.join(body)} (see pspnb --help)"


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, ValueError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _finish(report) -> int:
    """The summary on stdout, a line for every failure on stderr."""
    print(report)
    for failure in report.failures:
        print(f"pspnb: {failure}", file=sys.stderr)
    return 1 if report.failures else 0


def _card_lines(name: str) -> list[str]:
    from pspnb import hub

    card = hub.card(name)
    numbers = [f"{key} {value}" for key, value in card.get("metrics", {}).items()]
    more = [f"and {len(numbers) - 6} more (pspnb models {name})"] if len(numbers) > 6 else []
    metrics = ", ".join(numbers[:6] + more)
    shown = (card.get("title"), metrics, f"licence: {card['licence']}" if "licence" in card else None)
    return [str(line) for line in shown if line]


if __name__ == "__main__":
    sys.exit(main())
