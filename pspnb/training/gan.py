"""Training a StyleGAN2 generator: its configuration, its step and its state.

Sources: StyleGAN2 (Karras et al. 2020, appendix B), style mixing (StyleGAN, section 3.1), R1; what differs from them is in
`GanConfig`. Every random number of step k is a function of (seed, k), so a run that is killed and resumed ends, on CPU, in the same
weights to the bit. Chapter: "StyleGAN2 from the inside". `pspnb train generator --scale facets64 --out runs/generator`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from pspnb.errors import PspnbError
from pspnb.files.pictures import grid
from pspnb.models import zoo
from pspnb.models.architectures import generator_architecture
from pspnb.nn.discriminator import Discriminator
from pspnb.nn.stylegan2 import Generator
from pspnb.training import gan_losses as losses
from pspnb.training.checkpoint import random_states, restore_random_states
from pspnb.training.critic import OnePassDiscriminator
from pspnb.training.loop import Stepper
from pspnb.training.order import batch_indices, step_generator
from pspnb.training.precision import mixed_precision
from pspnb.training.processes import Processes
from pspnb.training.recorder import check_finite
from pspnb.training.schedules import held_then_cosine

ImageSource = Callable[[Int[Tensor, " b"]], UInt8[Tensor, " b 3 s s"]]


@dataclass(frozen=True)
class GanConfig:
    """Everything that decides the weights of a run. Defaults: 64 px, two and a half hours of one CPU core at 70 images/s."""

    size: int = 64
    style_dim: int = 128
    n_mlp: int = 4
    channels: tuple[tuple[int, int], ...] = ((4, 192), (8, 192), (16, 128), (32, 64), (64, 32))
    d_channels: tuple[tuple[int, int], ...] = ((4, 128), (8, 128), (16, 128), (32, 64), (64, 32))
    noise: bool = False  # at 64 px the network draws eyes and hair out of the noise if it gets any
    steps: int = 40_000
    batch: int = 16
    lr: float = 2e-3
    lr_final: float = 0.1  # fraction of lr at the last step
    decay_from: float = 0.75  # fraction of the steps after which lr falls along a half cosine
    r1_gamma: float = 1.0  # strong at first, which learns shapes fastest, ...
    r1_gamma_final: float = 0.1  # ... and weaker along a geometric line, so that D may look at detail
    r1_every: int = 16
    mixing: float = 0.9  # share of images made from two styles
    one_pass: bool = True  # one forward and backward of D for both networks (gan_losses.TurnGradient)
    ema_images: int = 10_000  # half-life of the average
    ema_warm_up: float = 0.05  # ... but never more than this share of the images seen
    seed: int = 0
    bf16: bool = True
    compile: bool = False
    picture_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 50


class GanStepper(Stepper):
    """Generator, its average, discriminator, two optimisers and the step that moves them."""

    def __init__(
        self,
        config: GanConfig,
        images: ImageSource,
        n_images: int,
        *,
        device: str | torch.device = "cpu",
    ):
        self.config, self.images, self.n_images = config, images, n_images
        self.team, self.steps, self.batch = Processes(device), config.steps, config.batch
        with torch.random.fork_rng(devices=[]):  # the layers draw their start from the global generator
            torch.manual_seed(config.seed)
            generator = zoo.build(generator_architecture(asdict(config)))
            assert isinstance(generator, Generator)
            self.generator = generator.to(self.device)
            d_class = OnePassDiscriminator if config.one_pass else Discriminator
            self.discriminator = d_class(config.size, channels=dict(config.d_channels)).to(self.device)
        self.average = deepcopy(self.generator).requires_grad_(False).eval()
        self.g_optimizer = self._adam(self.generator, 0)
        self.d_optimizer = self._adam(self.discriminator, config.r1_every)
        self.last_r1 = 0.0
        self.extended: list[list[int]] = []  # [step, planned steps until then] for each time the run was made longer
        self._synthesize, self._judge = self.generator.synthesize, self.discriminator.forward
        if config.compile:
            self._synthesize, self._judge = torch.compile(self._synthesize), torch.compile(self._judge)

    def _adam(self, network: nn.Module, lazy_every: int) -> torch.optim.Adam:
        """Adam with the correction for lazy regularisation (StyleGAN2, appendix B): lr c, betas^c, c = k / (k + 1)."""
        c = lazy_every / (lazy_every + 1) if lazy_every else 1.0
        return torch.optim.Adam(network.parameters(), lr=self.config.lr * c, betas=(0.0, 0.99**c), eps=1e-8)

    # ---- one step --------------------------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """Step `self.step`; returns its losses as plain numbers. Raises TrainingDiverged on a loss that is not finite."""
        c, k = self.config, self.step
        random = step_generator(c.seed, k)
        self._set_lr(self.d_optimizer, c.r1_every)
        self._set_lr(self.g_optimizer, 0)
        index = batch_indices(self.n_images, c.batch, k, seed=c.seed)
        real = self.images(index).to(self.device, non_blocking=True).float().div(127.5).sub(1)
        for optimizer in (self.d_optimizer, self.g_optimizer):
            optimizer.zero_grad(set_to_none=True)
        record = self._one_pass(real, random) if c.one_pass else self._alternate(real, random)
        self._update_average()
        self.step += 1
        return record

    def learning_rate(self) -> float:
        return self.g_optimizer.param_groups[0]["lr"]

    def sheet(self) -> UInt8[np.ndarray, " h w 3"]:
        """Samples of the average generator."""
        return grid(self.samples())

    def _one_pass(self, real: Tensor, random: torch.Generator) -> dict[str, float]:
        turn, fake = losses.GradientTurn(), self._fake(random)
        fake_logits = self._see(turn(fake))
        turn.remember(fake_logits)
        real_loss, record = self._real_loss(real)
        fake_loss = nn.functional.softplus(fake_logits).mean()
        (real_loss + fake_loss).backward()
        record |= self._numbers(loss_g=losses.generator_loss(fake_logits), fake=fake_logits.mean(), loss_d=fake_loss)
        record["loss_d"] += record.pop("loss_real")
        check_finite(record, self.step)
        self.d_optimizer.step()
        self.g_optimizer.step()
        return record

    def _alternate(self, real: Tensor, random: torch.Generator) -> dict[str, float]:
        with torch.no_grad():
            fake = self._fake(random)
        fake_loss = nn.functional.softplus(self._see(fake)).mean()
        real_loss, record = self._real_loss(real)
        (real_loss + fake_loss).backward()
        self.d_optimizer.step()
        self.discriminator.requires_grad_(False)
        fake_logits = self._see(self._fake(random))
        loss = losses.generator_loss(fake_logits)
        loss.backward()
        self.discriminator.requires_grad_(True)
        record |= self._numbers(loss_g=loss, fake=fake_logits.mean(), loss_d=fake_loss)
        record["loss_d"] += record.pop("loss_real")
        check_finite(record, self.step)
        self.g_optimizer.step()
        return record

    def _real_loss(self, real: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss on real images, every `r1_every` steps with the penalty (weighted for its rarity)."""
        c = self.config
        with_r1 = c.r1_gamma > 0 and self.step % c.r1_every == 0
        real = real.requires_grad_(with_r1)
        logits = self._see(real, eager=with_r1)  # a compiled graph has no second derivative
        loss = nn.functional.softplus(-logits).mean()
        record = self._numbers(loss_real=loss, real=logits.mean(), real_sign=logits.sign().mean())
        if with_r1:
            r1 = losses.r1_penalty(logits, real)
            gamma = c.r1_gamma * (c.r1_gamma_final / c.r1_gamma) ** (self.step / c.steps)
            loss = loss + 0.5 * gamma * c.r1_every * r1
            self.last_r1 = float(r1.detach())
        record["r1"] = self.last_r1
        return loss, record

    def _fake(self, random: torch.Generator) -> Float[Tensor, " b 3 s s"]:
        """Images from z, a share of them mixed from two z at a random crossover; the mapping runs in float32."""
        c, g = self.config, self.generator
        z = torch.randn(2, c.batch, c.style_dim, generator=random).to(self.device)
        crossover = torch.randint(1, g.n_styles, (c.batch, 1), generator=random)
        crossover[torch.rand(c.batch, 1, generator=random) >= c.mixing] = g.n_styles
        first = (torch.arange(g.n_styles) < crossover)[..., None].to(self.device)
        w_plus = torch.where(first, g.to_w_plus(g.map(z[0])), g.to_w_plus(g.map(z[1])))
        with self._autocast():
            if c.noise:
                return self._synthesize(w_plus, noise="random", generator=random)
            return self._synthesize(w_plus)

    def _see(self, images: Tensor, *, eager: bool = False) -> Float[Tensor, " b 1"]:
        with self._autocast():
            return self.discriminator(images) if eager else self._judge(images)

    def _autocast(self) -> AbstractContextManager:
        return mixed_precision(self.device, wanted=self.config.bf16)

    def _numbers(self, **values: Tensor) -> dict[str, float]:
        return dict(zip(values, torch.stack([v.detach().float() for v in values.values()]).tolist(), strict=True))

    def _set_lr(self, optimizer: torch.optim.Adam, lazy_every: int) -> None:
        c = self.config
        lazy = lazy_every / (lazy_every + 1) if lazy_every else 1.0
        optimizer.param_groups[0]["lr"] = c.lr * lazy * held_then_cosine(self.step / c.steps, c.decay_from, c.lr_final)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential average with half-life min(ema_images, ema_warm_up x images seen)."""
        c = self.config
        half_life = min(c.ema_images, c.ema_warm_up * c.batch * (self.step + 1))
        beta = 0.5 ** (c.batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - beta)

    # ---- state -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, plain data and tensors."""
        networks = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        rest = {"step": self.step}
        return {**networks, **rest, "extended": self.extended, "config": asdict(self.config), "random": random_states()}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; raises PspnbError when the run was started with another configuration.

        More steps than planned are welcome: the run goes on, with learning rate and R1 where the longer schedule has them.
        """
        mine, theirs = asdict(self.config), state["config"]
        longer = mine["steps"] > theirs["steps"]
        fixed = [name for name in mine if name not in _MAY_CHANGE and not (longer and name == "steps")]
        differs = [name for name in fixed if mine[name] != theirs.get(name)]
        if differs:
            name = differs[0]
            raise PspnbError(f"this run has {name}={theirs.get(name)}, not {mine[name]}: resume with the same settings")
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.extended = [*state.get("extended", []), *([[state["step"], theirs["steps"]]] if longer else [])]
        self.step = state["step"]
        restore_random_states(state["random"])

    def is_finite(self) -> bool:
        """Whether every weight of the three networks is a number."""
        networks = (self.generator, self.average, self.discriminator)
        return all(bool(torch.isfinite(p).all()) for n in networks for p in n.parameters())

    @torch.no_grad()
    def samples(self, n: int = 64, *, seed: int = 1) -> Float[Tensor, " n 3 s s"]:
        """`n` images of the average generator, always from the same z."""
        z = torch.randn(n, self.config.style_dim, generator=torch.Generator().manual_seed(seed)).to(self.device)
        with self._autocast():
            return torch.cat([self.average(part) for part in z.split(16)]).float()


_STATEFUL = ("generator", "average", "discriminator", "g_optimizer", "d_optimizer")
_MAY_CHANGE = ("picture_every", "checkpoint_every", "log_every", "compile")
