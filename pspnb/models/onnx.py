"""Export to ONNX: a model leaves torch, for onnxruntime on a server, on a phone, or in a browser (the lab of the book).

Files, all with a batch axis of any length, float32 in and out, opset 18 (n = n_styles, d = style_dim, H = the generator's size):

| file | input | output |
|---|---|---|
| encoder.onnx | image (b, c, s, s) | codes (b, n, d), the mean latent included |
| mapping.onnx | numbers (b, m) of factors (`pspnb.world2.prior.numbers`), or z (b, k) of a generator without a prior | w (b, d) |
| synthesis.onnx | codes (b, n, d); with `noise="input"` also noise_0 ... (b, 1, r, r) | image (b, 3, H, H) |
| translation.onnx | image (b, c, s, s) | translated (b, 3, H, H) and codes (b, n, d) |

Images are in [-1, 1] and not clipped on the way out; label maps are one-hot and sketches in [0, 1], as for `PSP.encode`.
The prior of a generator with an answer key stays outside: whoever calls the graph turns factors into numbers.
`model.json` beside the files says all this again, with sizes, hashes and the mean latent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

from torch import nn

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.download import file_sha256
from pspnb.models.onnx_graph import OPSET, Graph, Port, write_graph
from pspnb.models.psp import PSP
from pspnb.nn.stylegan2 import Generator, noise_shapes

Part = Literal["encoder", "mapping", "synthesis", "translation"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
Noise = Literal["const", "input"]


def export(
    model: nn.Module,
    out: str | os.PathLike,
    *,
    parts: Sequence[Part] | None = None,
    noise: Noise = "const",
    half: bool = True,
) -> dict[str, Path]:
    """Write the `parts` of a pSp model or of a generator (default: all it has) and model.json into the folder `out`.

    `noise`: of the synthesis, the stored maps as constants, or inputs; a translation always has the stored maps. `half`: store
    weights as float16, to be computed with as float32; this rounds weights that were not float16 before by up to 0.05 %. Returns
    the path of each part. PspnbError for another kind of model, for a part that it lacks, and where onnx is not installed.
    """
    available = graphs_of(model, noise=noise)
    chosen = list(available) if parts is None else list(parts)
    if missing := [part for part in chosen if part not in available]:
        kind = type(model).__name__
        raise PspnbError(f"expected parts among {', '.join(available)} for a {kind}, got {', '.join(missing)}")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise PspnbError(f"{folder}: expected a folder for the results, this is a file")
    paths: dict[str, Path] = {part: folder / f"{part}.onnx" for part in chosen}
    written: dict[str, Any] = {}
    for part, graph in ((name, found) for name, found in available.items() if name in paths):
        path = paths[part]
        write_graph(path, graph, half=half)
        written[part] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
            "inputs": [port.described() for port in graph.inputs],
            "outputs": [port.described() for port in graph.outputs],
        }
    write_json(folder / "model.json", _description(model, half) | {"graphs": written})
    return paths


def graphs_of(model: nn.Module, *, noise: Noise = "const") -> dict[Part, Graph]:
    """The graphs that can be written of a model. PspnbError unless it is a `PSP` or a `Generator`."""
    if isinstance(model, Generator):
        return {"mapping": _mapping(model), "synthesis": _synthesis(model, noise)}
    if not isinstance(model, PSP):
        kind = type(model).__name__
        raise PspnbError(f"expected a model that translates images, or a generator, to export; this is a {kind}")
    image, codes = _image_in(model), _codes(model.decoder)
    translated = Port("translated", _image(model.decoder).shape, "image in [-1, 1], not clipped")
    return {
        "encoder": Graph(model, lambda psp, x: psp.encode(x), (image,), (codes,)),
        "mapping": _mapping(model.decoder),
        "synthesis": _synthesis(model.decoder, noise),
        "translation": Graph(model, lambda psp, x: psp(x, return_codes=True), (image,), (translated, codes)),
    }


def _mapping(generator: Generator) -> Graph:
    w = Port("w", (generator.style_dim,), "style vector, truncation 1")
    mapping = generator.style
    if hasattr(mapping, "map_numbers"):
        width = mapping.layers[0].weight.shape[1]  # type: ignore[index,union-attr]
        numbers = Port("numbers", (width,), "factors as numbers (pspnb.world2.prior.numbers)")
        return Graph(mapping, lambda module, x: module.map_numbers(x), (numbers,), (w,))
    z = Port("z", (generator.z_dim,), "standard normal")
    return Graph(mapping, lambda module, x: module(x), (z,), (w,))


def _synthesis(generator: Generator, noise: Noise) -> Graph:
    ports: tuple[Port, ...] = (_codes(generator),)
    if noise == "const":
        draw: Callable[..., Any] = lambda module, codes: module.synthesize(codes)  # noqa: E731
    elif noise != "input" or not generator.has_noise:
        raise PspnbError(f"expected noise 'const', or 'input' for a generator with noise layers, got {noise!r}")
    else:
        draw = lambda module, codes, *maps: module.synthesize(codes, noise=maps)  # noqa: E731
        shapes = enumerate(noise_shapes(generator.size))
        ports += tuple(Port(f"noise_{i}", shape[1:], "standard normal") for i, shape in shapes)
    return Graph(generator, draw, ports, (_image(generator),))


def _codes(generator: Generator) -> Port:
    return Port("codes", (generator.n_styles, generator.style_dim), "style vectors (w+), the mean latent included")


def _image(generator: Generator) -> Port:
    return Port("image", (3, generator.size, generator.size), "image in [-1, 1], not clipped")


def _image_in(model: PSP) -> Port:
    channels, side = int(getattr(model.encoder, "in_channels", 3)), model.input_size
    meaning = {3: "image in [-1, 1]", 1: "sketch in [0, 1], dark lines on white"}.get(channels, "one-hot label map")
    return Port("image", (channels, side, side), meaning)


def _description(model: nn.Module, half: bool) -> dict[str, Any]:
    generator = model.decoder if isinstance(model, PSP) else model
    assert isinstance(generator, Generator)
    about = {
        "format": "pspnb-onnx 1",
        "opset": OPSET,
        "storage": "float16" if half else "float32",
        "size": generator.size,
        "n_styles": generator.n_styles,
        "style_dim": generator.style_dim,
        "latent_avg": [float(f"{value:.6g}") for value in generator.latent_avg.tolist()],
    }
    return about | ({"task": model.task} if isinstance(model, PSP) and model.task else {})
