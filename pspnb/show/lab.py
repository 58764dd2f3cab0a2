"""What the book's lab pages load: models as ONNX files, the factors of the world, prepared pictures.

    build(folder, models_of(ROLES))

A page exists when the models it needs do (`pages`). The pages themselves are plain JavaScript in book/_static/lab.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from pspnb.classes import CLASSES
from pspnb.errors import LoadError, PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.download import file_sha256
from pspnb.models.load import load
from pspnb.models.onnx import graphs_of
from pspnb.models.onnx_graph import Graph, Port, write_graph
from pspnb.models.psp import PSP
from pspnb.nn.encoders import style_groups
from pspnb.nn.instruments import FactorNet
from pspnb.nn.stylegan2 import Generator
from pspnb.show import lab_frames
from pspnb.show.lab_frames import as_plain as as_plain
from pspnb.transforms.labels import CELEBA_COLOURS
from pspnb.world2 import prior
from pspnb.world2.factors import TABLE, Factors
from pspnb.world2.sampling import edit, sample_factors

ROLES: Final[dict[str, str]] = {
    "generator": "world2/generator",
    "factors": "world2/factors",
    "inversion": "world2/inversion",
    "sketch": "world2/sketch",
    "segmentation": "world2/segmentation",
    "super_resolution": "world2/super_resolution",
}
"""What the lab can use, and the shipped model that fills the part."""
PAGES: Final[dict[str, tuple[str, ...]]] = {
    "mix": ("generator",),
    "edit": ("generator",),
    "teacher": ("generator",),
    "zoom": ("generator", "super_resolution"),
    "draw": ("generator", "sketch"),
    "labels": ("generator", "segmentation"),
    "quiz": ("generator",),
}
"""Pages in the order of the book, with the parts each cannot do without."""
TASKS: Final = ("inversion", "sketch", "segmentation", "super_resolution")
LARGEST: Final = 4.5 * 2**20
"""Bytes of a model's file that a reader on a phone is asked to load."""
_FORMAT: Final = 4  # of lab.json; raising it makes everything anew


def models_of(names: Mapping[str, str]) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The models that are there, by role, and for every other role one sentence that says why it isn't.

    Each name is a shipped model or whatever else `pspnb.load` takes.
    """
    models: dict[str, nn.Module] = {}
    absent: dict[str, str] = {}
    for role, name in names.items():
        if role not in ROLES:
            raise PspnbError(f"expected a part of the lab among {', '.join(ROLES)}, got {role!r}")
        try:
            models[role] = load(name)
        except LoadError as error:
            absent[role] = str(error)
        except ValueError as error:  # of a generator that belongs to another version of the world
            absent[role] = f"{name}: {error}"
    return models, absent


def pages(available: Mapping[str, object]) -> list[str]:
    """Names of the pages that these parts suffice for."""
    return [page for page, needs in PAGES.items() if all(part in available for part in needs)]


def build(out: str | os.PathLike, models: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Write lab.json, the ONNX files and the prepared pictures into the folder `out`; returns what lab.json says.

    What is there already of the same models is kept. PspnbError when a part is of the wrong kind, when a task was trained on
    another generator, or when a file would exceed 4.5 MiB.
    """
    folder = Path(out)
    about: dict[str, Any] = {"format": _FORMAT, "pages": pages(models), "world": world()}
    about["classes"] = {"names": list(CLASSES), "colours": CELEBA_COLOURS.tolist()}
    if "generator" in models:
        generator = _checked(models)
        about["generator"] = _generator(generator)
        about["models"] = {name: _file(folder, name, graph) for name, graph in _graphs(models, generator).items()}
        if "factors" in models:
            about["factors"] = _reader(models["factors"])
        about["frames"] = lab_frames.prepare(folder, generator, key=_fingerprint(generator, _FORMAT))
    write_json(folder / "lab.json", about, indent=None)
    return about


def world() -> dict[str, Any]:
    """The table of factors, what pairs the earrings, and people to start with."""
    rows = [
        {
            "name": f.name,
            "kind": f.kind,
            "distribution": f.distribution,
            "low": f.low,
            "high": f.high,
            "unit": f.unit,
            "meaning": f.meaning,
            "names": list(f.names),
            "weights": list(f.weights),
        }
        for f in TABLE
    ]
    return {"factors": rows, "pairedEarrings": prior.PAIRED_EARRINGS, "people": [as_plain(f, 0) for f in _people()]}


def _people() -> list[Factors]:
    """The first people of the test split, looking into the camera: with which the pages open."""
    shown = [sample_factors("test", [i]) for i in range(12)]
    return [edit(f, pitch=0.0, roll=0.0, mouth_open=0.0, eye_open=0.8, light_elevation=30.0, hat="none") for f in shown]


def _checked(models: Mapping[str, nn.Module]) -> Generator:
    generator = models["generator"]
    if not isinstance(generator, Generator) or not hasattr(generator.style, "map_numbers"):
        raise PspnbError(f"the lab's generator must map factors; this is a {type(generator).__name__} that doesn't")
    wanted = _fingerprint(generator)
    for role in TASKS:
        model = models.get(role)
        if model is not None and not (isinstance(model, PSP) and _fingerprint(model.decoder) == wanted):
            raise PspnbError(f"expected for {role} a model that was trained on the lab's own generator")
    return generator


def _graphs(models: Mapping[str, nn.Module], generator: Generator) -> dict[str, Graph]:
    parts = graphs_of(generator)
    graphs = {"mapping": parts["mapping"], "synthesis": parts["synthesis"]}
    for role in TASKS:
        if role in models:
            graphs[role] = graphs_of(models[role])["encoder"]
    if "factors" in models:
        reader = models["factors"]
        if not isinstance(reader, FactorNet):
            raise PspnbError(f"expected for factors a network that reads them, got a {type(reader).__name__}")
        image = Port("image", (3, reader.input_size, reader.input_size), "image in [-1, 1]")
        values = Port("values", (sum(reader.heads.values()),), "all outputs of the reader, in the order of its heads")
        graphs["factors"] = Graph(reader, lambda module, x: module.outputs(x), (image,), (values,))
    return graphs


def _reader(reader: nn.Module) -> list[dict[str, Any]]:
    """Heads of the factor reader: name, number of outputs, and the range of a continuous factor."""
    assert isinstance(reader, FactorNet)
    return [{"name": name, "width": width, "range": reader.ranges.get(name)} for name, width in reader.heads.items()]


def _generator(generator: Generator) -> dict[str, Any]:
    return {
        "size": generator.size,
        "nStyles": generator.n_styles,
        "styleDim": generator.style_dim,
        "groups": [[group.start, group.stop] for group in style_groups(generator.n_styles)],
    }


def _file(folder: Path, name: str, graph: Graph) -> dict[str, Any]:
    """One model's file, exported unless it is there with the same weights."""
    path = folder / "models" / f"{name}-{_fingerprint(graph.model, _FORMAT)}.onnx"
    if not path.is_file():
        for old in path.parent.glob(f"{name}-*.onnx"):
            old.unlink()
        write_graph(path, graph)
    if path.stat().st_size > LARGEST:
        raise PspnbError(
            f"{path.name} has {path.stat().st_size / 2**20:.1f} MiB; expected at most {LARGEST / 2**20:g} for the lab"
        )
    return {
        "file": f"models/{path.name}",
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "input": {"name": graph.inputs[0].name, "shape": list(graph.inputs[0].shape)},
        "output": {"name": graph.outputs[0].name, "shape": list(graph.outputs[0].shape)},
    }


def _fingerprint(module: nn.Module, extra: object = "") -> str:
    """Of the names, shapes and values of all tensors, 12 hex digits."""
    digest = hashlib.sha256(json.dumps(extra).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
