"""Sets of images against sets of images: Frechet distance, precision and recall, label shares, the nearest training image.

Chapter: "StyleGAN2 from the inside".
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pspnb.measure.metrics import frechet_distance, precision_recall
from pspnb.measure.pairs import Pairs
from pspnb.nn.instruments import ParsingNet
from pspnb.training.arrays import FacetsArrays, to_unit

BATCH = 100


def distances(pairs: Pairs, features: str) -> dict[str, float]:
    """Frechet distance, precision and recall of the generated images, each beside what renders reach; `features`: a column.

    Halves A and B of the z, n / 2 images each, so that no image meets its own truth: generated A and rendered A, both against
    rendered B.
    """
    n = pairs.n // 2
    fake, other, reference = (x[features] for x in (pairs.generated, pairs.rendered, pairs.rendered))
    fake, other, reference = fake[:n], other[:n], reference[n : 2 * n]
    precision, recall = precision_recall(reference, fake)
    real_precision, real_recall = precision_recall(reference, other)
    return {
        "frechet": frechet_distance(fake, reference),
        "frechet_floor": frechet_distance(other, reference),
        "precision": precision,
        "recall": recall,
        "precision_of_real": real_precision,
        "recall_of_real": real_recall,
    }


@torch.no_grad()
def label_shares(parsing: ParsingNet, images: Float[Tensor, " n 3 H H"]) -> Float[Tensor, " k"]:
    """Mean share of the pixels that the parsing instrument gives to each class."""
    labels = torch.cat([parsing.labels(part) for part in images.split(BATCH)])
    return torch.bincount(labels.flatten(), minlength=parsing.n_classes).double() / labels.numel()


def nearest_training_images(images: Float[Tensor, " n 3 H H"], train: FacetsArrays) -> Tensor:
    """Index of the training image nearest to each image: Euclidean, over pixels at half size."""
    queries = F.avg_pool2d(images, 2).flatten(1)
    best, where = torch.full((len(images),), float("inf")), torch.zeros(len(images), dtype=torch.int64)
    for start in range(0, len(train), 2000):
        block = F.avg_pool2d(to_unit(train.images[start : start + 2000]), 2).flatten(1)
        distance, index = torch.cdist(queries, block).min(dim=1)
        closer = distance < best
        best, where = torch.where(closer, distance, best), torch.where(closer, index + start, where)
    return where
