"""Several answers to one input: how different they are, and how much of what was asked for they keep.

Paper section 3.2: sketch and labels redraw styles 8 to 18 of 18, super-resolution 4 to 7 with alpha .5. Here both are curves, over
the first redrawn style and over alpha. Chapter: "Several answers".
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.intervals import ROUNDS, mean
from pspnb.measure.judges import Judges
from pspnb.measure.label_maps import counts, mean_iou
from pspnb.measure.people import People
from pspnb.measure.scores import Score, entry
from pspnb.models.psp import PSP
from pspnb.tasks import Task

ANSWERS = 10
ALPHAS = (0.25, 0.5, 0.75, 1.0)
KEPT = 0.9
"""The best layer keeps at least this share of the unmixed outputs' mIoU."""


@torch.no_grad()
def answers(
    model: PSP,
    sources: Tensor,
    layers: Sequence[int],
    alpha: float | None,
    *,
    n: int = ANSWERS,
    seed: int = 0,
    batch: int = 10,
) -> Float[Tensor, " b n 3 s s"]:
    """`PSP.sample` in batches, in [-1, 1], on the CPU."""
    device = model.latent_avg.device
    parts = [model.sample(x.to(device), n=n, layers=layers, alpha=alpha, seed=seed) for x in sources.split(batch)]
    return torch.cat([part.float().clamp(-1, 1).cpu() for part in parts])


def diversity(images: Float[Tensor, " b n 3 s s"], judges: Judges) -> Float[Tensor, " b"]:
    """Mean distance of two answers to the same input."""
    rows, others = torch.triu_indices(images.shape[1], images.shape[1], offset=1)
    a, b = images[:, rows], images[:, others]
    return judges.distances(a.flatten(0, 1), b.flatten(0, 1)).view(len(images), -1).mean(dim=1)


def fidelity(images: Float[Tensor, " b n 3 s s"], people: People, judges: Judges, rounds: int) -> dict[str, Score]:
    """What the answers keep of their people: mIoU with the true labels, yaw in degrees, similarity to the true picture."""
    b, n = images.shape[:2]
    flat, true = images.flatten(0, 1), people.labels.repeat_interleave(n, dim=0)
    shown = torch.bincount(people.labels.flatten().long(), minlength=19) > 0
    found = {
        k: v.unflatten(0, (b, n)).mean(dim=1) for k, v in counts(judges.parsed(flat).long(), true.long(), 19).items()
    }
    yaw = (judges.factors(flat)["yaw"].view(b, n) - people.factors["yaw"][:, None]).abs().mean(dim=1)
    likeness = F.cosine_similarity(
        judges.embedded(flat).unflatten(0, (b, n)), judges.embedded(people.images)[:, None], dim=2
    )
    return {
        "miou": entry(mean_iou(found, shown, rounds=rounds)),
        "yaw_error": entry(mean(yaw, rounds=rounds)),
        "similarity": entry(mean(likeness.mean(dim=1), rounds=rounds)),
    }


def measure_answers(
    model: PSP,
    sources: Float[Tensor, " b c s s"],
    people: People,
    judges: Judges,
    *,
    task: Task,
    n: int = ANSWERS,
    alphas: Sequence[float] = ALPHAS,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Diversity and fidelity when all styles from a first one on are redrawn, for every first one, and for the task's own styles
    blended by `alphas`. `best_first`: the first style with the most diversity that keeps `KEPT` of the unmixed mIoU; None: none."""
    styles = model.n_styles

    def of(layers: Sequence[int], alpha: float | None) -> dict[str, Any]:
        images = answers(model, sources, layers, alpha, n=n, seed=seed)
        unlike = entry(mean(diversity(images, judges), rounds=rounds))
        return {"diversity": unlike, **fidelity(images, people, judges, rounds)}

    by_first = {str(first): of(range(first, styles), None) for first in range(styles + 1)}
    own = task.layers(styles) or range(styles)
    unmixed = by_first[str(styles)]["miou"]["value"]
    keeping = [first for first in range(styles) if by_first[str(first)]["miou"]["value"] >= KEPT * unmixed]
    best = max(keeping, key=lambda first: by_first[str(first)]["diversity"]["value"], default=None)
    return {
        "by_first": by_first,
        "by_alpha": {str(alpha): of(own, alpha) for alpha in alphas},
        "layers_of_by_alpha": list(own),
        "best_first": best,
        "task_first": own[0],
    }
