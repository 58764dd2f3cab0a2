"""Is the right person found among look-alikes: other faces with the same hair, skin, clothes, pose and light?

Chapters: "Frontalization", "Another domain".
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.judges import Judges
from pspnb.measure.people import People, rendered
from pspnb.training.lookalikes import LOOKS
from pspnb.world2 import IDENTITY_FACTORS, Style

RANKED, LOOKALIKES = 300, 9
"""People who are looked for, and among how many others of the same hair and skin."""


def lookalikes(people: People, k: int, *, style: Style = "photo") -> list[People]:
    """k other people for each of these: somebody else's face, with their own hair, skin, clothes, pose and light."""
    geometry = [name for name in IDENTITY_FACTORS if name not in LOOKS]
    out = []
    for i in range(1, k + 1):
        shifted = {name: people.factors[name].roll(-i) for name in geometry}
        out.append(rendered(people.factors | shifted, people.images.shape[-1], style=style))
    return out


def gallery(people: People, judges: Judges, *, style: Style = "photo") -> Float[Tensor, " n k e"]:
    """Embeddings of each person, first, and of k - 1 look-alikes."""
    others = lookalikes(people, min(LOOKALIKES, len(people) - 1), style=style)
    known = torch.stack([judges.embedded(x.images) for x in (people, *others)], dim=1)
    return F.normalize(known, dim=2)


def found_first(
    images: Float[Tensor, " n 3 s s"], known: Float[Tensor, " n k e"], judges: Judges
) -> Float[Tensor, " n"]:
    """1 where the picture is more like the right person than like any look-alike of a `gallery`, else 0."""
    likeness = (F.normalize(judges.embedded(images), dim=1)[:, None] * known).sum(dim=2)
    return (likeness[:, :1] > likeness[:, 1:]).all(dim=1).float()
