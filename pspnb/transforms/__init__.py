"""What happens to an image before the encoder and after the generator, for every task (paper section 4).

Two forms of the same steps. `eight_bit` is the published path: one 8-bit picture at a time through Pillow, equal to the
published code bit for bit; it serves photos and official checkpoints. `batched` works on float tensors on any device and
is what training uses. `labels` holds the label maps of either.
"""

from pspnb.transforms.batched import (
    bicubic_kernel,
    downsample,
    hflip_where,
    low_resolution,
    pencil_sketch,
    random_flips,
)
from pspnb.transforms.eight_bit import (
    grey,
    image_tensor,
    label_tensor,
    low_resolution_tensor,
    resize_picture,
    sketch_tensor,
    squared,
    to_uint8,
)
from pspnb.transforms.labels import CELEBA_COLOURS, colour_labels, labels_of_colours, merge_part_masks, one_hot
from pspnb.transforms.masks import HOLES, mask_out, random_holes, triangular_mask
from pspnb.transforms.strokes import draw_strokes

__all__ = [
    "CELEBA_COLOURS",
    "HOLES",
    "bicubic_kernel",
    "colour_labels",
    "downsample",
    "draw_strokes",
    "grey",
    "hflip_where",
    "image_tensor",
    "label_tensor",
    "labels_of_colours",
    "low_resolution",
    "low_resolution_tensor",
    "mask_out",
    "merge_part_masks",
    "one_hot",
    "pencil_sketch",
    "random_flips",
    "random_holes",
    "resize_picture",
    "sketch_tensor",
    "squared",
    "to_uint8",
    "triangular_mask",
]
