"""People who differ by the geometry of their faces and by nothing else: what a recognition network must learn to tell apart.

Whoever recognises people by hair and skin fails on them. Half of the people that the recognition instruments train on are
look-alikes, and `pspnb.measure.instrument_reports` asks who is who among fifty of them. Chapter: "The world of Facets".
"""

import torch
from jaxtyping import Int
from torch import Tensor

from pspnb.training.arrays import FacetsArrays, render_arrays
from pspnb.world2 import BY_NAME, IDENTITY_FACTORS, Factors, combine, edit, sample_free, sample_identity

GROUP = 10
"""Training people who share their looks; person p is in group p // GROUP."""
LOOKALIKES = 1_000_000
"""The first number of a look-alike: below are the split's own people, who share nothing."""

# What isn't geometry: colours, hair and marks of an identity.
_LOOKS = ("skin", "undertone", "lip_tint", "lashes", "iris", "hair", "beard", "freckle", "age")
LOOKS = tuple(name for name in IDENTITY_FACTORS if name.startswith(_LOOKS))


def lookalike_identity(split: str, people: Int[Tensor, " n"], *, group: int = GROUP) -> Factors:
    """Identity factors of `people`, each with the looks of the first person of its group of `group`."""
    own, first = sample_identity(split, people), sample_identity(split, people // group * group)
    return {name: first[name] if name in LOOKS else value for name, value in own.items()}


def lookalike_arrays(
    people: int, views: int, *, size: int = 64, device: str | torch.device = "cpu", batch: int = 64
) -> FacetsArrays:
    """Training pictures: `views` each of `people` look-alikes of the train split, numbered from LOOKALIKES."""
    identity = LOOKALIKES + torch.arange(people).repeat_interleave(views)
    free = sample_free("train", LOOKALIKES + torch.arange(people * views))
    factors = combine(lookalike_identity("train", identity), free)
    return render_arrays(factors, identity, size, device=device, batch=batch)


def lookalike_test(groups: int = 10, people: int = 50, *, seed: int = 700, size: int = 64) -> FacetsArrays:
    """Two pictures each of `groups` times `people` test people, who have the looks of their group: 2 i and 2 i + 1 show one.

    Pose, light, expression and wall of the two are independent; nobody has a beard, wears glasses or a hat.
    """
    identity = torch.arange(groups * people).repeat_interleave(2)
    free = sample_free(seed, torch.arange(len(identity)))
    factors = combine(lookalike_identity("test", identity, group=people), free)
    bare = {name: 0 for name in ("beard", "glasses", "hat") if name in BY_NAME}
    return render_arrays(edit(factors, **bare), identity, size)
