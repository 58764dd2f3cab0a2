"""How an encoder is trained (pSp, section 3.3 and the published options). Chapter: "Training the encoder"."""

from dataclasses import dataclass
from typing import Literal

from pspnb.training.optimizers import OptimizerName


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How to train; what is trained on is in `Batches`, what is minimised in the loss terms.

    Attributes:
        steps: optimiser steps in all, those before a resumption included.
        optimizer, lr: published: Ranger at 1e-4 (the paper's text: 1e-3), constant. "muon" makes every direction of a
            weight move alike, and its steps cost more (`pspnb.training.muon`).
        decay_from: share of the steps after which the rate falls to 0 along half a cosine; 1 is constant, as published.
        accumulate: parts in which each process makes its share of a batch, for memory. BatchNorm sees a part at a time.
        average: decay per step k of an exponential average of the weights, at most (1 + k) / (10 + k); it is then
            validated and kept as the best. 0 is none, as published (Ranger's slow weights are an average already).
        noise: of the generator; published training draws it anew ("random").
        replay: record the step once as a CUDA graph and replay it (`pspnb.training.graphs`): several times as fast where the
            networks are small. One process, no accumulation, a generator without noise; nothing on a CPU.
        bf16, channels_last, compile: speed. `bf16` is autocast, where the device computes in it
            (`pspnb.training.precision`); weights, optimiser and loss values stay float32.
        log_every, picture_every, validate_every, checkpoint_every: in steps; 0 is never (and a checkpoint at the end).
    """

    steps: int
    optimizer: OptimizerName = "ranger"
    lr: float = 1e-4
    decay_from: float = 1.0
    accumulate: int = 1
    average: float = 0.0
    noise: Literal["random", "const"] = "random"
    bf16: bool = False
    channels_last: bool = True
    compile: bool = False
    replay: bool = False
    log_every: int = 50
    picture_every: int = 1000
    validate_every: int = 2500
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name, valid in (
            ("steps of at least 1", self.steps >= 1),
            ("lr above 0", 0 < self.lr < float("inf")),
            ("decay_from from 0 to 1", 0 <= self.decay_from <= 1),
            ("accumulate of at least 1", self.accumulate >= 1),
            ("average from 0 to below 1", 0 <= self.average < 1),
            ("log_every of at least 1", self.log_every >= 1),
            ("accumulate of 1 with replay", not self.replay or self.accumulate == 1),
        ):
            if not valid:
                raise ValueError(f"expected {name}, got {getattr(self, name.split()[0])}")
