"""The cartoon's tones: light in three steps, hard shadows, one glint; nothing that is finer than a line of ink.

Geometry, labels and factors are those of the photographic style, so every cartoon has its photograph (chapter "Another domain").
"""

import torch
from torch import Tensor

from pspnb.world2.geometry.fields import ramp
from pspnb.world2.geometry.pixels import Samples
from pspnb.world2.paint.canvas import RGB, Canvas
from pspnb.world2.paint.light import dot_light, highlight, tone

# Where light falls as brightly as this share of the most, a tone ends. Its softness is that of about a pixel at 64 px.
SHADOW, BRIGHT, SOFT = 0.46, 0.86, 0.03
_STEPS = (0.30, 0.66, 0.80)  # of the key light, from shadow to bright
_HIDDEN = 0.84  # occlusion below which a cast shadow falls
_COOL = (0.80, 0.80, 0.88)  # what a cast shadow does to a colour
_GLINT, _SHINE = 0.045, 0.17  # gloss above which there is a glint, and how bright it is


def stepped(x: Tensor, at: float, soft: float = SOFT) -> Tensor:
    """0 below `at` and 1 above, with a soft edge."""
    return ramp(x, at - soft, at + soft)


def flat_tones(canvas: Canvas, n: RGB, wrap: tuple[float, float, float], sharpness: int) -> RGB:
    """Colours of a canvas under light in steps; n: unit normals, `wrap` and `sharpness` as in `light.shade`."""
    s, flat = canvas.s, canvas.flat
    n = (n[0] * (1 - flat), n[1] * (1 - flat), n[2] + (1.0 - n[2]) * flat)
    around = wrap[1]
    falls = ((dot_light(n, s) + around) * (1.0 / (1.0 + around))).clamp(min=0.0)
    low, middle, high = _STEPS
    level = low + (middle - low) * stepped(falls, SHADOW) + (high - middle) * stepped(falls, BRIGHT)
    hidden = 1.0 - stepped(canvas.occlusion, _HIDDEN)
    glint = stepped(canvas.gloss * highlight(n, s, sharpness), _GLINT, 0.012) * (_SHINE * (1.0 - hidden))
    keys, cools = (s.key_r, s.key_g, s.key_b), (0.985, 1.0, 1.03)
    out = []
    for albedo, key, cool, shadow in zip(canvas.rgb, keys, cools, _COOL, strict=True):
        lit = albedo * (s.fill * cool + key * level) * (1.0 + (shadow - 1.0) * hidden)
        out.append(tone(lit + glint * key).clamp(0.0, 1.0))
    return out[0], out[1], out[2]


def rounded(s: Samples, p: RGB, n: RGB) -> RGB:
    """Normals (camera's frame) of hair at points p of the head's frame; curls are lit as the ball that they are on."""
    curly = (s.curl > 0).float()
    x, y, z = p[0], p[1] - 0.15, p[2] + 0.05
    per_length = 1.0 / torch.sqrt(x * x + y * y + z * z + 1e-6)
    out = []
    for k, row in enumerate("xyd"):
        m = [getattr(s, f"head_{row}{i}") for i in range(3)]
        ball = (m[0] * x + m[1] * y + m[2] * z) * per_length
        out.append(n[k] + (ball - n[k]) * curly)
    return out[0], out[1], out[2]
