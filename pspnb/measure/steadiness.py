"""How steady a redrawn film is, against a truth that moves: jitter of pose and identity beyond it, flicker of what stands still.

Chapter: "Video".
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.measure.answer_key import pooled
from pspnb.measure.pairs import Instruments
from pspnb.measure.reconstruction import compare
from pspnb.world2.sequences import Sequence

POSE = ("yaw", "pitch", "roll")
STILL = 1 / 127.5
"""Largest change of a channel, in [-1, 1], of a pixel that counts as still: one level of 255."""


@torch.no_grad()
def steadiness(
    output: Float[Tensor, " n 3 s s"], truth: Float[Tensor, " n 3 s s"], clip: Sequence, instruments: Instruments
) -> dict[str, float]:
    """Numbers of one clip; nan where it has nothing to measure. Pairs are frames that follow each other in one shot.

    `pose_jitter`: mean |read motion - true motion| between frames in degrees, over yaw, pitch and roll; `identity_jitter`: mean
    1 - cosine between frames; each also of the true frames (`_floor`): the instrument's own. `flicker`: mean change in levels of
    255 of pixels that are still in the truth. And the columns of Table 2: similarity, lpips (perceptual_eval), mse, psnr, ssim.
    """
    output = output.float().clamp(-1, 1)
    pairs = clip.shot[1:] == clip.shot[:-1]
    judge = instruments.perceptual_eval or instruments.perceptual
    columns = compare(output, truth, judge=instruments.identity_eval, distance=judge)
    found = {name: float(values.double().mean()) for name, values in columns.items()}
    for ending, images in (("", output), ("_floor", truth)):
        small = pooled(images)
        found[f"pose_jitter{ending}"] = pose_jitter(instruments.factors.predict(small), clip.factors, pairs)
        found[f"identity_jitter{ending}"] = identity_jitter(instruments.identity_eval(small), pairs)
    return found | {"flicker": flicker(output, truth, pairs)}


def pose_jitter(read: Mapping[str, Tensor], true: Mapping[str, Tensor], pairs: Bool[Tensor, " m"]) -> float:
    """Degrees a frame; nan without a pair."""
    gaps = [(read[name].cpu().diff() - true[name].cpu().diff()).abs()[pairs.cpu()] for name in POSE]
    return float(torch.stack(gaps).double().mean())


def identity_jitter(embeddings: Float[Tensor, " n e"], pairs: Bool[Tensor, " m"]) -> float:
    """1 - cosine a frame; nan without a pair."""
    change = 1 - F.cosine_similarity(embeddings[1:].double(), embeddings[:-1].double())
    return float(change[pairs.to(change.device)].mean())


def flicker(output: Float[Tensor, " n 3 s s"], truth: Float[Tensor, " n 3 s s"], pairs: Bool[Tensor, " m"]) -> float:
    """Levels of 255; nan where no pixel is still."""
    where = pairs.to(output.device)
    still = (truth.diff(dim=0).abs().amax(dim=1) <= STILL)[where]
    change = output.diff(dim=0).abs().mean(dim=1)[where]
    return float(change[still].double().mean()) * 127.5
