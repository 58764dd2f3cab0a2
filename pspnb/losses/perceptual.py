"""LPIPS (paper section 3.1, Zhang et al. 2018) through the `lpips` package; book chapter "Losses"."""

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.errors import LoadError
from pspnb.losses.frozen import Frozen
from pspnb.nn.ops import widen

# AlexNet takes two stride-2 poolings after a stride-4 convolution; a smaller image leaves an empty feature map.
MIN_SIZE = 31


class LPIPSLoss(Frozen):
    """Perceptual distance: squared difference of unit-normalised AlexNet features, weighted by human judgements.

    The linear weights (v0.1) come with the `lpips` package. The trunk is either `trunk_file`, a file of tensors named
    `0.weight` ... `10.bias` or `features.0.weight` ... (torchvision's own alexnet file), or with `random_trunk` drawn
    from `seed` (for tests without a network: a metric, but not a perceptual one), or else torchvision's ImageNet
    weights, downloaded once into torch's cache.
    """

    net: Any  # lpips.LPIPS, which is not typed

    def __init__(self, *, trunk_file: str | Path | None = None, random_trunk: bool = False, seed: int = 0) -> None:
        if random_trunk and trunk_file is not None:
            raise ValueError("expected trunk_file or random_trunk, got both")
        super().__init__()
        self.net = _empty_lpips()
        if random_trunk:
            trunk = _random_trunk(self.net.net, seed=seed)
        elif trunk_file is not None:
            trunk = _read_trunk(Path(trunk_file))
        else:
            trunk = _download_trunk()
        _fill_trunk(self.net.net, trunk, origin=str(trunk_file or "the downloaded AlexNet"))
        self.freeze()

    def features(self, images: Float[Tensor, " b 3 h w"]) -> list[Float[Tensor, " b _c _h _w"]]:
        """The five unit-normalised feature maps of images in [-1, 1]; keep a target's to use them again."""
        if min(images.shape[-2:]) < MIN_SIZE:
            raise ValueError(f"expected images of at least {MIN_SIZE} px for LPIPS, got {tuple(images.shape[-2:])}")
        maps = self.net.net(self.net.scaling_layer(images))
        return [_unit(widen(channels)) for channels in maps]

    def distance(
        self, a: list[Float[Tensor, " b _c _h _w"]], b: list[Float[Tensor, " b _c _h _w"]]
    ) -> Float[Tensor, " b"]:
        """Distance of each pair, from the two lists of `features`."""
        # The package applies a 1x1 convolution and then averages over space; averaging first is the same sum, cheaper,
        # and stays in float32 under autocast.
        heads = [layer.model[-1].weight.flatten() for layer in self.net.lins]
        maps = zip(a, b, heads, strict=True)
        return torch.stack([((p - q).square().mean((2, 3)) * head).sum(1) for p, q, head in maps]).sum(0)

    def per_sample(self, output: Float[Tensor, " b 3 h w"], target: Float[Tensor, " b 3 h w"]) -> Float[Tensor, " b"]:
        """LPIPS of each pair of images in [-1, 1]; no gradient reaches the target."""
        return self.distance(self.features(output), self._target_features(target))

    def forward(
        self,
        output: Float[Tensor, " b 3 h w"],
        target: Float[Tensor, " b 3 h w"] | None = None,
        *,
        target_features: list[Float[Tensor, " b _c _h _w"]] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean LPIPS over the batch, of images in [-1, 1] with `target`, or with features computed before."""
        if target is not None and target_features is None:
            target_features = self._target_features(target)
        elif target is not None or target_features is None:
            raise ValueError("expected exactly one of target and target_features")
        return self.distance(self.features(output), target_features).mean()

    @torch.no_grad()
    def _target_features(self, target: Tensor) -> list[Tensor]:
        return self.features(target)


def _unit(channels: Tensor) -> Tensor:
    """Unit length over channels; a position where no unit is active stays 0."""
    return channels / (torch.linalg.vector_norm(channels, dim=1, keepdim=True) + 1e-10)


def _empty_lpips() -> nn.Module:
    """The package's module with its linear weights and an unset trunk.

    Built on the meta device, so that torchvision doesn't draw 61 million random numbers for a classifier that the
    package throws away.
    """
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's note about the package's old-style arguments
        with torch.device("meta"):
            net = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    net = net.to_empty(device="cpu")
    net.scaling_layer = lpips.lpips.ScalingLayer()
    heads = torch.load(Path(lpips.__file__).parent / "weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    missing = [key for key in net.load_state_dict(heads, strict=False).missing_keys if key.startswith("lin")]
    # The package lists each head twice: as `lin0` and inside `lins`.
    if any(not key.startswith("lins.") for key in missing):
        raise LoadError(f"expected five linear heads in the lpips package, missing {missing}")
    return net


def _fill_trunk(trunk: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy tensors named as in torchvision's `features` (`0.weight`) into the package's slices (`slice1.0.weight`)."""
    wanted = {name.split(".", 1)[1]: parameter for name, parameter in trunk.named_parameters()}
    for name, parameter in wanted.items():
        if name not in tensors or tensors[name].shape != parameter.shape:
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise LoadError(f"{origin}: expected AlexNet features, {name} of {tuple(parameter.shape)}, got {found}")
        parameter.data.copy_(tensors[name])


def _read_trunk(path: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any layer of the reader
        raise LoadError(f"{path}: expected a file of AlexNet tensors ({type(error).__name__})") from error
    if not isinstance(tensors, Mapping):
        raise LoadError(f"{path}: expected a dictionary of AlexNet tensors, got {type(tensors).__name__}")
    return {key.removeprefix("features."): value for key, value in tensors.items() if isinstance(value, Tensor)}


def _download_trunk() -> dict[str, Tensor]:
    from torchvision.models import AlexNet_Weights

    # torch announces a download on the standard error, which would tell in a notebook's output that a cache was empty.
    with contextlib.redirect_stderr(io.StringIO()):
        tensors = AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    return {key.removeprefix("features."): value for key, value in tensors.items()}


def _random_trunk(trunk: nn.Module, *, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, parameter in trunk.named_parameters():
        scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.05
        drawn[name.split(".", 1)[1]] = torch.randn(parameter.shape, generator=generator) * scale
    return drawn
