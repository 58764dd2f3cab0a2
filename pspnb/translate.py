"""Pictures through a pSp model, folder by folder: what `pspnb translate` does, callable from Python as well.

Chapter: "Using pspnb". The input is prepared as the model's task wants it: photographs in [-1, 1], sketches in [0, 1],
label maps one-hot; pictures of another size or shape are resized to the encoder's square, as the published code does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.checks import at_least, seed_in_range
from pspnb.device import pick_device as pick_device
from pspnb.errors import ImageError, LoadError, PspnbError
from pspnb.files.atomic import write_bytes
from pspnb.files.progress import progress_bar
from pspnb.folders import FORMATS, Job, Report, failed, plan_jobs
from pspnb.images import read_grey, read_image, read_labels, to_image, write_image
from pspnb.psp import PSP
from pspnb.tasks import TASKS, Task, task_named

_TASK_BY_CHANNELS = {1: "sketch", 3: "inversion", 11: "segmentation_helen", 19: "segmentation"}


def task_of(psp: PSP, *, model_name: str = "", task: str | None = None) -> Task:
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
    psp: PSP,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    task: Task,
    codes: str | os.PathLike | None = None,
    n_samples: int = 0,
    layers: Sequence[int] | None = None,
    alpha: float | None = None,
    seed: int = 0,
    factor: int | None = None,
    batch_size: int | None = None,
    image_format: str = "png",
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Translate an image, every image of a folder, or a `.safetensors` file of codes; write pictures to `output`.

    With `n_samples`, that many outputs for each input whose styles `layers` are redrawn (blended by `alpha`; both default to
    the task's). With `codes`, the codes of every input go to that `.safetensors` file, by output name, each (n_styles, d).
    An input that cannot be read is listed in the report and the rest goes on; if it is the only one, its error is raised.
    """
    if image_format not in FORMATS:
        raise PspnbError(f"expected an image format of {', '.join(FORMATS)}, got {image_format!r}")
    if batch_size is not None and batch_size < 1:
        raise PspnbError(f"expected a batch size of at least 1, got {batch_size}")
    at_least(1, factor=factor)
    seed_in_range(seed)
    sampling = _sampling(psp, task, n_samples, layers, alpha)
    endings = [f"_sample{i}.{image_format}" for i in range(n_samples)] if n_samples else [f".{image_format}"]
    reader = (
        _CodesReader(psp, source) if str(source).endswith(".safetensors") else _ImageReader(psp, source, task, factor)
    )
    store = _CodesFile(codes, psp) if codes is not None else None

    jobs = reader.jobs(output, endings)
    report = Report()
    todo = [job for job in jobs if overwrite or not (job.done and (store is None or job.name in store))]
    report.kept = len(jobs) - len(todo)
    try:
        with progress_bar(total=len(todo), unit="image", wanted=progress) as bar:
            for batch in _batches(todo, batch_size or _default_batch(psp)):
                _translate_batch(psp, reader, batch, sampling, seed, store, report, only=len(jobs) == 1)
                bar.update(len(batch))
    finally:
        if store is not None:
            store.save()
    return report


def _translate_batch(
    psp: PSP,
    reader: _ImageReader | _CodesReader,
    batch: list[Job],
    sampling: Mapping,
    seed: int,
    store: _CodesFile | None,
    report: Report,
    *,
    only: bool,
) -> None:
    """Read, run and write up to one batch of jobs; unreadable ones leave the batch."""
    readable, stack = [], []
    for job in batch:
        try:
            stack.append(reader.read(job))
            readable.append(job)
        except ImageError as error:
            failed(report, error, only=only)
    if not stack:
        return
    w, pictures = _run(psp, reader, torch.stack(stack), sampling, seed)
    for job, code, outputs in zip(readable, w, pictures, strict=True):
        try:
            images = [to_image(picture) for picture in outputs]
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


def _run(
    psp: PSP, reader: _ImageReader | _CodesReader, x: Tensor, sampling: Mapping, seed: int
) -> tuple[Float[Tensor, " b n d"], Float[Tensor, " b k 3 h h"]]:
    """Codes and pictures of a batch, on the CPU. Raises PspnbError when the device's memory does not suffice."""
    try:
        w = reader.codes(x.to(psp.latent_avg.device))
        return w.cpu(), _decode(psp, w, sampling, seed).cpu()
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise PspnbError(f"not enough memory for {len(x)} at a time; expected a smaller --batch-size") from error
        raise


def _decode(psp: PSP, w: Float[Tensor, " b n d"], sampling: Mapping, seed: int) -> Float[Tensor, " b k 3 h h"]:
    """Pictures of codes: one each, or one for each of the shared random styles."""
    if not sampling:
        return psp.decode(w)[:, None]
    z = torch.randn(sampling["n"], psp.decoder.z_dim, generator=torch.Generator().manual_seed(seed))
    injected = psp.from_z(z.to(w))
    mixed = [psp.mix(w, sampling["layers"], other[None], sampling["alpha"]) for other in injected]
    return torch.stack([psp.decode(codes) for codes in mixed], dim=1)


def _sampling(psp: PSP, task: Task, n: int, layers: Sequence[int] | None, alpha: float | None) -> dict:
    """The arguments of several outputs per input, checked; empty for one output."""
    if n < 0:
        raise PspnbError(f"expected a number of samples of at least 0, got {n}")
    if n == 0:
        if layers is not None or alpha is not None:
            raise PspnbError("--layers and --alpha belong to --n-samples; expected it too")
        return {}
    if layers is None:
        layers, alpha = task.layers(psp.n_styles), task.sample_alpha if alpha is None else alpha
        if not layers:
            raise PspnbError(f"the task {task.name} has one answer; expected --layers to say which styles to redraw")
    if alpha is not None and not 0 <= alpha <= 1:
        raise PspnbError(f"expected an alpha within 0 and 1, got {alpha}")
    return {"n": n, "layers": list(layers), "alpha": alpha}


def _batches(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def _default_batch(psp: PSP) -> int:
    """On a CPU one 1024 px picture at a time keeps the memory below 3 GB, and a larger batch is not faster."""
    return 1 if psp.latent_avg.device.type == "cpu" and psp.decoder.size > 256 else 8


class _ImageReader:
    """Pictures, prepared as the task wants them."""

    def __init__(self, psp: PSP, source: str | os.PathLike, task: Task, factor: int | None):
        self.psp, self.source, self.task, self.factor = psp, source, task, factor

    def jobs(self, output: str | os.PathLike, endings: Sequence[str]) -> list[Job]:
        return plan_jobs(self.source, output, endings=endings)

    def read(self, job: Job) -> Float[Tensor, " c s s"]:
        if self.task.source == "labels":
            image = read_labels(job.source, n_classes=self.task.in_channels)
        elif self.task.source == "sketch":
            image = read_grey(job.source)
        else:
            image = read_image(job.source)
        return self.task.prepare(np.array(image), self.psp.input_size, factor=self.factor)

    def codes(self, x: Float[Tensor, " b c s s"]) -> Float[Tensor, " b n d"]:
        return self.psp.encode(x)


class _CodesReader:
    """Codes from a file, to be drawn as they are."""

    def __init__(self, psp: PSP, source: str | os.PathLike):
        self.psp, self.path = psp, Path(source)
        self.tensors = _read_codes(self.path)

    def jobs(self, output: str | os.PathLike, endings: Sequence[str]) -> list[Job]:
        names = sorted(self.tensors)
        if bad := [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts or not name]:
            raise LoadError(
                f"{self.path}: expected names of pictures, found {bad[0]!r}, which leaves the output folder"
            )
        outputs = [tuple(Path(output) / f"{name}{ending}" for ending in endings) for name in names]
        return [Job(self.path, name, paths) for name, paths in zip(names, outputs, strict=True)]

    def read(self, job: Job) -> Float[Tensor, " n d"]:
        return _checked(self.tensors[job.name], self.psp, f"{self.path}: {job.name}")

    def codes(self, x: Float[Tensor, " b n d"]) -> Float[Tensor, " b n d"]:
        return x


class _CodesFile:
    """Codes by output name, gathered during a run and written at its end, beside those that the file already holds."""

    def __init__(self, path: str | os.PathLike, psp: PSP):
        self.path = Path(path)
        if self.path.suffix != ".safetensors":
            raise PspnbError(f"{self.path}: expected a name that ends in .safetensors for the codes")
        self.tensors = _read_codes(self.path) if self.path.exists() else {}
        for name, code in self.tensors.items():
            _checked(code, psp, f"{self.path}: {name}")
        self.changed = False

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __setitem__(self, name: str, code: Float[Tensor, " n d"]) -> None:
        self.tensors[name], self.changed = code.contiguous(), True

    def save(self) -> None:
        from safetensors.torch import save

        if self.changed:
            write_bytes(self.path, save(self.tensors))


def _read_codes(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: cannot read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise LoadError(f"{path}: damaged, or not a safetensors file of codes") from error
    if not tensors:
        raise LoadError(f"{path}: expected codes, found an empty file of tensors")
    return tensors


def _checked(code: Tensor, psp: PSP, where: str) -> Float[Tensor, " n d"]:
    expected = (psp.n_styles, psp.decoder.style_dim)
    if tuple(code.shape) != expected or not code.is_floating_point():
        raise ImageError(f"{where}: expected codes of shape {expected}, floating point, found {tuple(code.shape)}")
    if not torch.isfinite(code).all():
        raise ImageError(f"{where}: the codes hold NaN or infinite values")
    return code.float()
