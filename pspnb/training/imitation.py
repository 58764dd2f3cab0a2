"""A StyleGAN2 that imitates its world: `ImitationStepper`, its configuration, its data.

Every z has true factors (`pspnb.world2.prior`), so the generator has a teacher: the renderer's picture of the same factors, in
L1 and in the LPIPS form (imitative learning, DiscoFaceGAN, Deng et al. 2020). Eyes, brows, mouths, glasses and jewellery are few
pixels and count more; a head that is not kept names every pixel's class from the last feature map, so that these layers know
where things are. A discriminator adds what an average of pictures lacks, sharpness, and teaches the codes that have no truth:
style-mixed ones, ones between two w, ones near the mean latent. Every random number of step k is a function of (seed, k).
Chapter: "StyleGAN2 from the inside".
"""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from pspnb.errors import PspnbError
from pspnb.files.pictures import grid
from pspnb.files.provenance import hardware
from pspnb.models import zoo
from pspnb.models.architectures import generator_architecture
from pspnb.models.prior_mapping import PriorMapping
from pspnb.nn.instruments import PerceptualNet
from pspnb.nn.stylegan2 import Generator
from pspnb.training import gan_losses as losses
from pspnb.training.arrays import render_arrays
from pspnb.training.checkpoint import random_states, restore_random_states
from pspnb.training.critic import OnePassDiscriminator
from pspnb.training.graphs import Replayed, keep_gradients
from pspnb.training.lessons import GrowingLessons, Lessons
from pspnb.training.loop import Stepper
from pspnb.training.optimizers import OptimizerName, build_optimizers, set_rate
from pspnb.training.order import step_generator
from pspnb.training.precision import mixed_precision
from pspnb.training.processes import Processes
from pspnb.training.schedules import held_then_cosine
from pspnb.training.widen import widened
from pspnb.world2 import CLASSES, Style
from pspnb.world2.prior import draw_z, factors_of

DETAILS = ("nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip", "ear_r", "neck_l", "cloth")
"""Classes of few pixels: those by which people are told apart, a twentieth of a picture together, and clothes, as much again."""


@dataclass(frozen=True)
class ImitationConfig:
    """Everything that decides the weights of a run. Defaults: 64 px, one CPU core at about 25 images/s."""

    size: int = 64
    style: Style = "photo"  # in which the teacher draws
    style_dim: int = 512  # as published; the world has about 200 numbers, but every layer reads w linearly
    n_mlp: int = 4
    hidden: int = 512
    lr_mlp: float = 0.3
    channels: tuple[tuple[int, int], ...] = ((4, 160), (8, 160), (16, 128), (32, 96), (64, 48))
    d_channels: tuple[tuple[int, int], ...] = ((4, 128), (8, 128), (16, 128), (32, 64), (64, 32))
    n_images: int = 100_000  # pictures of the teacher, in memory
    even: float = 0.5  # share of them whose choices are even, so that rare kinds are seen often
    steps: int = 30_000
    batch: int = 16
    optimizer: OptimizerName = "muon"  # of the generator; the discriminator's is Adam
    lr: float = 3e-3
    lr_final: float = 0.02  # fraction of lr at the end
    decay_from: float = 0.5  # share of the training after which lr falls along a half cosine
    pixel_weight: float = 2.0  # of L1
    perceptual_weight: float = 1.0
    detail: float = 3.0  # how much more pixels of `DETAILS` count, in both
    label_weight: float = 0.1  # of the cross entropy of each pixel's class
    adversarial_weight: float = 0.1  # on the discriminator's gradient into the generator; .3 made the trial worse
    adversarial_from: float = 0.65  # share of the training after which the discriminator takes part
    d_lr: float = 2e-3
    r1_gamma: float = 1.0
    r1_every: int = 16
    ema_images: int = 10_000  # half-life of the average
    ema_warm_up: float = 0.05  # ... but never more than this share of the images seen
    seconds: float | None = None  # a budget of time: the schedule ends when it does, or with the steps
    seed: int = 0
    bf16: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise ValueError(
                f"expected an even batch of at least 2 (half of it is shown to the critic), got {self.batch}"
            )
        if not 0 <= self.even < 1:
            raise ValueError(f"expected even from 0 to below 1, got {self.even}")


class ImitationStepper(Stepper):
    """Generator, its average, discriminator, their optimisers and the step that moves them."""

    def __init__(
        self,
        config: ImitationConfig,
        lessons: Lessons | GrowingLessons,
        perceptual: PerceptualNet,
        *,
        device: str | torch.device = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.config, self.lessons, self.clock = config, lessons, clock
        self.team, self.steps, self.batch = Processes(device), config.steps, config.batch
        self.perceptual = perceptual.to(self.device).requires_grad_(False).eval()
        with torch.random.fork_rng(devices=[]):  # the layers draw their start from the global generator
            torch.manual_seed(config.seed)
            self.generator = build_generator(config).to(self.device)
            self.discriminator = OnePassDiscriminator(config.size, channels=dict(config.d_channels)).to(self.device)
            self.classes = nn.Conv2d(self.generator.channels[config.size], len(CLASSES), 1).to(self.device)
        self.details = torch.tensor([name in DETAILS for name in CLASSES], device=self.device)
        self.mapping = cast(PriorMapping, self.generator.style)
        self.average = deepcopy(self.generator).requires_grad_(False).eval()
        self.w_mean = torch.zeros(config.style_dim, device=self.device)
        c = config.r1_every / (config.r1_every + 1)  # lazy regularisation (StyleGAN2, appendix B)
        fused = self.device.type == "cuda"
        taught = (self.generator, self.classes)
        self.g_optimizers = build_optimizers(taught, config.optimizer, config.lr, betas=(0.9, 0.99), fused=fused)
        self.d_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), config.d_lr * c, betas=(0.0, 0.99**c), fused=fused
        )
        self.seconds_before, self.images_before = 0.0, 0
        self.started: float | None = None
        self._synthesize, self._see = self._draw_and_name, self.discriminator.forward
        self._distance = self.perceptual.forward
        if config.compile:
            self._synthesize, self._see = torch.compile(self._synthesize), torch.compile(self._see)
            self._distance = torch.compile(self._distance)
        self._steps = {
            kind: Replayed(lambda inputs, kind=kind: self._compute(inputs, kind), device=self.device)  # type: ignore[misc]
            for kind in ("imitate", "criticise", "criticise with r1")
        }

    # ---- one step --------------------------------------------------------------------------------------------------

    def progress(self) -> float:
        """Share of the training that lies behind: of the steps, or of the budget of seconds if that is further."""
        share = self.step / self.config.steps
        return share if self.config.seconds is None else max(share, self.seconds() / self.config.seconds)

    def seconds(self) -> float:
        """Time spent in training, earlier parts of a resumed run included."""
        return self.seconds_before + (0.0 if self.started is None else self.clock() - self.started)

    def train_step(self) -> dict[str, Tensor]:
        """Step `self.step`; its losses as tensors on the device, which are overwritten by the next step."""
        if self.started is None:
            self.started = self.clock()
        c, progress = self.config, min(self.progress(), 1.0)
        factor = held_then_cosine(progress, c.decay_from, c.lr_final)
        set_rate(self.g_optimizers, c.lr * factor)
        set_rate([self.d_optimizer], c.d_lr * c.r1_every / (c.r1_every + 1) * factor)
        critical = progress >= c.adversarial_from
        kind = "imitate" if not critical else "criticise with r1" if self.step % c.r1_every == 0 else "criticise"
        record = self._steps[kind](self._draw(critical, progress))
        for optimizer in self.g_optimizers:
            optimizer.step()
        if critical:
            self.d_optimizer.step()
        self._update_average()
        self.step += 1
        return record

    def learning_rate(self) -> float:
        return self.g_optimizers[0].param_groups[0]["lr"]

    def sheet(self) -> UInt8[np.ndarray, " h w 3"]:
        """The teacher's pictures, and below them the average generator's."""
        return grid(self.samples())

    def _draw(self, critical: bool, progress: float) -> dict[str, Tensor]:
        """The batch of this step, on the device: lessons, and for the critic real pictures and how fake codes are made."""
        c, lessons, d, half = self.config, self.lessons, self.device, self.config.batch // 2
        true, even = lessons.ready()
        random = step_generator(c.seed, self.step)
        first = torch.randint(true, (half,), generator=random)
        second = lessons.n_true + torch.randint(even, (half,), generator=random) if even else first
        real = torch.randint(true, (c.batch,), generator=random)
        u = torch.rand(3, half, generator=random)
        crossover = torch.randint(1, self.generator.n_styles, (half,), generator=random)
        where = torch.cat([first, second, real]).to(d, non_blocking=True)
        take = where[: c.batch]
        out = {"x": lessons.images[take], "labels": lessons.labels[take], "numbers": lessons.numbers[take]}
        if critical:
            ramp = min(1.0, (progress - c.adversarial_from) / 0.05) if c.adversarial_from > 0 else 1.0
            take = where[c.batch :]
            out |= {"real": lessons.images[take], "others": lessons.numbers[take], "u": u.to(d, non_blocking=True)}
            out |= {"crossover": crossover.to(d, non_blocking=True)}
            out |= {"weight": torch.tensor(c.adversarial_weight * ramp).to(d, non_blocking=True)}
        return out

    def _compute(self, inputs: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
        """Losses and gradients of one step; nothing here waits for the device."""
        c, g = self.config, self.generator
        critical = kind != "imitate"
        weights = [*g.parameters(), *self.classes.parameters()]
        weights += self.discriminator.parameters() if critical else []
        torch._foreach_zero_(keep_gradients(weights))
        x = inputs["x"].float().div(127.5).sub(1)
        w = self.mapping.map_numbers(inputs["numbers"])
        self.w_mean.lerp_(w.detach().mean(0), 0.005)
        codes = g.to_w_plus(w)
        if critical:
            codes = torch.cat([codes, self._fake_codes(inputs)])
        with self._autocast():
            y, logits = self._synthesize(codes, c.batch)
        y = y.float()
        imitated, labels = y[: c.batch], inputs["labels"].long()
        weight = self._weight(labels)
        with self._autocast():
            distance = self._distance(imitated, x, weight).float().mean()
        l1 = ((imitated - x).abs() * weight).mean() / weight.mean()
        entropy = (F.cross_entropy(logits.float(), labels, reduction="none") * weight[:, 0]).mean() / weight.mean()
        loss = c.pixel_weight * l1 + c.perceptual_weight * distance + c.label_weight * entropy
        record = {"l1": l1.detach(), "perceptual": distance.detach(), "entropy": entropy.detach()}
        if critical:
            fake = torch.cat([imitated[: c.batch // 2], y[c.batch :]])
            critic, more = self._criticise(fake, inputs, with_r1=kind == "criticise with r1")
            loss, record = loss + critic, record | more
        loss.backward()
        return record

    def _draw_and_name(self, codes: Float[Tensor, " b n d"], n: int) -> tuple[Tensor, Tensor]:
        """Images (b, 3, s, s), and class logits (n, 19, s, s) of the first `n`."""
        g = self.generator
        feature, rgb = g.features(codes, upto=g.n_convs)
        images = g.synthesize(codes, start=g.n_convs, feature=feature, rgb=rgb)
        return images, self.classes(feature[:n])

    def _weight(self, labels: Int[Tensor, " b s s"]) -> Float[Tensor, " b 1 s s"]:
        """How much each pixel counts: `detail` on `DETAILS` and one pixel around them, 1 elsewhere."""
        near = F.max_pool2d(self.details[labels].float()[:, None], 3, 1, 1)
        return 1 + (self.config.detail - 1) * near

    def _fake_codes(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, " h n d"]:
        """Codes without a truth, from pairs of w (a, b): half mixed by styles, a quarter between them, a quarter truncated."""
        g = self.generator
        a, b = self.mapping.map_numbers(inputs["others"]).chunk(2)
        u = inputs["u"]
        between = torch.lerp(a, b, u[1][:, None])
        psi = (1.25 * u[1] - 0.25).clamp(min=0.0)[:, None]  # a fifth of the truncated ones is the mean itself
        near = self.w_mean + psi * (a - self.w_mean)
        alone = torch.where((u[0] < 0.75)[:, None], between, near)
        mixed = (u[0] < 0.5)[:, None]
        coarse, fine = torch.where(mixed, a, alone), torch.where(mixed, b, alone)
        layer = torch.arange(g.n_styles, device=a.device)
        return torch.where((layer < inputs["crossover"][:, None])[..., None], coarse[:, None], fine[:, None])

    def _criticise(
        self, fake: Float[Tensor, " b 3 s s"], inputs: Mapping[str, Tensor], *, with_r1: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Both adversarial losses from one pass of the discriminator (`gan_losses.TurnGradient`)."""
        c, turn = self.config, losses.GradientTurn()
        scaled = _Scale.apply(fake, inputs["weight"])
        with self._autocast():
            fake_logits = self._see(turn(scaled))
        turn.remember(fake_logits)
        real = inputs["real"].float().div(127.5).sub(1).requires_grad_(with_r1)
        with self._autocast():
            # a compiled graph has no second derivative
            real_logits = self.discriminator(real) if with_r1 else self._see(real)
        loss = losses.discriminator_loss(real_logits, fake_logits)
        record = {"loss_d": loss.detach(), "fake": fake_logits.detach().mean(), "real": real_logits.detach().mean()}
        if with_r1:
            r1 = losses.r1_penalty(real_logits, real)
            loss = loss + 0.5 * c.r1_gamma * c.r1_every * r1
        return loss, record

    def _autocast(self):
        return mixed_precision(self.device, wanted=self.config.bf16)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential average with half-life min(ema_images, ema_warm_up x images seen)."""
        c = self.config
        half_life = min(c.ema_images, c.ema_warm_up * c.batch * (self.step + 1))
        beta = 0.5 ** (c.batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - beta)

    # ---- state -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, plain data and tensors. Its lessons are a function of the configuration."""
        networks = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        rest = {
            "w_mean": self.w_mean,
            "step": self.step,
            "seconds": self.seconds(),
            "hardware": hardware(self.device.type),
        }
        rest["images_before"] = self.images_before
        rest["g_optimizers"] = [optimizer.state_dict() for optimizer in self.g_optimizers]
        return {**networks, **rest, "config": asdict(self.config), "random": random_states()}

    def start_from(self, state: Mapping[str, Any]) -> None:
        """Begin with the weights of another run (its `state`, or the small file that a GPU run leaves), optimisers fresh.

        Its w may be narrower than this one's: see `widened`.
        """
        for name in ("generator", "average", "discriminator", "classes"):
            if name in state:  # what is shipped of a run has no "classes"
                network = getattr(self, name)
                network.load_state_dict(widened(state[name], network.state_dict()))
        with torch.no_grad():  # w may be wider than that of the state
            mapping = cast(PriorMapping, self.average.style)
            self.w_mean.copy_(mapping.map_numbers(self.lessons.numbers[:4096]).mean(0))
        self.images_before = state.get("images_before", 0) + state["step"] * state["config"]["batch"]

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; raises PspnbError when the run was started with another configuration.

        More steps or seconds than planned are welcome: the run goes on where the longer schedule has them.
        """
        mine, theirs = asdict(self.config), state["config"]
        differs = [
            k for k in mine if k not in ("steps", "seconds", "compile") and _plain(mine[k]) != _plain(theirs.get(k))
        ]
        if differs:
            name = differs[0]
            raise PspnbError(f"this run has {name}={theirs.get(name)}, not {mine[name]}: resume with the same settings")
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for optimizer, saved in zip(self.g_optimizers, state["g_optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.w_mean.copy_(state["w_mean"])
        self.step, self.seconds_before, self.started = state["step"], state["seconds"], None
        self.images_before = state["images_before"]
        restore_random_states(state["random"])

    def finished(self) -> bool:
        """Whether the schedule has ended, by steps or by seconds."""
        return self.progress() >= 1.0

    def is_finite(self) -> bool:
        """Whether every weight of the three networks is a number."""
        networks = (self.generator, self.average, self.discriminator, self.classes)
        return all(bool(torch.isfinite(p).all()) for n in networks for p in n.parameters())

    @torch.no_grad()
    def samples(self, n: int = 32, *, seed: int = 1) -> Float[Tensor, " m 3 s s"]:
        """Rows of eight: the teacher's pictures of fresh z, and below them the average generator's."""
        z = draw_z(n, seed=seed)
        truth = render_arrays(
            factors_of(z), torch.arange(n), self.config.size, device=self.device, style=self.config.style
        ).images
        truth = truth.float().div(127.5).sub(1)
        with self._autocast():
            made = torch.cat([self.average(part) for part in z.to(self.device).split(16)]).float()
        rows = [row for pair in zip(truth.split(8), made.split(8), strict=True) for row in pair]
        return torch.cat(rows)


class _Scale(torch.autograd.Function):
    """Identity whose gradient is multiplied by a number that lies on the device."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradient * weight, None


_STATEFUL = ("generator", "average", "discriminator", "classes", "d_optimizer")


def _plain(value: Any) -> Any:
    return [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple | list) else value


def build_generator(config: ImitationConfig) -> Generator:
    """The generator of a configuration, its start drawn from torch's global generator."""
    generator = zoo.build(generator_architecture(asdict(config)))
    assert isinstance(generator, Generator)
    return generator


SHIPPED = "world2/generator"


def shipped_state() -> dict[str, Any]:
    """What is shipped of a run (generator and discriminator), as `ImitationStepper.start_from` takes it."""
    generator, critic = (zoo.load_shipped(f"world2/{name}") for name in ("generator", "discriminator"))
    card = zoo.card(SHIPPED)
    weights = generator.state_dict()
    return {
        "generator": weights,
        "average": weights,
        "discriminator": critic.state_dict(),
        "w_mean": generator.get_buffer("latent_avg"),
        "step": 0,
        "images_before": card["images"],
        "config": card["config"],
    }
