"""The scales at which the same code runs: plain numbers, and the only place where their names stand.

`facets64` is the book's own world on a laptop, `ffhq1024` the paper's scale on photographs and official files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pspnb.errors import PspnbError

Kind = Literal["psp", "w", "naive_wplus", "feature_style"]
"""Encoders: pSp's, one style for all layers (W), one linear layer for all styles (naive W+), codes and a feature map."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One size of everything.

    Attributes:
        name: as on the command line, and the first part of the names of its shipped models.
        size: of the generator's images, in pixels.
        input_size: of what an encoder reads and is trained on, in pixels.
        own_world: the pictures are Facets; generator, recognition and perceptual distance are shipped. Otherwise they are
            the user's files.
        encoders: arguments of each kind of encoder; empty: there is only a generator at this scale.
    """

    name: str
    size: int
    input_size: int
    own_world: bool
    encoders: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict)

    def shipped(self, name: str) -> str:
        """The shipped model of this scale: "generator" -> "facets64/generator"."""
        return f"{self.name}/{name}"


_SMALL = {"units": [1, 1, 2, 1], "widths": [32, 32, 64, 96, 96], "input_size": 64}

FACETS64 = Scale(
    name="facets64",
    size=64,
    input_size=64,
    own_world=True,
    encoders={
        # The last layer is as wide as a style, so that it is no bottleneck.
        "psp": {**_SMALL, "head_channels": 48, "last_channels": 128},
        "w": _SMALL,
        # The published bottleneck of 512 numbers; pooling 4 x 4 to 3 x 3 (published: 16 x 16 to 7 x 7) keeps more than that.
        "naive_wplus": {**_SMALL, "pool": 3},
        # K = 3 of 9: 8 x 8, where the penultimate stage's map fits as it is. As wide as a file of 4 MB holds.
        "feature_style": {**_SMALL, "k": 3, "widths": [32, 48, 80, 112, 128]},
    },
)
FACETS128 = Scale(name="facets128", size=128, input_size=128, own_world=True)
# The published sizes, which are the defaults of the classes.
FFHQ1024 = Scale(
    name="ffhq1024",
    size=1024,
    input_size=256,
    own_world=False,
    encoders={"psp": {}, "w": {}, "naive_wplus": {}, "feature_style": {"k": 5}},
)

SCALES: Mapping[str, Scale] = MappingProxyType({scale.name: scale for scale in (FACETS64, FACETS128, FFHQ1024)})
ENCODER_SCALES = tuple(name for name, scale in SCALES.items() if scale.encoders)


def scale_named(name: str) -> Scale:
    """The scale of this name, for an encoder. PspnbError that lists the names."""
    if name not in ENCODER_SCALES:
        raise PspnbError(f"expected a scale among {', '.join(ENCODER_SCALES)}, got {name!r}")
    return SCALES[name]
