"""The shipped models by name, with their cards, and links to the official files.

Chapter: "Using pspnb". Listing names opens no weights and imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pspnb.errors import LoadError

if TYPE_CHECKING:
    from torch import nn

ZOO = Path(__file__).parents[1] / "zoo"


@dataclass(frozen=True)
class OfficialFile:
    """A published file that we may not ship, and where its authors put it. They publish no checksum."""

    what: str
    drive_id: str
    licence: str = "none stated for the weights (code: MIT)"

    @property
    def url(self) -> str:
        return f"https://drive.google.com/file/d/{self.drive_id}/view"


OFFICIAL = {
    "psp_ffhq_encode.pt": OfficialFile("pSp, inversion", "1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0"),
    "psp_ffhq_frontalization.pt": OfficialFile("pSp, frontalization", "1_S4THAzXb-97DbpXmanjHtXRyKxqjARv"),
    "psp_celebs_sketch_to_face.pt": OfficialFile("pSp, sketch to face", "1lB7wk7MwtdxL-LL4Z_T76DuCfk00aSXA"),
    "psp_celebs_seg_to_face.pt": OfficialFile("pSp, label map to face", "1VpEKc6E6yG3xhYuZ0cq8D2_1CbT0Dstz"),
    "psp_celebs_super_resolution.pt": OfficialFile("pSp, super-resolution", "1ZpmSXBpJ9pFEov6-jjQstAlfYbkebECu"),
    "psp_ffhq_toonify.pt": OfficialFile("pSp, toonify", "1YKoiVuFaqdvzDP5CZaqa3k5phL-VDmyz"),
    "stylegan2-ffhq-config-f.pt": OfficialFile(
        "StyleGAN2 generator, FFHQ 1024 px",
        "1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT",
        "none stated; derived from weights under the Nvidia Source Code License-NC",
    ),
    "model_ir_se50.pth": OfficialFile("face recognition IR-SE50", "1KW7bjndL3QG3sxBbZxreGHigcCCpsDgn", "MIT (TreB1eN)"),
    "CurricularFace_Backbone.pth": OfficialFile(
        "face recognition IR-101", "1f4IwVa2-Bn9vWLwB-bUwm53U_MlvinAj", "MIT (HuangYG123)"
    ),
}


def available() -> list[str]:
    """Names of the shipped models, sorted: "facets64/generator", ... A card without its weights is not listed."""
    cards = ZOO.glob("*.json") if ZOO.is_dir() else ()
    return sorted(card.stem.replace("_", "/", 1) for card in cards if card.with_suffix(".safetensors").is_file())


def card(name: str) -> dict[str, Any]:
    """The card of a shipped model: architecture, data, seed, steps, metrics, licence, sha256 of its weights."""
    if name not in available():
        raise LoadError(f"no shipped model is called {name!r}; {what_there_is()}")
    try:
        return json.loads(_file(name, ".json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadError(f"{_file(name, '.json')}: a damaged card ({error}); install pspnb again") from error


def load_shipped(name: str, *, device: str = "cpu") -> nn.Module:
    """Build the module that the card describes, load its verified weights as float32, eval mode, on `device`.

    Raises LoadError when there is no such model, or when the file is not the one the card was written for.
    """
    import torch
    from safetensors.torch import load_file

    from pspnb.device import placed
    from pspnb.files.download import file_sha256
    from pspnb.models.base import Translator

    description = card(name)
    paths = weight_files(name, parts=description.get("parts", 1))
    path = paths[0]
    if missing := [part for part in paths if not part.is_file()]:
        raise LoadError(f"{missing[0]}: missing, {name} has {len(paths)} files; install pspnb again")
    if file_sha256(*paths) != description.get("sha256"):
        raise LoadError(f"{path}: damaged (its sha256 is not the one on its card); install pspnb again")
    _check_generator(name, description)
    # Random initial weights are about to be replaced; drawing them must not move the caller's random state.
    with torch.random.fork_rng(devices=[]):
        module = build(description["architecture"])
    stored = {key: value for part in paths for key, value in load_file(part).items()}
    weights = {key: value.float() if value.is_floating_point() else value for key, value in stored.items()}
    # A buffer that is stored beside the state dict, as in published checkpoints.
    average = weights.pop("latent_avg") if "latent_avg" in weights and "latent_avg" not in module.state_dict() else None
    missing, unexpected = module.load_state_dict(weights, strict=False)
    missing = [key for key in missing if not _loaded_with_a_part(key, description["architecture"])]
    if missing or unexpected:
        raise LoadError(
            f"{path}: not the weights its card describes (missing {missing[:3]}, unexpected {unexpected[:3]})"
        )
    if average is not None:
        module.get_buffer("latent_avg").copy_(average)
    if isinstance(module, Translator):
        module.task = description.get("task")
    return placed(module.eval(), device)


def _check_generator(name: str, description: Mapping[str, Any]) -> None:
    """An encoder's codes mean nothing to another generator than its own: its card names that by the hash of its file."""
    own = description.get("generator")
    if own is not None and card(own["name"]).get("sha256") != own["sha256"]:
        raise LoadError(f"{name} was trained on another {own['name']} than the one installed; install pspnb again")


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """A module from a card: {"class": name, "kwargs": {...}}; a part may be nested, or {"shipped": name}."""
    if "shipped" in architecture:
        return load_shipped(architecture["shipped"])
    arguments = {key: _argument(value) for key, value in architecture.get("kwargs", {}).items()}
    return _class(architecture["class"])(**arguments)


def _class(name: str) -> type[nn.Module]:
    """The classes a card may name; a card is data, so it can name nothing else."""
    from torch import nn

    from pspnb.models import feature_style, prior_mapping, psp
    from pspnb.nn import backbones, discriminator, encoders, stylegan2
    from pspnb.nn.feature_style import FeatureStyleEncoder

    known: dict[str, type[nn.Module]] = {
        kind.__name__: kind
        for kind in (
            stylegan2.Generator,
            discriminator.Discriminator,
            backbones.FaceEmbedder,
            encoders.GradualStyleEncoder,
            encoders.WEncoder,
            encoders.NaiveWPlusEncoder,
            FeatureStyleEncoder,
            psp.PSP,
            feature_style.FeatureStyle,
            prior_mapping.PriorMapping,
        )
    }
    if name not in known:
        from pspnb.nn import instruments

        kind = getattr(instruments, name, None)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == instruments.__name__):
            raise LoadError(f"the card names the class {name!r}, which pspnb does not have; is the package too old?")
        known[name] = kind
    return known[name]


def _argument(value: Any) -> Any:
    """JSON to constructor argument: parts are built, and the keys of a table of resolutions become numbers again."""
    if isinstance(value, Mapping):
        if "class" in value or "shipped" in value:
            return build(value)
        return {int(key) if key.isdigit() else key: _argument(item) for key, item in value.items()}
    return value


def _loaded_with_a_part(key: str, architecture: Mapping[str, Any]) -> bool:
    part = architecture.get("kwargs", {}).get(key.split(".")[0])
    return isinstance(part, Mapping) and "shipped" in part


def weight_files(name: str, *, parts: int, folder: Path | None = None) -> list[Path]:
    """The files that hold a model's weights: NAME.safetensors, and of a large one NAME.part2.safetensors and so on."""
    endings = [".safetensors", *(f".part{i}.safetensors" for i in range(2, parts + 1))]
    return [(ZOO if folder is None else folder) / (name.replace("/", "_") + ending) for ending in endings]


def _file(name: str, suffix: str) -> Path:
    return ZOO / (name.replace("/", "_") + suffix)


def what_there_is() -> str:
    names = available()
    return f"there are {', '.join(names)}" if names else "this installation ships none"
