"""Networks: StyleGAN2, the IR / IR-SE backbones and the three encoders of the pSp paper."""
