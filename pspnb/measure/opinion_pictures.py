"""The pictures of an opinion study on super-resolution: the same people by each method, and the examples of 1 and of 5.

The protocol is that of the super-resolution paper: eightfold, 240 pictures in all, nearest-neighbour enlargement as the example of
the lowest score and originals as that of the highest. Chapter: "Super-resolution".
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.measure.opinion import EXAMPLES, PICTURES
from pspnb.measure.people import People, drawn
from pspnb.measure.super_resolution import enlarged, shrunk
from pspnb.transforms import low_resolution

FACTOR = 8
ORIGINAL, BICUBIC = "original", "bicubic"


def rated_pictures(
    methods: Mapping[str, Callable[[Tensor], Tensor]], people: People, *, factor: int = FACTOR, total: int = PICTURES
) -> tuple[dict[str, Float[Tensor, " n 3 s s"]], Float[Tensor, " k 3 s s"], Float[Tensor, " k 3 s s"]]:
    """What `make_study` takes: pictures by method (those given, bicubic enlargement, the originals), examples of 1, examples of 5.

    `methods`: name -> what it makes of pictures that were shrunk by `factor` and enlarged again. `total`: pictures to rate in all.
    The examples are of people behind those who are rated. PspnbError where there are too few people.
    """
    n = total // (len(methods) + 2)
    if n < 1 or len(people) < n + EXAMPLES:
        raise PspnbError(f"expected at least {n + EXAMPLES} people for {total} pictures, got {len(people)}")
    images, others = people.images[:n], people.images[n : n + EXAMPLES]
    size = images.shape[-1]
    sources = low_resolution(images, [factor] * n)
    pictures = {name: drawn(draw, sources) for name, draw in methods.items()}
    pictures |= {BICUBIC: enlarged(shrunk(images, factor), size, "bicubic"), ORIGINAL: images}
    return pictures, enlarged(shrunk(others, factor), size, "nearest"), torch.clone(others)
