"""A step that a GPU replays: one recording instead of hundreds of launches. On a CPU the step simply runs.

The networks of this book are so small that on a GPU starting the kernels takes longer than computing them. A CUDA graph records
the kernels of one step with their addresses and starts them all at once. Chapter: "Training the encoder".
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Step = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Replayed:
    """`step(inputs) -> outputs`, recorded at the first call on a CUDA device and replayed at every later one.

    The step must do the same kernels every time: no value may be read back, and what it changes (gradients, running averages) must
    be tensors that stay where they are. Inputs keep their names, shapes and types. Outputs lie where the recording put them and
    are overwritten by the next call. A recording is preceded by `warm_up` unrecorded steps on the same inputs.
    """

    def __init__(self, step: Step, *, device: str | torch.device, warm_up: int = 3):
        self.step, self.device, self.warm_up = step, torch.device(device), warm_up
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.device.type != "cuda":
            return self.step(inputs)
        if self.graph is None:
            self._record(inputs)
        else:
            for name, value in inputs.items():
                self.inputs[name].copy_(value, non_blocking=True)
        assert self.graph is not None
        self.graph.replay()
        return self.outputs

    def _record(self, inputs: Mapping[str, Tensor]) -> None:
        self.inputs = {name: value.to(self.device).clone() for name, value in inputs.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(self.warm_up):
                self.step(self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.outputs = self.step(self.inputs)
        self.graph = graph


def keep_gradients(parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    """Gives every parameter a gradient of zeros that stays in place, as a recorded backward pass needs; returns them."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [p.grad for p in parameters if p.grad is not None]
