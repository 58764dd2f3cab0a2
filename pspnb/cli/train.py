"""`pspnb train`: one command for everything that is trained; what an encoder's training is told are the fields of its recipe."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from pspnb.cli.options import Device, optional, pairs, refuse_given
from pspnb.errors import PspnbError
from pspnb.recipes.recipe import EncoderRecipe, option
from pspnb.recipes.scales import FACETS64, SCALES

FEATURE_STYLE = "feature_style"  # trained like a task, with batches and losses of its own
# What is trained beside the tasks, and the options that each of them alone uses.
_OTHERS: dict[str, set[str]] = {
    "generator": {"scale", "preset", "batch"},
    "imitation": {"scale", "preset", "batch", "init", "seconds", "style", "compile"},
    "instrument": set(),
}


@dataclass(frozen=True, kw_only=True)
class Train(EncoderRecipe):
    """Train an encoder for a task, the Feature-Style encoder, a StyleGAN2 generator, or a network for losses and metrics."""

    task: Positional[Annotated[str, arg(metavar="TASK|feature_style|generator|imitation|instrument")]]
    """What to train. A task: inversion, frontalization, sketch, strokes, segmentation, super_resolution, inpainting, ...;
    feature_style: the Feature-Style encoder (latent code and feature map), with the options of the tasks;
    generator: a StyleGAN2 on Facets, the synthetic portraits;
    imitation: a StyleGAN2 that also learns to copy the renderer of Facets, so that the attributes of every z are known;
    instrument: a network for losses or metrics (see NAME)."""
    name: Positional[Annotated[str | None, optional("NAME")]] = None
    """With instrument: identity, identity_eval, parsing, factors, perceptual or perceptual_eval."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Output folder for checkpoints, log and sample images."""
    lambdas: Annotated[str | None, option("NAME=X,...")] = None  # type: ignore[assignment]
    """Tasks: loss weights to change, such as id=0.5,w_norm=0.0005."""
    seconds: Annotated[float | None, option("X")] = None
    """Imitation: stop after this many seconds; the learning rate decays towards that end; default: no time limit."""
    style: Annotated[Literal["photo", "cartoon"] | None, option("photo|cartoon")] = None
    """Imitation: how the teacher draws; a cartoon generator is soon made with --init shipped; default: photo."""
    tensorboard: bool = False
    """Tasks: also write TensorBoard events to the output folder."""
    resume: bool = False
    """Continue the run in the output folder from its last checkpoint."""
    published: bool = False
    """Tasks: train nothing; print the command that trains the same in the published pSp code."""
    device: Device = "auto"

    def run(self) -> int:
        from pspnb.device import pick_device

        self._refuse_strangers()
        device = pick_device(self.device)
        if self.task not in _OTHERS:
            return self._task(device)
        if self.task != "instrument" and self.name is not None:
            raise PspnbError(f"expected no name after {self.task}, got {self.name!r}")
        print(f"checkpoint -> {self._other(device)}")
        return 0

    def _other(self, device: str) -> Path:
        """Trains a generator or an instrument; the checkpoint."""
        from pspnb.recipes.generators import train_generator, train_imitation
        from pspnb.recipes.instruments import train_instrument

        common: dict[str, Any] = {"out": self.out, "resume": self.resume, "steps": self.steps, "seed": self.seed}
        common |= {"n_images": self.images, "device": device}
        if self.task == "instrument":
            if self.name is None:
                raise PspnbError("expected the name of an instrument: pspnb train instrument NAME --out FOLDER")
            return train_instrument(self.name, **common)
        common |= {"scale": self.scale, "preset": self.preset, "batch": self.batch}
        if self.task == "generator":
            return train_generator(**common)
        return train_imitation(**common, init=self.init, seconds=self.seconds, style=self.style, compile=self.compile)

    def _refuse_strangers(self) -> None:
        """PspnbError for an option that this training does not use."""
        if self.task in _OTHERS:
            used = {*_OTHERS[self.task], "task", "name", "out", "resume", "steps", "seed", "images", "device"}
            strangers = [entry.name for entry in fields(self) if entry.name not in used]
        else:
            alone = ["sources", "init", "decay_from", "published"] if self.task == FEATURE_STYLE else ["preset"]
            strangers = ["seconds", "style", *alone]
            if SCALES.get(self.scale, FACETS64).own_world:
                refuse_given(
                    self, ("identity",), f"belongs to other scales; {self.scale} has a recognition network of its own"
                )
            if self.data is None:
                refuse_given(self, ("validation", "strict"), "belongs to --data FOLDER")
        kind = self.task if self.task in _OTHERS else f"the task {self.task}"
        refuse_given(self, strangers, f"is not an option of {kind}, which would be trained without regard to it")

    def _task(self, device: str) -> int:
        from pspnb.recipes.encoders import train_encoder
        from pspnb.recipes.feature_style import train_feature_style

        if self.name is not None:
            raise PspnbError(f"expected no name after the task {self.task}, got {self.name!r}")
        if self.published:
            return self._print_published()
        said = {entry.name: getattr(self, entry.name) for entry in fields(EncoderRecipe)}
        recipe = EncoderRecipe(**said | {"lambdas": _lambdas(self.lambdas)})
        train = train_feature_style if self.task == FEATURE_STYLE else train_encoder
        outcome = train(recipe, out=self.out, resume=self.resume, device=device, tensorboard=self.tensorboard)
        state = "done" if outcome.finished else "stopped, continue with --resume"
        best = "" if outcome.best is None else f", best validation loss {outcome.best:.4f}"
        print(f"step {outcome.step} ({state}){best} -> {self.out}")
        return 0

    def _print_published(self) -> int:
        from pspnb.tasks import published_command, task_named

        task = task_named(self.task)
        command = published_command(task, out=str(self.out), generator=self.generator)
        print(command or f"the published code has no command for {task.name}")
        return 0


def _lambdas(text: str | None) -> dict[str, float] | None:
    """ "id=0.5,w_norm=0.0005" as a mapping. PspnbError when it isn't of this form."""
    if text is None:
        return None
    try:
        return {name: float(value) for name, value in pairs(text)}
    except ValueError:
        raise PspnbError(f"expected loss weights such as id=0.5,w_norm=0.0005, got {text!r}") from None
