"""From the run of a generator to the files of the zoo: the averaged generator and its critic, with their cards."""

from pathlib import Path
from typing import Any

from pspnb.files.provenance import hardware
from pspnb.measure.evaluate_generator import RESULTS, card_metrics, evaluate_generator
from pspnb.measure.gate import SHIPPED
from pspnb.measure.pairs import shipped_instruments
from pspnb.models.architectures import generator_architecture
from pspnb.models.load import average_of, load_generator
from pspnb.models.runs import RunFolder
from pspnb.models.zoo import ZOO, build
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes.scales import FACETS64
from pspnb.shipping.zoo_file import add_metrics, ship
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.journal import read_journal, training_hours
from pspnb.world2.render import RENDER_VERSION


def ship_generator(run: str | Path, *, name: str | None = None, folder: str | Path = ZOO, note: str = "") -> Path:
    """The average generator of a run as a zoo file, with `latent_avg` (mean of 100,000 mapped z) inside.

    Default name: that of the scale of the GAN; for one that imitates world2/generator, or world2/cartoon where the teacher drew so.
    """
    state = load_checkpoint(RunFolder(run).latest)
    c = state["config"]
    if "n_images" in c:
        usual = "world2/generator" if c.get("style", "photo") == "photo" else f"world2/{c['style']}"
        return _ship_imitation(Path(run), state, name=name or usual, folder=folder, note=note)
    architecture = generator_architecture(c)
    generator = build(architecture)
    assert isinstance(generator, Generator)
    generator.load_state_dict(state["average"])
    tensors = {**generator.state_dict(), "latent_avg": generator.mean_latent(100_000, seed=0)}
    card = {
        "title": f"StyleGAN2 generator of Facets, {c['size']} px",
        "architecture": architecture,
        "metrics": {},
        **_provenance(Path(run), state, note),
    }
    return ship(name or FACETS64.shipped("generator"), tensors, card, folder=folder)


def _ship_imitation(run: Path, state: dict[str, Any], *, name: str, folder: str | Path, note: str) -> Path:
    c = state["config"]
    generator = average_of(state)
    card = {
        "title": f"StyleGAN2 generator that imitates Facets{_drawn(c)}, {c['size']} px: every z has true factors",
        "architecture": generator_architecture(c),
        "world": RENDER_VERSION,
        "metrics": {},
        **_provenance(run, state, note),
        "data": f"Facets, world {RENDER_VERSION}: {c['n_images']} lessons of the renderer",
        "images": state["images_before"] + state["step"] * c["batch"],
    }
    return ship(name, {**generator.state_dict(), "latent_avg": generator.latent_avg}, card, folder=folder)


def _drawn(config: dict[str, Any]) -> str:
    style = config.get("style", "photo")
    return "" if style == "photo" else f" drawn as a {style}"


def ship_discriminator(run: str | Path, *, name: str | None = None, folder: str | Path = ZOO) -> Path:
    """The discriminator of a run as a zoo file, for those who want to train on.

    Default name: that of the scale of the GAN, and world2/discriminator for the critic of a generator that imitates.
    """
    state = load_checkpoint(RunFolder(run).latest)
    c = state["config"]
    name = name or ("world2/discriminator" if "n_images" in c else FACETS64.shipped("discriminator"))
    kwargs = {"size": c["size"], "channels": {str(r): width for r, width in c["d_channels"]}}
    one_pass = "its logits are those of pspnb.training.critic.OnePassDiscriminator, which has the same keys"
    card = {
        "title": f"Discriminator of the {c['size']} px generator of Facets, to train on",
        "architecture": {"class": "Discriminator", "kwargs": kwargs},
        "metrics": {},
        **_provenance(Path(run), state, one_pass if c.get("one_pass", True) else ""),
    }
    return ship(name, state["discriminator"], card, folder=folder)


def ship_imitation(run: str | Path) -> tuple[Path, Path]:
    """Generator and critic of a run that imitates, the generator with the rows of its gate on the card."""
    paths = ship_generator(run), ship_discriminator(run)
    evaluate_shipped()
    return paths


def evaluate_shipped(*, out: str | Path = RESULTS) -> dict[str, Any]:
    """Judge the shipped generator with the shipped instruments, and put the numbers on its card."""
    result = evaluate_generator(load_generator(SHIPPED), shipped_instruments(), out=Path(out))
    add_metrics(SHIPPED, card_metrics(result))
    return result


def _provenance(run: Path, state: dict[str, Any], note: str) -> dict[str, Any]:
    c = state["config"]
    out = {
        "data": "Facets, train split",
        "seed": c["seed"],
        "steps": state["step"],
        "batch": c["batch"],
        "hours": round(training_hours(read_journal(RunFolder(run).log)), 2),
        "hardware": state.get("hardware") or RunFolder(run).read_recipe().get("hardware") or hardware(),
        "config": c,
    }
    if state.get("extended"):
        out["extended"] = [
            f"planned for {planned} steps, made longer at step {step}" for step, planned in state["extended"]
        ]
    return out | ({"note": note} if note else {})
