"""What a training run of an encoder holds and saves: model, optimiser, averaged weights, and what makes it this run.

The steps are in `pspnb.training.encoder`. Chapter: "Training the encoder".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.losses.terms import LossTerm
from pspnb.models.base import Translator
from pspnb.models.runs import fingerprint
from pspnb.training.checkpoint import random_states, restore_random_states
from pspnb.training.data import Batches
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.loop import Stepper
from pspnb.training.optimizers import build_optimizers
from pspnb.training.processes import Processes

# Options that a resumed run may change without becoming another run.
_FREE = {"steps", "log_every", "picture_every", "validate_every", "checkpoint_every", "compile", "replay"}


class EncoderState(Stepper):
    """Model, optimiser and data position of a run, of which only the encoder is trained: the generator is frozen here."""

    def __init__(
        self, model: Translator, batches: Batches, losses: Sequence[LossTerm], config: EncoderConfig, team: Processes
    ) -> None:
        self.model, self.batches, self.losses, self.config, self.team = model, batches, losses, config, team
        self.steps, self.batch = config.steps, batches.batch
        model.to(team.device)
        model.decoder.requires_grad_(False)
        model.decoder.zero_grad(set_to_none=True)
        self.fingerprint = fingerprint(model.decoder)
        if config.channels_last:
            model.encoder.to(memory_format=torch.channels_last)  # the generator sees to its own
        self.weights = [p for p in model.encoder.parameters() if p.requires_grad]
        self.optimizers = build_optimizers([model.encoder], config.optimizer, config.lr)
        self.average = [p.detach().clone() for p in self.weights] if config.average else None

    def move(self) -> None:
        """Step of the optimisers, and what follows it."""
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average is not None:
            decay = min(
                self.config.average, (1 + self.step) / (10 + self.step)
            )  # keeps early random weights out of the average
            torch._foreach_lerp_(self.average, [w.detach() for w in self.weights], 1 - decay)
        self.step += 1

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Evaluation mode and, where there are any, the averaged weights."""
        self.model.eval()
        kept = [w.detach().clone() for w in self.weights] if self.average is not None else None
        try:
            if self.average is not None:
                torch._foreach_copy_([w.detach() for w in self.weights], self.average)
            yield
        finally:
            if kept is not None:
                torch._foreach_copy_([w.detach() for w in self.weights], kept)
            self.model.train()

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        norms = torch.stack(torch._foreach_norm([w.detach() for w in self.weights]))
        return bool(norms.isfinite().all().item())

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, as tensors and plain values."""
        return self.identity() | {
            "step": self.step,
            "encoder": self.model.encoder.state_dict(),
            "latent_avg": self.model.latent_avg,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self._named(self.average),
            "random": random_states(),
            "best": self.best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`. PspnbError when the state is of a run with other options, data or generator."""
        _check_same(state.get("identity"), self.identity()["identity"])
        self.model.encoder.load_state_dict(state["encoder"])
        self.model.latent_avg.copy_(state["latent_avg"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.average is not None:
            torch._foreach_copy_(self.average, list(state["average"].values()))
        restore_random_states(state["random"])
        self.step, self.best = state["step"], state["best"]

    def best_state(self) -> dict[str, Any]:
        """The encoder to use (with the averaged weights where there are any), and what it belongs to."""
        encoder = dict(self.model.encoder.state_dict()) | (self._named(self.average) or {})
        state = {"step": self.step, "best": self.best, "encoder": encoder, "latent_avg": self.model.latent_avg}
        return self.identity() | state

    def identity(self) -> dict[str, Any]:
        """What makes this run this run and no other."""
        options = {name: value for name, value in asdict(self.config).items() if name not in _FREE}
        if self.config.decay_from < 1:
            options["steps"] = self.config.steps  # the schedule depends on it
        data = {"task": self.batches.task.name, "images": len(self.batches), "size": self.batches.arrays.size}
        data |= {"batch": self.batches.batch, "seed": self.batches.seed}
        weights = {f"weight of {term.name}": term.weight for term in self.losses}
        return {"identity": {**options, **data, **weights, "generator": self.fingerprint}}

    def _named(self, weights: list[Tensor] | None) -> dict[str, Tensor] | None:
        """Tensors in the order of `weights`, by the names of the encoder's parameters."""
        names = [name for name, p in self.model.encoder.named_parameters() if p.requires_grad]
        return None if weights is None else dict(zip(names, weights, strict=True))


def _check_same(before: Any, now: dict[str, Any]) -> None:
    if not isinstance(before, dict):
        raise PspnbError("expected the checkpoint of an encoder's training run, got one without its options")
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise PspnbError(f"expected the options that the run began with: {'; '.join(changed)}")
