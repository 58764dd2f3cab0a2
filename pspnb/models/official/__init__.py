"""Official checkpoint files: pSp and rosinality `.pt`, NVIDIA StyleGAN2-ADA `.pkl`, face-recognition networks."""

from pspnb.models.official.load import load_generator, load_identity, load_psp, save_generator, save_psp

__all__ = ["load_generator", "load_identity", "load_psp", "save_generator", "save_psp"]
