"""What an encoder of Facets is measured on, and with what: test people, another view of each, and the judging networks."""

from collections.abc import Callable

from torch import Tensor

from pspnb.measure.reconstruction import Images, as_unit
from pspnb.models.zoo import load_shipped
from pspnb.recipes.scales import FACETS64
from pspnb.tasks import TASKS
from pspnb.training.arrays import several_views
from pspnb.training.data import facets_arrays


def facets_views(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The first `n` test images of Facets, and another picture of each of these people (pose, light, clothes drawn from `seed`)."""
    images = facets_arrays(TASKS["inversion"], "test", FACETS64.size, n=n, progress=False).images
    other = several_views("test", n, 1, FACETS64.size, seed=seed + 1).images
    return as_unit(images), as_unit(other)


def facets_instruments(device: str = "cpu") -> tuple[Images, Callable[[Tensor, Tensor], Tensor]]:
    """(judge of identity, perceptual distance): the shipped `identity_eval`, which no encoder was trained on, and `perceptual`."""
    judge, distance = (load_shipped(FACETS64.shipped(name), device=device) for name in ("identity_eval", "perceptual"))
    return judge.requires_grad_(False), distance.requires_grad_(False)
