"""The first picture of the landing page, for readers whose browser runs no program: a portrait, its code, an edit."""

import math

import torch
import torch.nn.functional as F
from _gallery import GENERATOR, person, shipped, strip

import pspnb
from pspnb.world2.render import render

WITHOUT = "The models of this world are not in this copy of the package.\n"
ALT = "A drawn portrait, its code as a square of coloured cells, and the same person turned to the side."
TEXT = """![{alt}](figures/generated/{file})

A portrait, its code, and what the generator draws when the code is moved.
"""


def tiles() -> list[torch.Tensor]:
    generator = pspnb.load("world2/generator")
    portrait = render(person(9), 128).image[0]
    edited = generator.map_factors(person(9, yaw=30.0, smile=1.0))
    value = (generator.map_factors(person(9))[0] / 2.5).clamp(-1, 1)
    side = math.ceil(len(value) ** 0.5)
    paper, low, high = (
        torch.tensor(rgb) / 127.5 - 1 for rgb in ((245.0, 245.0, 245.0), (0.0, 114.0, 178.0), (230.0, 159.0, 0.0))
    )
    end = torch.where(value[:, None] < 0, low, high)
    code = torch.lerp(paper.expand_as(end), end, value.abs()[:, None]).T
    code = F.pad(code, (0, side * side - len(value)), value=1.0).unflatten(1, (side, side))
    code = F.interpolate(code[None], size=128, mode="nearest-exact")[0]
    return [portrait, code, generator.synthesize(edited)[0]]


def text() -> str:
    return TEXT.format(alt=ALT, file=strip("hero", GENERATOR, tiles)) if shipped(GENERATOR) else WITHOUT
