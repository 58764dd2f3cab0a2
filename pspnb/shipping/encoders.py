"""From the run of an encoder to a file of the zoo, with its card, and to the curve in the book.

`python -m pspnb.shipping.weights` calls both for everything that is shipped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.atomic import write_json
from pspnb.files.provenance import hardware
from pspnb.files.reading import read_json
from pspnb.models.base import Translator
from pspnb.models.feature_style import FeatureStyle
from pspnb.models.load import load_translator
from pspnb.models.runs import RunFolder
from pspnb.models.zoo import ZOO, available, card
from pspnb.recipes import feature_style_variants as feature_style
from pspnb.recipes.scales import FACETS64
from pspnb.recipes.variants import encoder_architecture, model_name, variant_named
from pspnb.shipping.zoo_file import ship
from pspnb.tasks import task_named
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.journal import read_journal, training_hours


def ship_encoder(
    run: str | Path,
    *,
    task: str = "inversion",
    variant: str = "psp",
    name: str | None = None,
    folder: str | Path = ZOO,
    note: str = "",
) -> Path:
    """The best encoder of a run as a zoo file (default name: `model_name`).

    The file holds no generator: the card names it, with the hash of its file. PspnbError where it is not shipped.
    """
    model = load_translator(run)
    generator = RunFolder(run).read_recipe().get("generator", FACETS64.shipped("generator"))
    if generator not in available():
        raise PspnbError(f"{run}: trained on {generator}; expected a shipped generator, which the card can name")
    described = encoder_architecture(task_named(task), variant_named(variant), generator=model.decoder)
    title = f"{variant_named(variant).title}: {task} on Facets, 64 px"
    tensors, description = _file_and_card(
        run,
        model,
        title=title,
        task=task,
        variant=variant,
        encoder=described,
        generator=generator,
        note=note,
    )
    return ship(name or model_name(task, variant), tensors, description, folder=folder)


def ship_feature_style(run: str | Path, *, name: str | None = None, folder: str | Path = ZOO, note: str = "") -> Path:
    """The best Feature-Style encoder of a run as a zoo file (default: "facets64/feature_style", a variant with its name behind).

    PspnbError for the run of another model, or of one whose generator is not shipped.
    """
    model, recipe = load_translator(run), RunFolder(run).read_recipe()
    if not isinstance(model, FeatureStyle):
        raise PspnbError(f"{run}: expected the run of a Feature-Style encoder, this one is of a {type(model).__name__}")
    generator, variant = recipe["generator"], recipe["variant"]
    if generator not in available():
        raise PspnbError(f"{run}: trained on {generator}; expected a shipped generator, which the card can name")
    plain = variant == feature_style.PLAIN
    title = f"{feature_style.variant_named(variant).title}: inversion on Facets, 64 px"
    tensors, description = _file_and_card(
        run, model, title=title, task="inversion", variant=variant, encoder=recipe["architecture"], generator=generator,
        note=note,
    )  # fmt: skip
    usual = FACETS64.shipped("feature_style" if plain else f"feature_style_{variant}")
    return ship(name or usual, tensors, description, folder=folder)


def _file_and_card(
    run: str | Path,
    model: Translator,
    *,
    title: str,
    task: str,
    variant: str,
    encoder: Mapping[str, Any],
    generator: str,
    note: str,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card of the best encoder of a run."""
    own = RunFolder(run)
    state = load_checkpoint(own.to_use())
    recipe, records = own.read_recipe(), read_journal(own.log)
    tensors: dict[str, Tensor] = {f"encoder.{key}": value for key, value in model.encoder.state_dict().items()}
    tensors["latent_avg"] = model.latent_avg
    kwargs = {
        "encoder": encoder,
        "decoder": {"shipped": generator},
        "start_from_latent_avg": model.start_from_latent_avg,
    }
    about = state["identity"]
    init, before = recipe.get("init"), recipe.get("init_images", 0)
    return tensors, {
        "title": title,
        "task": task,
        "variant": variant,
        "architecture": {"class": type(model).__name__, "kwargs": kwargs},
        "generator": {"name": generator, "sha256": card(generator)["sha256"]},
        "metrics": _validation_metrics(records, before),
        "data": "Facets, train split",
        "seed": about["seed"],
        "steps": state["step"],
        "batch": about["batch"],
        "images": before + state["step"] * about["batch"],
        "hours": round(training_hours(records), 2),
        "hardware": recipe.get("hardware") or hardware(),
        "config": about,
        **({"init": init} if init else {}),
        **({"note": note} if note else {}),
    }


def add_history(run: str | Path, name: str, path: str | Path) -> Path:
    """Put the validation losses of a run into a file for the book: {name: {"images": [...], "val_loss": [...], ...}}.

    Entries of other names in the file stay. So do those of this name up to the images that the run's start had seen: a run
    with `init` goes on where the curve of its start ended.
    """
    path = Path(path)
    validations = [r for r in read_journal(RunFolder(run).log) if "val_loss" in r]
    if not validations:
        raise PspnbError(f"{run}: expected a run with validations in its log.jsonl")
    names = ["images", *(key for key in validations[0] if key.startswith("val_"))]
    everything = read_json(path) if path.exists() else {}
    before, old = RunFolder(run).read_recipe().get("init_images", 0), everything.get(name, {"images": []})
    kept = sum(images <= before for images in old["images"])
    new = {key: [r["images"] + before if key == "images" else round(r[key], 5) for r in validations] for key in names}
    everything[name] = {key: old.get(key, [])[:kept] + new[key] for key in names}
    write_json(path, everything, indent=None)
    return path


def _validation_metrics(records: list[dict[str, Any]], before: int) -> dict[str, float]:
    """Best validation losses, and by what share the last quarter of all images, `before` the run and in it, lowered the total."""
    validations = [r for r in records if "val_loss" in r]
    if not validations:
        return {}
    best = min(validations, key=lambda r: r["val_loss"])
    out = {name: round(value, 5) for name, value in best.items() if name.startswith("val_")}
    quarter = 0.75 * (before + validations[-1]["images"])
    earlier = [r["val_loss"] for r in validations if before + r["images"] <= quarter]
    return out | ({"last_quarter_gain": round(1 - best["val_loss"] / min(earlier), 4)} if earlier else {})
