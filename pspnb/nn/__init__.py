"""Networks, plain numbers in and nothing else: StyleGAN2, the IR / IR-SE backbones, the three encoders of the pSp paper, and the
instruments of Facets."""

from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.discriminator import Discriminator
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.instruments import FactorNet, ParsingNet, PerceptualJudge, PerceptualNet, PlainEmbedder
from pspnb.nn.stylegan2 import Generator, n_styles_for

__all__ = [
    "Discriminator",
    "FaceEmbedder",
    "FactorNet",
    "Generator",
    "GradualStyleEncoder",
    "NaiveWPlusEncoder",
    "ParsingNet",
    "PerceptualJudge",
    "PerceptualNet",
    "PlainEmbedder",
    "WEncoder",
    "n_styles_for",
]
