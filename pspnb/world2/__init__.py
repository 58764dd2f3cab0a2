"""Facets, world 2: procedural portraits of which everything is known, the next version of `pspnb.facets`.

Faces differ by their geometry, nothing visible hangs on a hash, and `prior` ties every z to its factors. The book and its
encoders use world 1 until the generator that imitates this world (`pspnb.training.imitation`) has passed its gate
(`pspnb.measure.gate`); then this package takes the place of `pspnb.facets`.
"""

from pspnb.classes import CLASS_ID, CLASSES, HELEN_CLASSES, HELEN_FROM_CELEBA, MIRRORED, mirror_labels, to_helen
from pspnb.world2.dataset import Facets, cache_folder
from pspnb.world2.export import export
from pspnb.world2.factors import BY_NAME, FREE_FACTORS, IDENTITY_FACTORS, TABLE, Factor, Factors
from pspnb.world2.geometry.pixels import Style
from pspnb.world2.mirror import ONE_SIDED, mirrored
from pspnb.world2.render import RENDER_VERSION, Render, render
from pspnb.world2.sampling import (
    SPLIT_SIZES,
    combine,
    edit,
    global_identity,
    identity_of,
    sample_factors,
    sample_free,
    sample_identity,
    validate,
)

__all__ = [
    "BY_NAME",
    "CLASSES",
    "CLASS_ID",
    "FREE_FACTORS",
    "Facets",
    "Factor",
    "Factors",
    "HELEN_CLASSES",
    "HELEN_FROM_CELEBA",
    "IDENTITY_FACTORS",
    "MIRRORED",
    "ONE_SIDED",
    "RENDER_VERSION",
    "Render",
    "SPLIT_SIZES",
    "Style",
    "TABLE",
    "cache_folder",
    "combine",
    "edit",
    "export",
    "global_identity",
    "identity_of",
    "mirror_labels",
    "mirrored",
    "render",
    "sample_factors",
    "sample_free",
    "sample_identity",
    "to_helen",
    "validate",
]
