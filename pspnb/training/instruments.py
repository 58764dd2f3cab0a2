"""Training the instruments of Facets: `identity`, `identity_eval`, `parsing`, `factors`, `perceptual`.

`pspnb train instrument parsing --out runs/parsing`. Each recipe is a network, a head that only training needs, and a
loss. The images are degraded at random (shift, blur, noise, contrast), because the instruments will judge generated images,
not clean renders.
Chapter: "The world of Facets".
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pspnb.errors import PspnbError
from pspnb.facets import TABLE
from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.instruments import FactorNet, ParsingNet, PerceptualNet, PlainEmbedder
from pspnb.training.arrays import FacetsArrays, to_unit
from pspnb.training.checkpoint import random_states, restore_random_states
from pspnb.training.loop import check_finite
from pspnb.training.margins import ArcFace, CurricularFace
from pspnb.training.order import batch_indices, step_generator
from pspnb.training.precision import mixed_precision

INSTRUMENTS = ("perceptual", "identity", "factors", "parsing", "identity_eval")
N_CLASSES = 19

# Read by the `factors` instrument: every continuous and categorical factor (the two seeds have no value to read).
HEADS = {f.name: len(f.names) if f.kind == "categorical" else 1 for f in TABLE if f.kind != "seed"}
RANGES = {f.name: (float(f.low), float(f.high)) for f in TABLE if f.kind == "continuous"}
# A factor that nothing in the image shows must not be asked for: factor -> factors of which one must be above zero.
SHOWN_BY = {
    "glasses_colour": ("glasses",),
    "hat_colour": ("hat",),
    "metal": ("earring_left", "earring_right", "necklace"),
    **dict.fromkeys(("hair_colour", "hair_shade", "hair_volume", "hair_length", "hair_part"), ("hair_style",)),
}


@dataclass(frozen=True)
class InstrumentConfig:
    """Everything that decides an instrument's weights; `train_instrument` has a default for each name."""

    name: str
    steps: int = 2500
    cycle: int = 2500  # steps from one warm-up of the learning rate to the next (warm restarts)
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05
    degrade: float = 0.3  # probability of each degradation, per image
    size: int = 64
    seed: int = 0
    bf16: bool = True


# identity_eval shares neither weights, seed nor people with identity.
CONFIGS: Mapping[str, InstrumentConfig] = {
    "perceptual": InstrumentConfig("perceptual", steps=1500, cycle=1500, seed=55),
    "identity": InstrumentConfig("identity", steps=3200, cycle=1600, seed=11),
    "factors": InstrumentConfig("factors", steps=4400, cycle=2200, seed=44),
    "parsing": InstrumentConfig("parsing", steps=1300, cycle=1300, batch=32, seed=33),
    "identity_eval": InstrumentConfig("identity_eval", steps=4400, cycle=2200, seed=22),
}


def architecture(name: str) -> dict[str, Any]:
    """{"class": ..., "kwargs": ...} of an instrument, as its card stores it."""
    small_resnet = {"input_size": 64, "units": [1, 2, 2, 1], "widths": [16, 32, 64, 96, 120], "embedding_dim": 128}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "identity": ("FaceEmbedder", {**small_resnet, "dropout": 0.1}),
        "identity_eval": ("PlainEmbedder", {"input_size": 64, "embedding_dim": 128}),
        "parsing": ("ParsingNet", {"n_classes": N_CLASSES}),
        "factors": ("FactorNet", {"heads": HEADS, "ranges": {n: list(r) for n, r in RANGES.items()}}),
        "perceptual": ("PerceptualNet", {}),
    }
    if name not in kinds:
        raise PspnbError(f"expected an instrument of {', '.join(INSTRUMENTS)}, got {name!r}")
    class_name, kwargs = kinds[name]
    return {"class": class_name, "kwargs": kwargs}


def build_instrument(name: str) -> nn.Module:
    """The untrained network, its start drawn from torch's global generator."""
    description = architecture(name)
    classes = {k.__name__: k for k in (FaceEmbedder, PlainEmbedder, ParsingNet, FactorNet, PerceptualNet)}
    return classes[description["class"]](**description["kwargs"])


def people_of(name: str, data: FacetsArrays) -> FacetsArrays:
    """The images an instrument may train on: `identity` has the first half of the people, `identity_eval` the second."""
    if name not in ("identity", "identity_eval"):
        return data
    half = (int(data.identity.min()) + int(data.identity.max()) + 1) // 2
    first = data.identity < half
    return data.take((first if name == "identity" else ~first).nonzero()[:, 0])


# ---- losses: (network, head, images, batch, cycles done) -> loss and what to log ---------------------------------------

Loss = Callable[[Any, Any, Tensor, FacetsArrays, float], tuple[Tensor, dict[str, Tensor]]]


def identity_loss(net: Any, head: Any, images: Tensor, batch: FacetsArrays, progress: float):
    """Margin softmax over the training people; the margin grows over the first half of the first cycle."""
    loss = head(net.embed_raw(images).float(), batch.identity.to(images.device), ease=min(1.0, 2 * progress))
    return loss, {}


def parsing_loss(net: Any, head: Any, images: Tensor, batch: FacetsArrays, progress: float):
    """Cross entropy with the class weights that `head` holds."""
    logits, labels = net(images), batch.labels.long().to(images.device)
    accuracy = (logits.detach().argmax(1) == labels).float().mean()
    return F.cross_entropy(logits, labels, weight=head.weights), {"accuracy": accuracy}


def factor_loss(net: Any, head: Any, images: Tensor, batch: FacetsArrays, progress: float):
    """Squared error of the continuous factors in [-1, 1] and cross entropy of the others, where they show."""
    return _factor_terms(net(images), batch.factors)


def perceptual_loss(net: Any, head: Any, images: Tensor, batch: FacetsArrays, progress: float):
    """The two tasks that make the trunk see: factors from the last stage, classes of pixels from every stage."""
    maps = net.maps(images)
    factors, logits = head(maps)
    loss, record = _factor_terms(factors, batch.factors)
    labels = batch.labels.long().to(images.device)
    small = labels[:, ::2, ::2]
    pixels = F.cross_entropy(logits, small, weight=head.weights)
    return loss + pixels, {**record, "pixels": pixels.detach()}


def _factor_terms(raw: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    numbers, choices = [], []
    for name, output in raw.items():
        truth = factors[name].to(output.device)
        shown = torch.ones(len(truth), device=output.device)
        if name in SHOWN_BY:
            shown = torch.stack([factors[other].to(output.device) > 0 for other in SHOWN_BY[name]]).any(0).float()
        if name in RANGES:
            low, high = RANGES[name]
            error = (output - (2 * (truth - low) / (high - low) - 1)).square()
            numbers.append((error * shown).mean())
        else:
            error = F.cross_entropy(output, truth.long(), reduction="none")
            choices.append((error * shown).mean())
    squared, entropy = torch.stack(numbers).mean(), torch.stack(choices).mean()
    return 4 * squared + entropy, {"squared": squared.detach(), "entropy": entropy.detach()}


class ClassWeights(nn.Module):
    """Weights of the classes in the loss: inverse square root of their share of the pixels, within [0.4, 4]."""

    weights: Tensor

    def __init__(self, labels: Tensor):
        super().__init__()
        share = torch.bincount(labels.flatten().long(), minlength=N_CLASSES).float() / labels.numel()
        weights = (share.median() / share.clamp(min=1e-6)).sqrt().clamp(0.4, 4.0)
        self.register_buffer("weights", weights / weights.mean())


class TwoTasks(ClassWeights):
    """Head of `perceptual` in training: factors from the pooled last map, pixel classes from all maps at half size."""

    def __init__(self, labels: Tensor, widths: tuple[int, ...]):
        super().__init__(labels)
        self.factors = nn.Linear(widths[-1] * 16, sum(HEADS.values()))
        self.pixels = nn.ModuleList(nn.Conv2d(w, N_CLASSES, 1) for w in widths)

    def forward(self, maps: list[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        parts = self.factors(maps[-1].contiguous().flatten(1)).float().split(list(HEADS.values()), dim=1)
        factors = {n: p[:, 0] if n in RANGES else p for n, p in zip(HEADS, parts, strict=True)}
        size = maps[1].shape[-2:]
        logits = maps[0].new_zeros(())
        for layer, m in zip(self.pixels, maps, strict=True):
            scores = layer(m).float()
            resized = F.avg_pool2d(scores, 2) if scores.shape[-1] > size[-1] else F.interpolate(scores, size)
            logits = logits + resized
        return factors, logits


def build_head(name: str, network: Any, data: FacetsArrays) -> tuple[nn.Module, Loss]:
    """The part that only training needs, and the loss."""
    if name in ("identity", "identity_eval"):
        people = int(data.identity.max() - data.identity.min()) + 1
        return (ArcFace if name == "identity" else CurricularFace)(128, people), identity_loss
    some = data.labels[: min(len(data), 2000)]
    if name == "parsing":
        return ClassWeights(some), parsing_loss
    if name == "perceptual":
        return TwoTasks(some, tuple(stage[-1][0].out_channels for stage in network.stages)), perceptual_loss
    return nn.Identity(), factor_loss


def degrade(images: Float[Tensor, "b 3 s s"], p: float, *, generator: torch.Generator) -> Float[Tensor, "b 3 s s"]:
    """Each image, with probability `p` each: halved and doubled again, noise up to 0.12, contrast and brightness."""

    def chosen() -> Tensor:
        return (torch.rand(len(images), 1, 1, 1, generator=generator) < p).to(images)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)).to(images)

    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear", align_corners=False)
    images = torch.lerp(images, soft, chosen() * uniform(0.3, 1.0))
    grain = torch.randn(images.shape, generator=generator).to(images)
    images = images + grain * chosen() * uniform(0.0, 0.12)
    return images * (1 + chosen() * uniform(-0.1, 0.1)) + chosen() * uniform(-0.08, 0.08)


class InstrumentTrainer:
    """One instrument, its training head, AdamW with a one-cycle schedule; fits `pspnb.training.loop.fit`."""

    def __init__(self, config: InstrumentConfig, data: FacetsArrays, *, device: str | torch.device = "cpu"):
        self.config, self.device = config, torch.device(device)
        self.data = people_of(config.name, data)
        self.first_identity = int(self.data.identity.min())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = build_instrument(config.name).to(self.device).to(memory_format=torch.channels_last)
            head, self.loss = build_head(config.name, self.network, self.data)
            self.head = head.to(self.device)
        decayed = [p for m in (self.network, self.head) for p in m.parameters() if p.ndim > 1]
        plain = [p for m in (self.network, self.head) for p in m.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr)
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """One step on a degraded batch; all its randomness is a function of (seed, step)."""
        c, random = self.config, step_generator(self.config.seed, self.step)
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=random)))  # dropout knows only the global generator
        index = batch_indices(len(self.data), c.batch, self.step, seed=c.seed)
        batch = self._shift(self.data.take(index.to(self.data.images.device)), random)
        images = degrade(to_unit(batch.images.to(self.device)), c.degrade, generator=random)
        for group in self.optimizer.param_groups:
            group["lr"] = c.lr * one_cycle(self.step % c.cycle / c.cycle, c.warm_up)
        self.network.train()
        self.head.train()
        with mixed_precision(self.device, wanted=c.bf16):
            loss, record = self.loss(self.network, self.head, images, batch, self.step / c.cycle)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        numbers = {"loss": float(loss.detach()), **{name: float(value) for name, value in record.items()}}
        check_finite(numbers, self.step)
        self.optimizer.step()
        self.step += 1
        return numbers

    def _shift(self, batch: FacetsArrays, random: torch.Generator) -> FacetsArrays:
        """Move images and labels by up to 2 pixels, the same for a whole batch; edges are repeated. Identities from 0."""
        dx, dy = torch.randint(0, 5, (2,), generator=random).tolist()
        s = self.config.size
        images = F.pad(batch.images.float(), [2, 2, 2, 2], mode="replicate")[..., dy : dy + s, dx : dx + s]
        labels = F.pad(batch.labels[:, None].float(), [2, 2, 2, 2], mode="replicate")[:, 0, dy : dy + s, dx : dx + s]
        identity = batch.identity - self.first_identity
        return FacetsArrays(images.to(torch.uint8), labels.to(torch.uint8), batch.factors, identity)

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        networks = {name: getattr(self, name).state_dict() for name in ("network", "head", "optimizer")}
        return {**networks, "step": self.step, "config": asdict(self.config), "random": random_states()}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; raises PspnbError when the run was started with another configuration."""
        if state["config"] != asdict(self.config):
            changed = [k for k, v in asdict(self.config).items() if state["config"].get(k) != v]
            raise PspnbError(f"this run was started with another {', '.join(changed)}: resume with the same settings")
        for name in ("network", "head", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]
        restore_random_states(state["random"])

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(torch.isfinite(p).all()) for m in (self.network, self.head) for p in m.parameters())

    def samples(self) -> None:
        """Nothing to look at."""


def one_cycle(progress: float, warm_up: float) -> float:
    """Linear rise to 1 over `warm_up`, then a half cosine down to 0.01."""
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    x = min((progress - warm_up) / (1 - warm_up), 1.0)
    return 0.01 + 0.99 * float(0.5 + 0.5 * torch.cos(torch.tensor(x * torch.pi, dtype=torch.float64)))
