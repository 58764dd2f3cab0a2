"""Cosine losses on frozen embeddings: identity (paper section 3.1.1, L_ID) and MoCo; book chapter "Losses"."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pspnb.errors import LoadError
from pspnb.losses.basic import FACE_BOX, CropBox, inner_face
from pspnb.losses.frozen import Frozen
from pspnb.nn.ops import widen


@dataclass(frozen=True)
class Similarity:
    """A cosine loss and the similarities behind it, as tensors on the device: reading one waits for the device.

    Only `loss` carries a graph. `to_source` and `views` (target with source) exist when a source was given.
    """

    loss: Float[Tensor, ""]
    to_target: Float[Tensor, " b"]
    to_source: Float[Tensor, " b"] | None = None
    views: Float[Tensor, " b"] | None = None

    @property
    def improvement(self) -> Tensor:
        """How much closer the output is to the target than the source was (the published `id_improve`), mean."""
        if self.views is None:
            raise ValueError("expected a source image: call the loss with source=... to get the improvement over it")
        return (self.to_target - self.views).mean()


class SimilarityLoss(Frozen):
    """Mean over the batch of 1 - <R(output), R(target)> for a frozen network R of unit vectors.

    Subclasses say how images reach their network (`prepare`). The target branch has no graph, and its features can be
    computed once with `embed` and passed again as `target_features`.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.freeze()

    def prepare(self, images: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b 3 _h _w"]:
        """Images in [-1, 1] as the network wants them."""
        raise NotImplementedError

    def embed(self, images: Float[Tensor, " b c h w"]) -> Float[Tensor, " b d"]:
        """Unit vectors of images in [-1, 1]. ValueError unless the images have three channels."""
        if images.shape[1] != 3:
            raise ValueError(
                f"expected images of 3 channels for {type(self).__name__}, got {images.shape[1]}; "
                "a sketch or a label map has no embedding: compare output and target, and leave the source out"
            )
        return F.normalize(widen(self.net(self.prepare(images)).flatten(1)), dim=1)

    def forward(
        self,
        output: Float[Tensor, " b c h w"],
        target: Float[Tensor, " b c h2 w2"] | None = None,
        *,
        target_features: Float[Tensor, " b d"] | None = None,
        source: Float[Tensor, " b c3 h3 w3"] | None = None,
    ) -> Similarity:
        """Loss and similarities of `output` with `target` (or with its features), images in [-1, 1].

        `source` costs one more pass and changes no gradient: it is for logging only. Passing the target itself as the
        source (inversion) costs nothing.
        """
        out = self.embed(output)
        with torch.no_grad():
            goal = self._goal(target, target_features)
            to_target = (out * goal).sum(1)
            to_source = views = None
            if source is not None:
                origin = goal if source is target else self.embed(source)
                to_source, views = (out * origin).sum(1), (goal * origin).sum(1)
        return Similarity(loss=(1 - (out * goal).sum(1)).mean(), to_target=to_target, to_source=to_source, views=views)

    def _goal(self, target: Tensor | None, features: Tensor | None) -> Tensor:
        if target is not None and features is None:
            return self.embed(target)
        if features is not None and target is None:
            return features.detach()
        raise ValueError("expected exactly one of target and target_features")


class IdentityLoss(SimilarityLoss):
    """L_ID: cosine distance of face-recognition embeddings of the inner face.

    `net` maps (b, 3, s, s) in [-1, 1] to (b, d), s = `net.input_size` unless given; it is frozen in place. `box` is
    the face in fractions of the image (`None`: the whole image).
    """

    def __init__(self, net: nn.Module, *, input_size: int | None = None, box: CropBox | None = FACE_BOX) -> None:
        super().__init__(net)
        size = getattr(net, "input_size", None) if input_size is None else input_size
        if not isinstance(size, int):
            raise ValueError(f"expected input_size=<pixels>, because {type(net).__name__} has no input_size of its own")
        self.input_size = size
        self.box = box

    def prepare(self, images: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b 3 _h _w"]:
        """The face, at the size of the network."""
        face = images if self.box is None else inner_face(images, self.box)
        if min(face.shape[-2:]) >= self.input_size:
            return F.adaptive_avg_pool2d(face, self.input_size)
        # Pooling to a larger size repeats pixels in blocks, which no recognition network has seen.
        return F.interpolate(face, size=self.input_size, mode="bilinear", align_corners=False)


class MoCoLoss(SimilarityLoss):
    """The same loss on self-supervised ResNet-50 features, for domains without faces (published code only).

    As published: whole image, nearest-neighbour resize to 224 px, values left in [-1, 1] (no ImageNet statistics).
    `net` comes from `load_moco_resnet50(file)`.
    """

    def prepare(self, images: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b 3 _h _w"]:
        """The whole image at 224 px."""
        return F.interpolate(images, size=224, mode="nearest")


def moco_resnet50() -> nn.Module:
    """torchvision's ResNet-50 without its classifier, giving (b, 2048); weights from the global generator."""
    from torchvision.models import resnet50

    net = resnet50(weights=None)
    net.fc = nn.Identity()
    return net


def load_moco_resnet50(path: str | Path) -> nn.Module:
    """The query encoder of an official MoCo v2 file (`state_dict` with `module.encoder_q.*`), without its head."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any layer of the reader
        raise LoadError(f"{path}: expected a MoCo checkpoint ({type(error).__name__})") from error
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise LoadError(f"{path}: expected a MoCo checkpoint with a state_dict of module.encoder_q.* tensors")
    prefix = "module.encoder_q."
    trunk = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and ".fc" not in k}
    net = moco_resnet50()
    try:
        net.load_state_dict(trunk, strict=True)
    except RuntimeError as error:
        raise LoadError(f"{path}: expected the {prefix}* tensors of a ResNet-50, got {len(trunk)} others") from error
    return net
