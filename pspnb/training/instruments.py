"""Training the instruments of Facets: `identity`, `identity_eval`, `parsing`, `factors`, `perceptual`, `perceptual_eval`.

`pspnb train instrument parsing --out runs/parsing`. Each recipe is a network, a head that only training needs, and a loss
(`instrument_losses`). The images are degraded at random (shift, blur, noise, contrast), because the instruments will
judge generated images, not clean renders. With a budget of `seconds` a run ends its schedule when the time is over.
Chapter: "The world of Facets".
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pspnb.errors import PspnbError
from pspnb.files.provenance import commit, hardware
from pspnb.models import zoo
from pspnb.training.arrays import FacetsArrays, to_unit
from pspnb.training.checkpoint import random_states, restore_random_states
from pspnb.training.factor_targets import HEADS, RANGES, FactorTargets
from pspnb.training.instrument_losses import N_CLASSES, Batch, build_head
from pspnb.training.lookalikes import GROUP, LOOKALIKES
from pspnb.training.loop import Stepper
from pspnb.training.order import batch_indices, step_generator
from pspnb.training.precision import mixed_precision
from pspnb.training.processes import Processes
from pspnb.training.schedules import one_cycle

INSTRUMENTS = ("perceptual", "perceptual_eval", "identity", "factors", "parsing", "identity_eval")


@dataclass(frozen=True)
class InstrumentConfig:
    """Everything that decides an instrument's weights; `pspnb.recipes.instruments` has one for each name and preset.

    `seconds`: a budget; the schedule then follows max(step / steps, elapsed / seconds). Without it everything is a
    function of the step.
    """

    name: str
    steps: int = 2500
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05
    clip: float = 5.0  # largest norm of the gradient
    degrade: float = 0.3  # probability of each degradation, per image
    size: int = 64
    seed: int = 0
    bf16: bool = True
    seconds: float | None = None


def architecture(name: str) -> dict[str, Any]:
    """{"class": ..., "kwargs": ...} of an instrument, as its card stores it."""
    small_resnet = {"input_size": 64, "units": [1, 2, 2, 1], "widths": [16, 32, 64, 96, 120], "embedding_dim": 128}
    heads = {"heads": HEADS, "ranges": {n: list(r) for n, r in RANGES.items()}}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "identity": ("FaceEmbedder", {**small_resnet, "dropout": 0.1}),
        "identity_eval": ("PlainEmbedder", {"input_size": 64, "widths": [32, 64, 112, 168], "depth": 3}),
        "parsing": ("ParsingNet", {"n_classes": N_CLASSES, "widths": [32, 64, 112, 160], "refine": 2}),
        "factors": ("FactorNet", {**heads, "widths": [32, 64, 96, 128, 160], "feature_dim": 240}),
        "perceptual": ("PerceptualNet", {}),
        "perceptual_eval": ("PerceptualJudge", {}),
    }
    if name not in kinds:
        raise PspnbError(f"expected an instrument of {', '.join(INSTRUMENTS)}, got {name!r}")
    class_name, kwargs = kinds[name]
    return {"class": class_name, "kwargs": kwargs}


def build_instrument(name: str) -> nn.Module:
    """The untrained network, its start drawn from torch's global generator."""
    return zoo.build(architecture(name))


def may_train_on(name: str, identity: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """The images of an instrument: of every second group of people for `identity`, of the other groups for `identity_eval`.

    Look-alikes (groups that share hair and skin) are for recognition only; the others never see them.
    """
    if name not in ("identity", "identity_eval"):
        return identity < LOOKALIKES
    return (identity // GROUP % 2 == 0) == (name == "identity")


def degrade(images: Float[Tensor, " b 3 s s"], p: float, *, generator: torch.Generator) -> Float[Tensor, " b 3 s s"]:
    """Each image, with probability `p` each: halved and doubled again, noise up to 0.12, contrast and brightness.

    The random numbers are drawn where the generator lives.
    """

    def draw() -> Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device).to(images.device)

    def strength(low: float, high: float) -> Tensor:
        return (draw() < p) * (low + (high - low) * draw())

    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear", align_corners=False)
    images = torch.lerp(images, soft, strength(0.3, 1.0))
    grain = torch.randn(images.shape, generator=generator, device=generator.device).to(images.device)
    images = images + grain * strength(0.0, 0.12)
    return images * (1 + strength(-0.1, 0.1)) + strength(-0.08, 0.08)


class InstrumentStepper(Stepper):
    """One instrument, its training head, AdamW with a one-cycle schedule.

    The data move to `device` as bytes. Raises PspnbError when `data` has no image that the instrument may train on.
    """

    def __init__(
        self,
        config: InstrumentConfig,
        data: FacetsArrays,
        *,
        device: str | torch.device = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.config, self.clock = config, clock
        self.team, self.steps, self.batch = Processes(device), config.steps, config.batch
        self._load(data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = build_instrument(config.name).to(self.device).to(memory_format=torch.channels_last)
            some = self.labels[: min(len(self.labels), 2000)].cpu()
            head, self.loss = build_head(config.name, self.network, labels=some, people=self.n_people)
            self.head = head.to(self.device)
        self.parameters = [p for m in (self.network, self.head) for p in m.parameters()]
        decayed, plain = [p for p in self.parameters if p.ndim > 1], [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=self.device.type == "cuda")
        self.seconds_before = 0.0
        self.started: float | None = None  # on the clock, when this process took its first step
        self.made = {"hardware": hardware(str(self.device)), "torch": str(torch.__version__), "commit": commit()}

    def _load(self, data: FacetsArrays) -> None:
        """Bytes and targets on the device; people numbered from 0."""
        keep = may_train_on(self.config.name, data.identity).nonzero()[:, 0]
        if not len(keep):
            raise PspnbError(f"no image for {self.config.name} to train on among {len(data)}: expected more people")
        self.images, self.labels = data.images.to(self.device), data.labels.to(self.device)
        self.rows = keep.to(self.device)
        people = torch.zeros(len(data), dtype=torch.int64)
        _, people[keep] = torch.unique(data.identity[keep], return_inverse=True)
        self.n_people, self.people = int(people.max()) + 1, people.to(self.device)
        self.factors = FactorTargets.of(data.factors).to(self.device)

    def progress(self) -> float:
        """How much of the training is done: of the steps or, with a budget, of the seconds, whichever is further."""
        steps = self.step / self.config.steps
        return steps if self.config.seconds is None else max(steps, self.seconds() / self.config.seconds)

    def seconds(self) -> float:
        """Time spent in training, earlier parts of a resumed run included."""
        return self.seconds_before + (0.0 if self.started is None else self.clock() - self.started)

    def finished(self) -> bool:
        """Whether the schedule has ended, by steps or by seconds."""
        return self.progress() >= 1

    def train_step(self) -> dict[str, Tensor]:
        """One step on a degraded batch; its randomness is a function of (seed, step). Its losses, on the device."""
        if self.started is None:
            self.started = self.clock()
        c, progress = self.config, self.progress()
        for group in self.optimizer.param_groups:
            group["lr"] = c.lr * one_cycle(progress, c.warm_up)
        batch = self.draw()
        self.network.train()
        self.head.train()
        with mixed_precision(self.device, wanted=c.bf16):
            loss, record = self.loss(self.network, self.head, batch, progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, c.clip)
        self.optimizer.step()
        self.step += 1
        return {"loss": loss.detach(), **record}

    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def draw(self) -> Batch:
        """The images of this step, moved and degraded; sets the global generator, which is all that dropout knows."""
        c = self.config
        random, on_device = step_generator(c.seed, self.step), step_generator(c.seed, self.step, 1, device=self.device)
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=random)))
        order = batch_indices(len(self.rows), c.batch, self.step, seed=c.seed, device=self.device)
        index = self.rows[order]
        clean, labels = shift(to_unit(self.images[index]), self.labels[index], generator=random)
        images = degrade(clean, c.degrade, generator=on_device)
        return Batch(images, clean, labels, self.people[index], self.factors.take(index))

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, and what the card will say of where it was made."""
        networks = {name: getattr(self, name).state_dict() for name in ("network", "head", "optimizer")}
        about = {
            "config": asdict(self.config),
            "made": self.made,
            "images": len(self.rows),
            "people": self.n_people,
        }
        time_spent = {"step": self.step, "seconds": self.seconds(), "finished": self.finished()}
        return {**networks, **about, **time_spent, "random": random_states()}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; raises PspnbError when the run was started with another configuration."""
        if state["config"] != asdict(self.config):
            changed = [k for k, v in asdict(self.config).items() if state["config"].get(k) != v]
            raise PspnbError(f"this run was started with another {', '.join(changed)}: resume with the same settings")
        for name in ("network", "head", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds_before, self.started = state["step"], state["seconds"], None
        restore_random_states(state["random"])

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return bool(torch.stack([torch.isfinite(p).all() for p in self.parameters]).all())


def shift(images: Tensor, labels: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels moved by up to 2 pixels, the same for a whole batch; edges are repeated."""
    dx, dy = torch.randint(0, 5, (2,), generator=generator).tolist()
    s = images.shape[-1]
    images = F.pad(images, [2, 2, 2, 2], mode="replicate")[..., dy : dy + s, dx : dx + s]
    padded = F.pad(labels[:, None].float(), [2, 2, 2, 2], mode="replicate")[:, 0, dy : dy + s, dx : dx + s]
    return images, padded.to(torch.uint8)
