"""The label classes: CelebAMask-HQ's nineteen, and the eleven of the Helen face-parsing set as a table over them.

`l_` and `r_` are sides of the *image*: `l_eye` is the eye a viewer sees on the left of a frontal portrait. A mirrored
image must therefore swap the pairs in `MIRRORED`.
"""

from typing import Final

import torch
from jaxtyping import Integer
from torch import Tensor

CLASSES: Final[tuple[str, ...]] = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
CLASS_ID: Final[dict[str, int]] = {name: i for i, name in enumerate(CLASSES)}

HELEN_CLASSES: Final[tuple[str, ...]] = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "nose", "u_lip", "mouth", "l_lip", "hair",
)  # fmt: skip
# Helen knows no ears, neck, clothes or accessories: ears are skin, a hat is hair's place but background to Helen, and
# clear-lens glasses keep what is behind them, so only their rims fall back to skin.
HELEN_FROM_CELEBA: Final[tuple[int, ...]] = (0, 1, 6, 1, 4, 5, 2, 3, 1, 1, 8, 7, 9, 10, 0, 0, 0, 0, 0)

# Class ids after a left-right flip of the image.
MIRRORED: Final[tuple[int, ...]] = (0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def to_helen(labels: Integer[Tensor, " *b h w"]) -> Integer[Tensor, " *b h w"]:
    """Nineteen-class label maps (ids 0-18) as eleven-class Helen maps (ids 0-10), same dtype."""
    table = torch.tensor(HELEN_FROM_CELEBA, dtype=labels.dtype, device=labels.device)
    return table[labels.long()]


def mirror_labels(labels: Integer[Tensor, " *b h w"]) -> Integer[Tensor, " *b h w"]:
    """Label maps of the left-right mirrored images: flipped, with the left and right classes swapped."""
    table = torch.tensor(MIRRORED, dtype=labels.dtype, device=labels.device)
    return table[labels.flip(-1).long()]
