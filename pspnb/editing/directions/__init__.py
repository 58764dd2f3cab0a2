"""Directions in the space of codes, and four ways to find one.

`interfacegan` needs a score for each code, `ganspace` and `sefa` need none, `true_direction` needs a generator with an answer
key. Chapter: "Directions".
"""

from pspnb.editing.directions.attributes import Attribute, attribute
from pspnb.editing.directions.direction import Direction, read_directions, save_directions
from pspnb.editing.directions.search import METHODS, find_directions
from pspnb.editing.directions.supervised import interfacegan
from pspnb.editing.directions.truth import true_direction, true_shifts
from pspnb.editing.directions.unsupervised import closest, ganspace, sefa

__all__ = [
    "Attribute",
    "Direction",
    "METHODS",
    "attribute",
    "closest",
    "find_directions",
    "ganspace",
    "interfacegan",
    "read_directions",
    "save_directions",
    "sefa",
    "true_direction",
    "true_shifts",
]
