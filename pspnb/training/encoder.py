"""Training an encoder on a frozen generator (pSp, section 3.3): its steps, and `fit_encoder`, which runs them.

Mixed precision, `channels_last`, `torch.compile`, accumulation and several processes are options of the one step. Chapter:
"Training the encoder".
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pspnb.files.pictures import grid
from pspnb.losses.terms import LossInputs, LossTerm, total_loss
from pspnb.models.base import Translator
from pspnb.models.psp import PSP
from pspnb.nn.stylegan2 import NoiseSpec, noise_shapes
from pspnb.training.callbacks import Callback, picture_rows
from pspnb.training.data import Batches, Pair
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.encoder_state import EncoderState
from pspnb.training.graphs import Replayed, keep_gradients
from pspnb.training.loop import Every, Outcome, fit
from pspnb.training.optimizers import set_rate
from pspnb.training.order import step_generator
from pspnb.training.precision import mixed_precision
from pspnb.training.processes import Processes, processes
from pspnb.training.schedules import held_then_cosine


class _Translation(nn.Module):
    """Encoder and generator as one forward pass, so that DistributedDataParallel and the compiler wrap one module."""

    def __init__(self, psp: Translator) -> None:
        super().__init__()
        self.psp: Any = psp

    def forward(self, source: Tensor, size: int | None, noise: NoiseSpec) -> tuple[Tensor, Tensor]:
        codes = self.psp.encode(source)
        return self.psp.decode(codes, noise=noise, resize=size), codes


class EncoderStepper(EncoderState):
    """The steps of a run, its validation and its pictures. `validation`: what is validated; None: nothing.

    `losses` are those of pSp; an encoder of another kind is a subclass with its own `one_pass`, `_losses` and `_validated`.
    """

    def __init__(
        self,
        model: Translator,
        batches: Batches,
        losses: Sequence[LossTerm],
        config: EncoderConfig,
        *,
        validation: Batches | None = None,
        team: Processes | None = None,
    ) -> None:
        team = Processes() if team is None else team
        parts = team.world * config.accumulate
        if batches.batch % parts:
            raise ValueError(
                f"expected a batch that divides into {team.world} processes x {config.accumulate} parts, "
                f"got {batches.batch}"
            )
        if config.replay and (team.world > 1 or (config.noise == "random" and model.decoder.has_noise)):
            raise ValueError("expected one process and a generator without fresh noise, because replay=True")
        super().__init__(model, batches, losses, config, team)
        self.validation = validation
        self.translate: Any = team.wrap(self.one_pass())
        self.total_loss = total_loss
        self.replayed = Replayed(self._backward, device=team.device) if config.replay else None
        if config.compile:
            self.translate, self.total_loss = torch.compile(self.translate), torch.compile(total_loss)
        self._pairs: Generator[Pair, None, None] | None = None
        self._latest: Pair | None = None

    def one_pass(self) -> nn.Module:
        """What maps (source, size, noise) to what the losses need."""
        return _Translation(self.model)

    def close(self) -> None:
        """End the reading thread and leave the model in evaluation mode."""
        if self._pairs is not None:
            self._pairs.close()
            self._pairs = None
        self.model.eval()

    # ---- one step ----------------------------------------------------------------------------------------------------

    def train_step(self) -> Mapping[str, Tensor]:
        """One optimiser step on batch number `step`; the mean losses of its parts. Waits for nothing on the device."""
        if self._pairs is None:
            self._pairs = self.batches.endless(self.step, device=self.team.device)
        pair = self._latest = next(self._pairs)
        self.model.train()
        set_rate(self.optimizers, self.rate_at(self.step))
        if self.replayed is not None:
            shown: Mapping[str, Tensor] = self.replayed({"source": pair.source, "target": pair.target})
            self.move()
            return shown
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        count = self.config.accumulate
        length = self.batches.batch // (self.team.world * count)
        sums: dict[str, Tensor] = {}
        for i in range(count):
            # Part i of all processes together is the same rows, however many processes there are.
            start = (i * self.team.world + self.team.rank) * length
            part = pair.part(slice(start, start + length))
            with self.team.without_sync(self.translate) if i < count - 1 else nullcontext():
                total, log = self._losses(part, start)
                (total / count).backward()
            sums = {name: sums.get(name, 0) + value.detach().float() / count for name, value in log.items()}
        self.move()
        return sums

    def _backward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses and gradients of a whole batch, in a form that a GPU can replay."""
        torch._foreach_zero_(keep_gradients(self.weights))
        total, log = self._losses(Pair(inputs["source"], inputs["target"]), 0)
        total.backward()
        return log

    def _losses(self, pair: Pair, first: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses of the rows of this step's batch that begin at `first`."""
        noise = self._noise(first, len(pair.target))
        with self._autocast():
            output, codes = self.translate(pair.source, self._resize(pair), noise)
            inputs = LossInputs(output=output, target=pair.target, codes=codes, source=pair.source)
            return self.total_loss(self.losses, inputs)

    def _noise(self, first: int, n: int) -> NoiseSpec:
        """Noise maps of `n` images of this step's batch: each image has its own, whoever computes it and beside whom."""
        decoder = self.model.decoder
        if self.config.noise != "random" or not decoder.has_noise:
            return "const"
        maps = []
        for image in range(first, first + n):
            seed = step_generator(self.batches.seed, self.step, stream=100 + image).initial_seed()
            own = torch.Generator(self.team.device).manual_seed(seed)
            maps.append([torch.randn(s, generator=own, device=self.team.device) for s in noise_shapes(decoder.size)])
        return [torch.cat(layer) for layer in zip(*maps, strict=True)]

    def _resize(self, pair: Pair) -> int | None:
        """The size of the target, to which the output is pooled; None where they are equal."""
        size = pair.target.shape[-1]
        return None if size == self.model.decoder.size else size

    def _autocast(self) -> AbstractContextManager[Any]:
        return mixed_precision(self.team.device, wanted=self.config.bf16)

    def learning_rate(self) -> float:
        return self.rate_at(self.step - 1)

    def rate_at(self, step: int) -> float:
        """Constant until `decay_from` of the steps, then half a cosine down to 0."""
        c = self.config
        return c.lr * held_then_cosine(step / c.steps, c.decay_from)

    # ---- looking at it -----------------------------------------------------------------------------------------------

    def validate(self) -> dict[str, float]:
        """Mean losses over the validation images."""
        assert self.validation is not None, "expected Every.validate of 0 without validation images"
        return self.losses_on(self.validation)

    def sheet(self) -> UInt8[np.ndarray, " h w 3"]:
        """Up to eight training pairs with what the model makes of them."""
        return grid(self.pictures(8), columns=3)

    @torch.no_grad()
    def losses_on(self, validation: Batches) -> dict[str, float]:
        """Mean losses over all of `validation`, named `val_...`; with the averaged weights where there are any."""
        if len(validation) <= (self.team.world - 1) * validation.batch:
            raise ValueError(f"expected a validation batch for each of {self.team.world} processes, got fewer")
        sums: dict[str, Tensor] = {}
        images = torch.zeros((), device=self.team.device)
        with self.evaluation():
            for pair in validation.once(device=self.team.device, part=self.team.rank, parts=self.team.world):
                with self._autocast():
                    log = self._validated(pair)
                images += len(pair.target)
                for name, value in log.items():
                    sums[name] = sums.get(name, 0) + value.float() * len(pair.target)
        images = self.team.mean(images)
        return {f"val_{name}": (self.team.mean(value) / images).item() for name, value in sums.items()}

    def _validated(self, pair: Pair) -> dict[str, Tensor]:
        """Mean losses of validation images, "loss" among them, with the stored noise maps."""
        codes, _ = self.model.read(pair.source)
        output = self.model.draw(codes, resize=self._resize(pair))
        inputs = LossInputs(output=output, target=pair.target, codes=codes, source=pair.source)
        return total_loss(self.losses, inputs)[1]

    @torch.no_grad()
    def pictures(self, n: int) -> Float[Tensor, " m 3 s s"]:
        """Source, target and output of the first `n` images of the latest batch, for a grid of three columns."""
        if self._latest is None:
            raise ValueError("expected at least one step before the pictures of one")
        pair = self._latest.part(slice(0, n))
        with self.evaluation(), self._autocast():
            output = self.model(pair.source, resize=self._resize(pair))
        return picture_rows(pair.source, pair.target, output)


def fit_encoder(
    model: PSP,
    batches: Batches,
    losses: Sequence[LossTerm],
    config: EncoderConfig,
    callbacks: Sequence[Callback] = (),
    *,
    out: str | Path,
    validation: Batches | None = None,
    device: str | torch.device = "cpu",
    resume: bool = False,
    progress: bool = True,
    about: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train the encoder of `model` in place, on `device`, where the networks of `losses` must be already; leaves it in
    evaluation mode, with its latest weights. Writes the run folder `out`; see `pspnb.training.loop.fit` for it and the errors.
    """
    return fit(
        EncoderStepper(model, batches, losses, config, validation=validation, team=processes(device)),
        out,
        about={"kind": "encoder", **(about or {})},
        every=every_of(config, validates=validation is not None),
        callbacks=callbacks,
        resume=resume,
        progress=progress,
    )


def every_of(config: EncoderConfig, *, validates: bool) -> Every:
    """How often the loop does what, as a configuration says; without validation images it validates never."""
    return Every(
        log=config.log_every,
        pictures=config.picture_every,
        validate=config.validate_every if validates else 0,
        checkpoint=config.checkpoint_every,
    )
