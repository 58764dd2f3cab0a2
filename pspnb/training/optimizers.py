"""The optimisers of a training by name: Muon with Adam beside it, or one for everything. Chapter: "Training the encoder"."""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import nn

from pspnb.nn.ops import EqualLinear
from pspnb.nn.stylegan2 import ModulatedConv2d
from pspnb.training.muon import Muon, matrix_of
from pspnb.training.ranger import Ranger

OptimizerName = Literal["muon", "adam", "ranger"]


def build_optimizers(
    networks: Iterable[nn.Module],
    name: OptimizerName,
    lr: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    fused: bool = False,
) -> list[torch.optim.Optimizer]:
    """What moves every trainable parameter of `networks`.

    "muon": Muon for `matrices`, Adam for biases, norms and the rest. "adam", "ranger": one for all.
    `betas` are Adam's.
    """
    networks = list(networks)
    weights = [p for network in networks for p in network.parameters() if p.requires_grad]
    if name == "ranger":
        return [Ranger(weights, lr=lr)]
    if name == "adam":
        return [torch.optim.Adam(weights, lr, betas=betas, fused=fused)]
    inside = matrices(networks)
    known = {id(p) for p in inside}
    rest = [p for p in weights if id(p) not in known]
    return [Muon(inside, lr), torch.optim.Adam(rest, lr, betas=betas, fused=fused)]


def matrices(networks: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Trainable weights of linear layers, modulations and convolutions of more than one pixel; not of one-row ones."""
    found: dict[int, nn.Parameter] = {}
    for module in (m for network in networks for m in network.modules()):
        convolution = isinstance(module, nn.Conv2d | ModulatedConv2d) and module.weight.shape[-1] > 1
        if isinstance(module, nn.Linear | EqualLinear) or convolution:
            weight = cast(nn.Parameter, module.weight)
            if weight.requires_grad and min(matrix_of(weight).shape) > 1:
                found[id(weight)] = weight
    return list(found.values())


def set_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    """The learning rate of all parameters."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
