"""One process or several, with the same loop: what differs between a laptop and `accelerate launch` is in this file.

With several processes every one makes its part of the batch, gradients are averaged by DistributedDataParallel through
`accelerate`, and BatchNorm takes its statistics over all parts, so that a run doesn't depend on the number of processes.
"""

import contextlib
import os
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


class Processes:
    """A single process: every method does nothing, or returns what it was given."""

    rank = 0
    world = 1

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and the progress bar."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose forward and backward work across processes; it shares its weights with the one given."""
        return module

    def without_sync(self, module: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Context of a backward pass whose gradients are not averaged yet (accumulation)."""
        del module
        return contextlib.nullcontext()

    def mean(self, values: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        """The mean over processes, on each of them."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag


class ManyProcesses(Processes):
    """Started by `accelerate launch` or `torchrun`, one process a device."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        options = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        self.accelerator = Accelerator(cpu=torch.device(device).type == "cpu", kwargs_handlers=[options])
        found = self.accelerator.device  # on a CPU it is numbered, "cpu:1", which torch.load doesn't understand
        super().__init__("cpu" if found.type == "cpu" else found)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes

    def wrap(self, module: nn.Module) -> nn.Module:
        """DistributedDataParallel, with common BatchNorm statistics (the conversion happens in place)."""
        common_batch_norm(module)
        return self.accelerator.prepare(module)

    def without_sync(self, module: nn.Module) -> contextlib.AbstractContextManager[Any]:
        return self.accelerator.no_sync(module)

    def mean(self, values: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        return self.accelerator.reduce(values, reduction="mean")

    def any(self, flag: bool) -> bool:
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum").item())


def processes(device: str | torch.device = "cpu") -> Processes:
    """The processes of this run, from the environment that `accelerate launch` and `torchrun` set."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return ManyProcesses(device) if several else Processes(device)


# ---- BatchNorm over all processes ----------------------------------------------------------------------------------


class _Sum(torch.autograd.Function):
    """Sum over processes; the gradient of a sum that all share is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class CommonBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with the statistics of all processes' batches together, on any backend.

    torch's own SyncBatchNorm is for GPUs only. Every process must hold the same number of values.
    """

    def forward(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c h w"]:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = wide.numel() // wide.shape[1] * dist.get_world_size()
        mean = _Sum.apply(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        y = centred * (variance + self.eps).rsqrt()[:, None, None]
        return (y * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.num_batches_tracked is None or self.running_mean is None or self.running_var is None:
            return
        assert self.momentum is not None, "a cumulative average is not used in this package"
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def common_batch_norm(module: nn.Module) -> None:
    """Turn every BatchNorm2d below a module into one with common statistics, in place: weights and names stay."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = CommonBatchNorm2d
