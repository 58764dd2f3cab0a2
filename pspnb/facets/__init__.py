"""Facets: procedural portraits of which everything is known. See the chapter "The world of Facets"."""

from pspnb.classes import CLASS_ID, CLASSES, HELEN_CLASSES, HELEN_FROM_CELEBA, MIRRORED, mirror_labels, to_helen
from pspnb.facets.dataset import Facets, cache_folder
from pspnb.facets.export import export
from pspnb.facets.factors import BY_NAME, FREE_FACTORS, IDENTITY_FACTORS, TABLE, Factor, Factors
from pspnb.facets.render import RENDER_VERSION, Render, render
from pspnb.facets.sampling import (
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
    "RENDER_VERSION",
    "Render",
    "SPLIT_SIZES",
    "TABLE",
    "cache_folder",
    "combine",
    "edit",
    "export",
    "global_identity",
    "identity_of",
    "mirror_labels",
    "render",
    "sample_factors",
    "sample_free",
    "sample_identity",
    "to_helen",
    "validate",
]
