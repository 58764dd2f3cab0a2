"""Judging one model, of any size and task, on any pictures: `pspnb evaluate MODEL --data FOLDER`.

The columns of Table 1, with the shipped instruments for models of Facets, with LPIPS and a face-recognition file for others.
Chapters: "Ablations", "Training the encoder".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from pspnb.checks import at_least, seed_in_range
from pspnb.editing.translate import task_of
from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.pictures import to_levels
from pspnb.files.provenance import stamp
from pspnb.losses import IdentityLoss, LPIPSLoss
from pspnb.measure.answer_key import has_answers
from pspnb.measure.applications import application_scores
from pspnb.measure.capacity import capacity
from pspnb.measure.judges import JUDGES
from pspnb.measure.on_facets import facets_instruments
from pspnb.measure.reconstruction import Images, compare_all, intervals
from pspnb.models.base import Translator
from pspnb.models.load import load_identity, load_translator
from pspnb.models.zoo import load_shipped
from pspnb.recipes.scales import FACETS64
from pspnb.tasks import TASKS, Task
from pspnb.training.data import Batches, PairArrays, facets_arrays
from pspnb.training.pictures import folder_arrays, paired_arrays


@dataclass(frozen=True)
class Evaluation:
    """`metrics` with intervals, the numbers of each image, and targets and outputs, 8-bit, at the size they were compared."""

    metrics: dict[str, dict[str, float]]
    columns: dict[str, Tensor]
    targets: UInt8[Tensor, " n 3 s s"]
    outputs: UInt8[Tensor, " n 3 s s"]


def evaluate_model(
    model: Translator,
    images: UInt8[Tensor, " n 3 s s"] | PairArrays,
    *,
    judge: Images | None,
    distance: Callable[[Tensor, Tensor], Tensor] | None,
    task: Task = TASKS["inversion"],
    batch: int = 50,
    seed: int = 0,
) -> Evaluation:
    """Similarity, lpips, mse, psnr and ssim of a model's outputs and their targets, with bootstrap intervals.

    `images`: the targets, 0 ... 255, of the size the encoder reads; `PairArrays` for tasks whose sources are given. `task`
    says how a source is made of a target. Outputs of a larger generator are pooled to the targets' size, as in training;
    a smaller generator's are compared at its own. `judge`, `distance`: see `pspnb.measure.reconstruction.compare`; None leaves the
    column out.
    """
    arrays = images if isinstance(images, PairArrays) else PairArrays(images)
    batches = Batches(arrays, task, batch=min(batch, len(arrays)), seed=seed)
    device = model.latent_avg.device
    size = min(arrays.size, model.decoder.size)
    shown: list[tuple[Tensor, Tensor]] = []

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for pair in batches.once(device=device):
            output = model(pair.source, resize=None if size == model.decoder.size else size)
            target = torch.nn.functional.adaptive_avg_pool2d(pair.target, size)
            shown.append((to_levels(target).cpu(), to_levels(output).cpu()))
            yield output, target

    columns = compare_all(pairs(), judge=judge, distance=distance)  # type: ignore[arg-type]
    targets, outputs = (torch.cat(parts) for parts in zip(*shown, strict=True))
    return Evaluation(intervals(columns, seed=seed), columns, targets, outputs)


def evaluate(
    what: str | Path,
    *,
    out: str | Path,
    data: str | Path | None = None,
    sources: str | Path | None = None,
    n: int | None = None,
    task: str | None = None,
    generator: str | Path | None = None,
    identity: str | Path | None = None,
    lpips: str | Path | None = None,
    inversion: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: bool = True,
    draw: Callable[[Evaluation, Path], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a run's folder, a shipped model or a checkpoint file; writes metrics.json to `out`, and what `draw` writes.

    `data`: folder of target pictures (default, for 64 px models: the test split of Facets); `sources`: of tasks that need
    label maps or sketches, with the same names. `n`: the first n only. `identity`: face-recognition file, and `lpips`: file
    of AlexNet's weights (default: downloaded), for models of other sizes than 64 px; without `identity` similarity is left
    out. `task` where run or file don't tell, `generator` where a run's has moved. On a generator that imitates Facets the
    scores of the application follow; `inversion`: the model that says how much can be reached in it (default: the shipped
    one, if it is on the same generator). `draw`: such as `pspnb.show.table1.write_worst`, the worst pictures. Returns what
    metrics.json holds.
    """
    made = stamp(seed=seed, device=device)
    at_least(1, n=n)
    seed_in_range(seed)
    model = load_translator(what, device=device, generator=generator)
    chosen = task_of(model, model_name=str(what), task=task)
    arrays, about = _pictures(model, chosen, data, sources, progress=progress)
    if n is not None:
        if not 1 <= n <= len(arrays):
            raise PspnbError(f"expected n from 1 to {len(arrays)} (all pictures of {about}), got {n}")
        arrays = PairArrays(arrays.images[:n], None if arrays.given is None else arrays.given[:n])
    judge, distance, instruments = _instruments(model, identity, lpips, device)
    batch = 50 if model.decoder.size <= 128 else 4
    found = evaluate_model(model, arrays, judge=judge, distance=distance, task=chosen, batch=batch, seed=seed)
    result = {
        "model": str(what),
        "task": chosen.name,
        "data": about,
        "n": len(arrays),
        "metrics": found.metrics,
        "numbers": capacity(model),
        "instruments": instruments,
        "provenance": made,
    }
    if data is None and has_answers(model.decoder):
        result["application"] = application_scores(
            model, chosen, inversion=inversion, n=len(arrays), seed=seed, device=device
        )
    out = Path(out)
    if draw is not None:
        draw(found, out)
    write_json(out / "metrics.json", result)
    return result


def _pictures(
    model: Translator, task: Task, data: str | Path | None, sources: str | Path | None, *, progress: bool
) -> tuple[PairArrays, str]:
    if data is None:
        if model.input_size != FACETS64.size or sources is not None:
            raise PspnbError("expected --data FOLDER with the target pictures")
        return facets_arrays(
            task, "test", FACETS64.size, second=has_answers(model.decoder), progress=progress
        ), "Facets, test split"
    if sources is not None:
        return paired_arrays(sources, data, model.input_size, task=task, progress=progress), str(data)
    if task.needs_given:
        raise PspnbError(f"expected --sources FOLDER with the {task.source.what} of {task.name}")
    return folder_arrays(data, model.input_size, progress=progress), str(data)


def _instruments(
    model: Translator, identity: str | Path | None, lpips: str | Path | None, device: str
) -> tuple[Any, Any, dict[str, str]]:
    size = min(model.input_size, model.decoder.size)
    if size == FACETS64.size and identity is None and lpips is None:
        if has_answers(model.decoder):
            names = {"similarity": JUDGES["embed"], "lpips": JUDGES["distance"]}
            judge, form = (load_shipped(name, device=device).requires_grad_(False) for name in names.values())
            return judge, form, names
        names = {"similarity": FACETS64.shipped("identity_eval"), "lpips": FACETS64.shipped("perceptual")}
        return *facets_instruments(device), names
    try:
        distance = LPIPSLoss(trunk_file=lpips).to(device)
    except OSError as error:  # no network
        raise PspnbError(f"AlexNet cannot be downloaded ({error}); expected --lpips FILE with its weights") from error
    named = {"lpips": f"LPIPS, AlexNet ({lpips or 'torchvision'})"}
    if identity is None:
        return None, distance.per_sample, named
    judge = IdentityLoss(load_identity(identity)).to(device)
    return judge.embed, distance.per_sample, {"similarity": str(identity), **named}
