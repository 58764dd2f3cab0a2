"""One torch module as one ONNX file: dynamic batch, weights stored in half precision, arithmetic in float32.

torch's exporter can simplify the graph by itself; it then drops the 1e-8 under the root of the demodulation, which is what keeps
a silent channel from becoming NaN. Here only shapes are folded. `pspnb.models.onnx` says which parts of a model are written.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_bytes

if TYPE_CHECKING:
    import onnx

OPSET: Final = 18
"""Operator set of the files: read by onnxruntime 1.14 and onnxruntime-web 1.14 or later."""
_IR_VERSION: Final = 8  # the file format that came with opset 18
_LARGE: Final = (
    1024  # tensors with fewer numbers stay in float32: they are 2 % of a file and hold biases and running means
)
_HALF_MAX: Final = 65504.0
_FOLDED: Final = 64  # constants with at most so many numbers may be computed in advance: shapes and indices
_FILE_MAX: Final = 2**31 - 1  # of protobuf


@dataclass(frozen=True)
class Port:
    """An input or output: its name, its shape behind the batch axis, and what its numbers mean."""

    name: str
    shape: tuple[int, ...]
    meaning: str

    def described(self) -> dict[str, Any]:
        """As in model.json; the batch axis is "batch"."""
        return {"name": self.name, "shape": ["batch", *self.shape], "type": "float32", "meaning": self.meaning}


@dataclass(frozen=True)
class Graph:
    """A function of a model and of tensors, which gives a tensor or several, with its ports in order."""

    model: nn.Module
    function: Callable[..., Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def examples(self, batch: int, *, seed: int = 0) -> tuple[Tensor, ...]:
        """Standard normal inputs."""
        draw = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(batch, *port.shape, generator=draw) for port in self.inputs)


class _Calls(nn.Module):
    """What torch's exporter can trace: a module that calls the function."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.model, self.function = graph.model, graph.function

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(self.model, *tensors)


def write_graph(path: str | os.PathLike, graph: Graph, *, half: bool = True) -> None:
    """Write `graph` as an ONNX file of opset `OPSET`, float32 in and out, any batch size.

    `half`: large weights are stored as float16 and cast to float32 when the file is loaded. Weights that were float16 before,
    as all shipped ones, lose nothing. PspnbError where onnx is not installed, or when the file would exceed 2 GB.
    """
    try:
        import onnx
        import onnx_ir
        import onnxscript.optimizer
    except ImportError as error:
        raise PspnbError(f"expected the packages onnx and onnxscript: pip install 'pspnb[onnx]' ({error})") from error

    program = _trace(graph)
    onnxscript.optimizer.fold_constants(program.model, input_size_limit=_FOLDED, output_size_limit=_FOLDED)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    _forget_source(program.model)
    model = onnx_ir.to_proto(program.model)
    model.ir_version = _IR_VERSION
    if half:
        store_half(model)
    if model.ByteSize() > _FILE_MAX:
        raise PspnbError(f"{path}: the graph would exceed 2 GB, the limit of an ONNX file; expected half storage")
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString(deterministic=True))


def _trace(graph: Graph) -> Any:
    batch = torch.export.Dim("batch")
    arguments = graph.examples(2)
    silent = io.StringIO()  # the exporter prints its progress
    with warnings.catch_warnings(), contextlib.redirect_stdout(silent), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            _Calls(graph).eval(),
            arguments,
            dynamo=True,
            dynamic_shapes=(tuple({0: batch} for _ in arguments),),
            input_names=[port.name for port in graph.inputs],
            output_names=[port.name for port in graph.outputs],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )


def _forget_source(model: Any) -> None:
    """Remove the notes on files and lines of the exporting machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


def store_half(model: onnx.ModelProto) -> None:
    """Store the large float32 weights of a model as float16, each with a cast to float32 in front of its users.

    A runtime does the casts once, when it loads the file. A tensor with a number beyond float16's range stays as it is.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _LARGE or not np.abs(values).max() <= _HALF_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
