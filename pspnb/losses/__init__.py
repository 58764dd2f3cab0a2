"""Every loss of pSp (Encoding in Style, sections 3.1 and 4.2), and the weighted sum of them; book chapter "Losses".

One small function or class per equation:

| name | compares |
|---|---|
| `l2` | pixels, mean squared error |
| `LPIPSLoss` | features of a frozen AlexNet, weighted by human judgements |
| `IdentityLoss` | embeddings of a frozen face-recognition network, of the cropped face |
| `MoCoLoss` | embeddings of a frozen self-supervised ResNet-50, for domains without faces |
| `w_norm` | the codes with the average code |
| `inner_face` | (a crop: any image loss restricted to the inner face) |

and of the Feature-Style encoder (Yao et al. 2022, section 4.1), whose pixel loss is `l2` as well:

| name | compares |
|---|---|
| `MultiScalePerceptual` | perceptual features at three sizes |
| `MultiLayerSimilarity` | five depths of a face-recognition or a face-parsing network |
| `feature_reconstruction` | F with the generator's own feature for the codes |

`FeatureStyleLoss` sums them over both inversions.

`LossTerm` gives a loss a name and a weight, `build_terms` makes the terms of a task, `total_loss` sums them.
"""

from pspnb.losses.basic import FACE_BOX, CropBox, inner_face, l2, w_norm
from pspnb.losses.feature_style import MultiLayerSimilarity, MultiScalePerceptual, feature_reconstruction
from pspnb.losses.frozen import Frozen
from pspnb.losses.perceptual import LPIPSLoss
from pspnb.losses.similarity import (
    IdentityLoss,
    MoCoLoss,
    Similarity,
    SimilarityLoss,
    load_moco_resnet50,
    moco_resnet50,
)
from pspnb.losses.terms import LossInputs, LossTerm, LossWeights, build_terms, total_loss
from pspnb.losses.two_inversions import FeatureStyleLoss, FeatureStyleWeights, TwoInversions

__all__ = [
    "FACE_BOX",
    "CropBox",
    "FeatureStyleLoss",
    "FeatureStyleWeights",
    "Frozen",
    "IdentityLoss",
    "LPIPSLoss",
    "LossInputs",
    "LossTerm",
    "LossWeights",
    "MoCoLoss",
    "MultiLayerSimilarity",
    "MultiScalePerceptual",
    "Similarity",
    "SimilarityLoss",
    "TwoInversions",
    "build_terms",
    "feature_reconstruction",
    "inner_face",
    "l2",
    "load_moco_resnet50",
    "moco_resnet50",
    "total_loss",
    "w_norm",
]
