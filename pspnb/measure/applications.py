"""Every application against exact truth: what `pspnb evaluate facets64/TASK` adds to the columns of Table 1.

The people are those of the test split, the judges trained with nobody, and inversion on the same generator says how much can be
reached. Chapters: one for each application.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.classes import HELEN_CLASSES
from pspnb.errors import PspnbError
from pspnb.measure.frontalization import frontal, measure_frontalization
from pspnb.measure.inpainting import measure_inpainting
from pspnb.measure.interpolation import between_codes, blended, measure_interpolation
from pspnb.measure.intervals import ROUNDS, finite
from pspnb.measure.judges import Judges, shipped_judges
from pspnb.measure.label_maps import measure_labels, with_parts_erased
from pspnb.measure.local_editing import measure_local_editing, recalled
from pspnb.measure.people import BATCH, People, drawn, the_test_people
from pspnb.measure.several import measure_answers
from pspnb.measure.super_resolution import measure_super_resolution
from pspnb.measure.toonify import measure_toonify
from pspnb.models.base import Translator
from pspnb.models.load import load_translator
from pspnb.models.psp import PSP
from pspnb.models.runs import fingerprint
from pspnb.models.zoo import available
from pspnb.recipes.variants import model_name
from pspnb.tasks import Task

PEOPLE_OF_ANSWERS, PEOPLE_OF_OPTIMISATION, PEOPLE_OF_PATHS = 50, 20, 200
"""How many people the dear measurements take, the first ones."""


@dataclass(frozen=True)
class Case:
    """A model of a task, the people, the judges, what it is compared with (None: not measured), chance, and rounds.

    `inversion`: on the same generator, or on that of photographs where the task draws cartoons. `in_w`: inversion with one style
    for all layers, on the same generator.
    """

    model: Translator
    task: Task
    people: People
    judges: Judges
    inversion: Translator | None = None
    in_w: Translator | None = None
    seed: int = 0
    rounds: int = ROUNDS

    def draw(self, sources: Tensor) -> Tensor:
        """Outputs of a batch of sources, at the size of the people's pictures."""
        return self._run(self.model, sources)

    def inverted(self, images: Float[Tensor, " n 3 s s"]) -> Float[Tensor, " n 3 s s"] | None:
        """What inversion makes of full pictures."""
        if self.inversion is None:
            return None
        model = self.inversion
        return drawn(lambda x: self._run(model, x), images)

    def _run(self, model: Translator, sources: Tensor) -> Tensor:
        size = self.people.images.shape[-1]
        return model(sources.to(model.latent_avg.device), resize=None if size == model.decoder.size else size)

    @property
    def mean_face(self) -> Float[Tensor, " 3 s s"]:
        """What the generator draws from its mean latent."""
        with torch.no_grad():
            size = self.people.images.shape[-1]
            face = self.model.draw(self.model.latent_avg[None], resize=size)
            return face[0].float().clamp(-1, 1).cpu()

    def sources(self, people: People | None = None, generator: torch.Generator | None = None) -> Tensor:
        """What the encoder reads of people, as in validation; chance from `generator`, default: the case's seed."""
        people = self.people if people is None else people
        generator = generator or torch.Generator().manual_seed(self.seed)
        source, labels = self.task.source, self.task.source.of_labels(people.labels)
        parts = []
        for start in range(0, len(people), BATCH):
            rows = slice(start, start + BATCH)
            given = None if labels is None else source.unit(labels[rows])
            parts.append(source.make(people.images[rows], given, generator=generator, train=False))
        return torch.cat(parts)


def _frontalization(case: Case) -> dict[str, Any]:
    truth = frontal(case.people)
    return measure_frontalization(
        drawn(case.draw, case.sources()), case.people, truth, case.judges,
        mean_face=case.mean_face, inverted=case.inverted(truth.images), rounds=case.rounds,
    )  # fmt: skip


def _drawn_things(case: Case) -> dict[str, Any]:
    """Sketches, strokes and label maps."""
    inverted, helen = case.inverted(case.people.images), case.task.in_channels == len(HELEN_CLASSES)

    def labels(outputs: Tensor) -> dict[str, Any]:
        return measure_labels(outputs, case.people, case.judges, helen=helen, inverted=inverted, rounds=case.rounds)

    outputs = drawn(case.draw, case.sources())
    found = {"labels": labels(outputs)}
    if case.task.in_channels == 1:
        erased = with_parts_erased(lambda generator: case.sources(generator=generator), seed=case.seed)
        found["labels_parts_erased"] = labels(drawn(case.draw, erased))
    few = case.people.first(PEOPLE_OF_ANSWERS)
    return found | {
        "recalled": recalled(outputs, case.people, case.judges, rounds=case.rounds),
        "several_answers": measure_answers(
            _of_codes(case.model),
            case.sources(few),
            few,
            case.judges,
            task=case.task,
            seed=case.seed,
            rounds=case.rounds,
        ),
        "local_editing": measure_local_editing(
            case.draw, case.sources, case.people.first(PEOPLE_OF_PATHS), case.judges, rounds=case.rounds
        ),
    }


def _super_resolution(case: Case) -> dict[str, Any]:
    few = case.people.first(PEOPLE_OF_ANSWERS)
    return measure_super_resolution(
        case.draw, case.people, case.judges, generator=case.model.decoder, mean_face=case.mean_face,
        inverted=case.inverted(case.people.images), n_optimised=PEOPLE_OF_OPTIMISATION, rounds=case.rounds,
    ) | {
        "several_answers": measure_answers(
            _of_codes(case.model), case.sources(few), few, case.judges, task=case.task, seed=case.seed, rounds=case.rounds
        )
    }  # fmt: skip


def _inpainting(case: Case) -> dict[str, Any]:
    return measure_inpainting(
        case.draw, case.people, case.judges, mean_face=case.mean_face, inverted=case.inverted(case.people.images),
        seed=case.seed, rounds=case.rounds,
    )  # fmt: skip


def _toonify(case: Case) -> dict[str, Any]:
    return measure_toonify(
        drawn(case.draw, case.sources()), case.people, case.judges,
        mean_face=case.mean_face, inverted=case.inverted(case.people.images), rounds=case.rounds,
    )  # fmt: skip


def _inversion(case: Case) -> dict[str, Any]:
    few, outputs = case.people.first(PEOPLE_OF_PATHS), drawn(case.draw, case.people.images)
    paths = {"codes": between_codes(case.model), "pixels": blended}
    if case.in_w is not None:
        paths["codes in W"] = between_codes(case.in_w)
    return {
        "labels": measure_labels(outputs, case.people, case.judges, rounds=case.rounds),
        "recalled": recalled(outputs, case.people, case.judges, rounds=case.rounds),
        "interpolation": measure_interpolation(paths, few.images, case.judges, rounds=case.rounds),
    }


MEASURES: Mapping[str, Callable[[Case], dict[str, Any]]] = MappingProxyType(
    {
        "inversion": _inversion,
        "frontalization": _frontalization,
        "frontalization_unflipped": _frontalization,
        "sketch": _drawn_things,
        "strokes": _drawn_things,
        "segmentation": _drawn_things,
        "segmentation_helen": _drawn_things,
        "super_resolution": _super_resolution,
        "super_resolution_x8": _super_resolution,
        "inpainting": _inpainting,
        "inpainting_random": _inpainting,
        "toonify": _toonify,
        "toonify_pairs": _toonify,
    }
)
"""By the task's name."""


def _of_codes(model: Translator) -> PSP:
    """The model, where all it has of an image is codes. PspnbError for one with a feature, which has one answer."""
    if not isinstance(model, PSP):
        raise PspnbError(f"expected a model whose styles can be redrawn (PSP), got a {type(model).__name__}")
    return model


def measure_application(case: Case) -> dict[str, Any]:
    """All scores of a case; empty for a task without measures."""
    measure = MEASURES.get(case.task.name)
    return {} if measure is None else measure(case)


def application_scores(
    model: Translator, task: Task, *, inversion: str | Path | None = None, n: int, seed: int = 0, device: str = "cpu"
) -> dict[str, Any]:
    """All scores of a model on the first `n` test people, with the shipped judges; None for what is not a number.

    `inversion`: the model to compare with, default: the shipped one where it is on the same generator (of a task that draws
    cartoons: where it is on one of the same world). PspnbError for a given one on another generator.
    """
    reached = _reference(model, inversion, device, elsewhere=task.outputs != "photo")
    in_w = _on_the_same(model, model_name("inversion", "w"), device) if task.name == "inversion" else None
    people = the_test_people(n)
    case = Case(model, task, people, shipped_judges(device), inversion=reached, in_w=in_w, seed=seed)
    return finite(measure_application(case))


def _reference(
    model: Translator, given: str | Path | None, device: str, *, elsewhere: bool = False
) -> Translator | None:
    """Inversion to compare with; `elsewhere`: on any other generator that was taught the factors of the same world."""
    shipped = model_name("inversion")
    if given is None and not elsewhere:
        return _on_the_same(model, shipped, device)
    if given is None and shipped not in available():
        return None
    found = load_translator(shipped if given is None else given, device=device)
    if elsewhere:
        return found if given is not None or found.decoder.knows_factors else None
    if fingerprint(found.decoder) == fingerprint(model.decoder):
        return found
    raise PspnbError(f"{given}: expected an inversion on the model's own generator, this one is on another")


def _on_the_same(model: Translator, name: str, device: str) -> Translator | None:
    """A shipped model, where it is there and on the model's own generator."""
    if name not in available():
        return None
    found = load_translator(name, device=device)
    return found if fingerprint(found.decoder) == fingerprint(model.decoder) else None
