"""Label maps: one-hot tensors for the encoder, colours for people (paper section 4.3.2)."""

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

# The colour table of the published code for the 19 classes of CelebAMask-HQ, RGB.
CELEBA_COLOURS: UInt8[np.ndarray, "19 3"] = np.array(
    [
        *[(0, 0, 0), (204, 0, 0), (76, 153, 0), (204, 204, 0), (51, 51, 255), (204, 0, 204), (0, 255, 255)],
        *[(255, 204, 204), (102, 51, 0), (255, 0, 0), (102, 204, 0), (255, 255, 0), (0, 0, 153), (0, 0, 204)],
        *[(255, 51, 153), (0, 204, 204), (0, 51, 0), (255, 153, 51), (0, 204, 0)],
    ],
    dtype=np.uint8,
)


def one_hot(labels: Integer[Tensor, "*b h w"], n_classes: int) -> Float[Tensor, "*b c h w"]:
    """Label maps as float planes, one per class.

    ValueError for a label outside of 0 ... n_classes - 1, on the CPU; a CUDA tensor isn't checked, because reading the
    answer would wait for the device.
    """
    if labels.device.type == "cpu" and labels.numel():
        low, high = labels.min().item(), labels.max().item()
        if low < 0 or high >= n_classes:
            raise ValueError(f"expected labels 0 ... {n_classes - 1}, got values from {low} to {high}")
    return F.one_hot(labels.long(), n_classes).movedim(-1, -3).float()


def colour_labels(
    labels: Integer[np.ndarray, "*batch h w"] | Integer[Tensor, "*batch h w"],
) -> UInt8[np.ndarray, "*batch h w 3"]:
    """RGB pictures of label maps with the 19 classes of CelebAMask-HQ (for planes, take `argmax` over them first)."""
    labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    if labels.min() < 0 or labels.max() >= len(CELEBA_COLOURS):
        raise ValueError(f"expected labels 0 ... 18, got values from {labels.min()} to {labels.max()}")
    return CELEBA_COLOURS[labels]
