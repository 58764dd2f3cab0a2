"""Pictures through an encoder and its generator, folder by folder: what `pspnb translate` does, callable from Python as well.

Chapter: "Using pspnb". The input is prepared as the model's task wants it: photographs in [-1, 1], sketches in [0, 1],
label maps one-hot; pictures of another size are resized to the encoder's square. Another aspect than a square's is refused unless
`fit` says what becomes of it; the published code stretches such pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pspnb.checks import at_least, between, seed_in_range
from pspnb.editing.codes import CodesFile, is_codes_file, read_direction
from pspnb.editing.edits import Edits, planned_edits
from pspnb.editing.named import named_shift
from pspnb.editing.readers import CodesReader, ImageReader, one_code
from pspnb.errors import ImageError, PspnbError
from pspnb.files.folders import FORMATS, Job, Report, failed
from pspnb.files.images import read_mask, to_image, write_image
from pspnb.files.progress import progress_bar
from pspnb.models.base import Translator
from pspnb.tasks import TASKS, Task, task_named
from pspnb.transforms.eight_bit import Fit

_TASK_BY_CHANNELS = {1: "sketch", 3: "inversion", 11: "segmentation_helen", 19: "segmentation"}


def task_of(psp: Translator, *, model_name: str = "", task: str | None = None) -> Task:
    """The task of a model: the one that is named, else that of its card, file or run, else the one in the file's name, else
    the default for its number of channels.

    Raises PspnbError when the task is unknown or reads another number of channels.
    """
    channels = int(psp.encoder.in_channels)  # type: ignore[arg-type]
    guess = task or psp.task or _task_by_name(model_name, channels) or _TASK_BY_CHANNELS.get(channels)
    if guess is None:
        raise PspnbError(f"the model reads {channels} channels; expected --task, one of {', '.join(TASKS)}")
    try:
        found = task_named(guess)
    except ValueError as error:
        raise PspnbError(str(error)) from error
    if channels not in _TASK_BY_CHANNELS:
        found = found.with_classes(channels)  # a label model of other classes than the paper's
    if found.in_channels != channels:
        raise PspnbError(f"the task {found.name} has {found.in_channels} input channels, the model reads {channels}")
    return found


def _task_by_name(model_name: str, channels: int) -> str | None:
    """The longest task name in the file's name: psp_celebs_super_resolution.pt."""
    fitting = [name for name in TASKS if name in Path(model_name).stem and TASKS[name].in_channels == channels]
    return max(fitting, key=len, default=None)


def parse_layers(text: str, n_styles: int) -> list[int]:
    """ "8-17" or "4,6,8-10" -> style indices, 0-based, both ends included. Raises PspnbError out of 0 .. n_styles-1."""
    layers: list[int] = []
    for piece in text.replace(" ", "").split(","):
        first, _, last = piece.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or piece.endswith("-"):
            raise PspnbError(f"expected layers such as 8-17 or 4,6,8-10, got {text!r}")
        layers += range(int(first), int(last or first) + 1)
    if not layers or max(layers) >= n_styles:
        raise PspnbError(f"expected layers within 0-{n_styles - 1} for this model of {n_styles} styles, got {text}")
    return sorted(set(layers))


@torch.no_grad()
def translate(
    psp: Translator,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    task: Task,
    codes: str | os.PathLike | None = None,
    n_samples: int = 0,
    mix: str | os.PathLike | None = None,
    layers: Sequence[int] | None = None,
    alpha: float | None = None,
    seed: int = 0,
    direction: str | os.PathLike | None = None,
    strength: float | None = None,
    edits: Mapping[str, float] | None = None,
    directions: str | os.PathLike | None = None,
    factor: int | None = None,
    mask: str | os.PathLike | None = None,
    fit: Fit | None = None,
    resize: int | None = None,
    side_by_side: bool = False,
    batch_size: int | None = None,
    image_format: str = "png",
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Translate an image, every image of a folder, or a file of codes (`pspnb.editing.codes`); write pictures to `output`.

    With `n_samples`, that many outputs for each input whose styles `layers` are redrawn (blended by `alpha`; both default to
    the task's). With `mix`, a picture or a file of one code, these styles are that one's. `strength` times the `direction` of
    a file is added to every code; so are `edits`, by name (`pspnb.editing.named`). `factor` shrinks every input first
    (super-resolution); the white of the picture `mask` is the hole of every input (inpainting; default: the paper's triangle);
    `fit` says what becomes of pictures that are not square. `resize` pools outputs to that size (published: 256);
    `side_by_side` puts the input on the left of each output. With `codes`, the codes of every input, unedited, go to that
    `.safetensors` file, by output name, each (n_styles, d); the feature of a Feature-Style model is not kept. An input that
    cannot be read is listed in the report and the rest goes on; if it is the only one, its error is raised.
    """
    if image_format not in FORMATS:
        raise PspnbError(f"expected an image format of {', '.join(FORMATS)}, got {image_format!r}")
    if batch_size is not None and batch_size < 1:
        raise PspnbError(f"expected a batch size of at least 1, got {batch_size}")
    at_least(1, factor=factor)
    seed_in_range(seed)
    between(1, psp.decoder.size, resize=resize)
    task = _with_options(task, factor, mask)
    if directions is not None and not edits:
        raise PspnbError("--directions belongs to --edit NAME=X; expected both")
    planned = planned_edits(
        psp,
        task,
        n_samples=n_samples,
        other=None if mix is None else one_code(psp, mix, task, fit),
        layers=layers,
        alpha=alpha,
        seed=seed,
        direction=None if direction is None else read_direction(direction, psp),
        strength=strength,
        shift=named_shift(psp.decoder, edits, directions=directions) if edits else None,
    )
    endings = [f"_sample{i}.{image_format}" for i in range(n_samples)] if n_samples else [f".{image_format}"]
    reader = CodesReader(psp, source) if is_codes_file(source) else ImageReader(psp, source, task, fit)
    if side_by_side and isinstance(reader, CodesReader):
        raise PspnbError("--side-by-side needs input images, and this is a file of codes")
    draw = _Drawing(psp, reader, planned, resize, side_by_side)
    store = CodesFile(codes, psp) if codes is not None else None

    jobs = reader.jobs(output, endings)
    report = Report()
    todo = [job for job in jobs if overwrite or not (job.done and (store is None or job.name in store))]
    report.kept = len(jobs) - len(todo)
    try:
        with progress_bar(total=len(todo), unit="image", wanted=progress) as bar:
            for batch in _batches(todo, batch_size or _default_batch(psp)):
                _translate_batch(draw, batch, store, report, only=len(jobs) == 1)
                bar.update(len(batch))
    finally:
        if store is not None:
            store.save()
    return report


def _translate_batch(draw: _Drawing, batch: list[Job], store: CodesFile | None, report: Report, *, only: bool) -> None:
    """Read, run and write up to one batch of jobs; unreadable ones leave the batch."""
    readable, stack = [], []
    for job in batch:
        try:
            stack.append(draw.reader.read(job))
            readable.append(job)
        except ImageError as error:
            failed(report, error, only=only)
    if not stack:
        return
    w, pictures = draw(torch.stack(stack))
    for job, x, code, outputs in zip(readable, stack, w, pictures, strict=True):
        try:
            images = [draw.image(x, picture) for picture in outputs]
        except ImageError as error:
            failed(report, ImageError(f"{job.source}: {error}"), only=only)
            continue
        try:
            for path, image in zip(job.outputs, images, strict=True):
                write_image(image, path)
        except ImageError as error:  # a name that the file system does not take
            failed(report, error, only=only)
            continue
        if store is not None:
            store[job.name] = code
        report.written += 1


@dataclass(frozen=True)
class _Drawing:
    """From inputs to pictures: which model, what is done to the codes, and how a result is shown."""

    psp: Translator
    reader: ImageReader | CodesReader
    edits: Edits
    resize: int | None
    side_by_side: bool

    def __call__(self, x: Tensor) -> tuple[Float[Tensor, " b n d"], Float[Tensor, " b k 3 h h"]]:
        """Codes (before any edit) and pictures of a batch, on the CPU. PspnbError when the memory does not suffice."""
        psp = self.psp
        try:
            w, feature = self.reader.codes(x.to(psp.latent_avg.device))
            outputs = [
                psp.draw(codes, feature, before=None if codes is w else w, resize=self.resize)
                for codes in self.edits(psp, w)
            ]
            return w.cpu(), torch.stack(outputs, dim=1).cpu()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise PspnbError(
                    f"not enough memory for {len(x)} at a time; expected a smaller --batch-size"
                ) from error
            raise

    def image(self, x: Tensor, picture: Float[Tensor, " 3 h h"]) -> Image.Image:
        """The result as it is written, where asked for with its input on the left. ImageError when it is not finite."""
        result = to_image(picture)
        if not self.side_by_side or isinstance(self.reader, CodesReader):
            return result
        sheet = Image.new("RGB", (2 * result.width, result.height))
        sheet.paste(shown(x, self.reader.task).resize(result.size, Image.Resampling.BICUBIC), (0, 0))
        sheet.paste(result, (result.width, 0))
        return sheet


def shown(x: Float[Tensor, " c s s"], task: Task) -> Image.Image:
    """What the encoder reads, as a picture for people: label maps in colours (or greys), sketches as they are."""
    return Image.fromarray(task.source.show(x))


def _with_options(task: Task, factor: int | None, mask: str | os.PathLike | None) -> Task:
    if factor is None and mask is None:
        return task
    hole = None if mask is None else read_mask(mask)
    try:
        return task.with_options(factor=factor, mask=hole)
    except ValueError as error:
        raise PspnbError(str(error) if mask is None else f"{mask}: {error}") from error


def _batches(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def _default_batch(psp: Translator) -> int:
    """On a CPU one 1024 px picture at a time keeps the memory below 3 GB, and a larger batch is not faster."""
    return 1 if psp.latent_avg.device.type == "cpu" and psp.decoder.size > 256 else 8
