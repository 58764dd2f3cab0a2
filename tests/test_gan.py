"""The GAN trainer: its losses against second derivations, its loop against NaN, its training against a small known world."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pspnb.errors import PspnbError
from pspnb.files.pictures import grid, write_png
from pspnb.nn.stylegan2 import Generator
from pspnb.shipping.generators import ship_generator
from pspnb.training import gan_losses as losses
from pspnb.training.critic import OnePassDiscriminator
from pspnb.training.gan import GanConfig, GanStepper
from pspnb.training.journal import read_journal
from pspnb.training.loop import Every, fit
from pspnb.training.order import batch_indices
from pspnb.training.recorder import TrainingDiverged
from pspnb.training.schedules import held_then_cosine

CHANNELS = ((4, 8), (8, 8), (16, 8))
TINY = GanConfig(
    size=16, style_dim=8, n_mlp=2, channels=CHANNELS, d_channels=CHANNELS, steps=8, batch=4, r1_every=2, bf16=False
)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(n: int = 32, size: int = 16) -> Tensor:
    """Bright discs on dark ground."""
    g = gen(1)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre, radius = torch.rand(n, 2, 1, 1, generator=g) * 4 + size / 2 - 2, torch.rand(n, 1, 1, generator=g) * 2 + 4
    disc = ((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < radius**2).float()
    colour = torch.rand(n, 3, 1, 1, generator=g) * 127 + 128
    return (disc[:, None] * colour).to(torch.uint8)


def trainer(config: GanConfig = TINY, **kwargs) -> GanStepper:
    data = pixels(size=config.size)
    return GanStepper(config, lambda i: data[i], len(data), **kwargs)


# ---- losses --------------------------------------------------------------------------------------------------------


def test_losses_at_undecided_logits() -> None:
    zero = torch.zeros(5, 1)
    assert float(losses.discriminator_loss(zero, zero)) == pytest.approx(2 * 0.6931472)
    assert float(losses.generator_loss(zero)) == pytest.approx(0.6931472)
    assert float(losses.generator_loss(zero + 3)) < float(losses.generator_loss(zero - 3))


def test_r1_is_the_squared_gradient_of_a_known_function() -> None:
    x = torch.randn(3, 3, 4, 4, generator=gen(), requires_grad=True)
    logits = (x.square().sum(dim=(1, 2, 3)) / 2)[:, None]  # gradient: x itself
    penalty = losses.r1_penalty(logits, x)
    assert float(penalty.detach()) == pytest.approx(float(x.detach().square().sum() / 3), rel=1e-5)
    penalty.backward()  # and it has a gradient of its own: 2 x / 3
    assert torch.allclose(x.grad, 2 * x.detach() / 3, atol=1e-6)


def test_one_pass_gives_the_gradients_of_two_passes() -> None:
    """D and G gradients from one backward equal those of the two separate losses."""
    torch.manual_seed(0)
    g = Generator(16, style_dim=8, n_mlp=2, channels=dict(CHANNELS), noise=False)
    d = OnePassDiscriminator(16, channels=dict(CHANNELS))
    z = torch.randn(6, 8, generator=gen())

    turn = losses.GradientTurn()
    logits = d(turn(g(z)))
    turn.remember(logits)
    F.softplus(logits).mean().backward()
    once = [p.grad.clone() for p in (*g.parameters(), *d.parameters())]
    g.zero_grad()
    d.zero_grad()

    (twice_d := F.softplus(d(g(z).detach())).mean()).backward()
    d_gradients = [p.grad.clone() for p in d.parameters()]
    assert float(twice_d.detach()) == pytest.approx(float(F.softplus(logits).mean().detach()), rel=1e-5)
    losses.generator_loss(d(g(z))).backward()
    twice = [*(p.grad for p in g.parameters()), *d_gradients]
    for a, b in zip(once, twice, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6 + 1e-4 * float(b.abs().max()))


def test_a_step_leaves_no_graph_behind() -> None:
    """The turn must not tie its graph into a cycle that only the end of the process would free."""
    import gc
    import weakref

    t = trainer()
    t.train_step()
    made: list[weakref.ref] = []
    see = t._see

    def watched(images: Tensor, *args, **kwargs) -> Tensor:
        logits = see(images, *args, **kwargs)
        made.append(weakref.ref(logits))
        return logits

    t._see = watched
    gc.disable()
    try:
        t.train_step()
        assert made and all(node() is None for node in made)
    finally:
        gc.enable()


def test_a_logit_has_no_gradient_into_another_image() -> None:
    torch.manual_seed(0)
    d = OnePassDiscriminator(16, channels=dict(CHANNELS))
    x = torch.randn(4, 3, 16, 16, generator=gen(), requires_grad=True)
    (gradient,) = torch.autograd.grad(d(x)[1].sum(), x)
    assert bool((gradient[[0, 2, 3]] == 0).all()) and float(gradient[1].abs().sum()) > 0


# ---- trainer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_pass", [True, False])
def test_training_moves_the_losses_the_right_way(one_pass: bool) -> None:
    """D learns to tell discs from the untrained G; then G, with D held, learns to please it."""
    t = trainer(replace(TINY, steps=200, one_pass=one_pass, batch=8, lr=5e-3))
    first = t.train_step()["loss_d"]
    g_rate, t.g_optimizer.step = t.g_optimizer.step, lambda: None  # G stands still
    for _ in range(40):
        record = t.train_step()
    assert record["loss_d"] < 0.7 * first
    t.g_optimizer.step, t.d_optimizer.step = g_rate, lambda: None  # now D does
    before = record["loss_g"]
    for _ in range(40):
        record = t.train_step()
    assert record["loss_g"] < 0.6 * before


def test_the_mean_image_approaches_the_data() -> None:
    config = replace(TINY, steps=150, batch=8, lr=4e-3)
    t = trainer(config)
    truth = pixels().float().div(127.5).sub(1).mean(0)
    distance = [(t.samples(32).mean(0) - truth).abs().mean()]
    while t.step < config.steps:
        t.train_step()
    distance.append((t.samples(32).mean(0) - truth).abs().mean())
    assert float(distance[1]) < 0.6 * float(distance[0])


@pytest.mark.parametrize("change", [{}, {"noise": True}, {"one_pass": False, "bf16": True}])
def test_every_option_trains_and_resumes_to_the_same_bits(change: dict) -> None:
    config = replace(TINY, **change)
    whole, first, second = trainer(config), trainer(config), trainer(config)
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    second.load_state(first.state())
    for _ in range(3):
        second.train_step()
    for a, b in zip(whole.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(whole.generator.parameters(), trainer(config).generator.parameters(), strict=True)
    )


def test_a_run_can_be_made_longer_but_not_otherwise_changed() -> None:
    short = trainer(TINY)
    for _ in range(3):
        short.train_step()
    longer = trainer(replace(TINY, steps=TINY.steps + 50))
    longer.load_state(short.state())
    assert longer.step == 3 and longer.extended == [[3, TINY.steps]]
    longer.train_step()
    again = trainer(replace(TINY, steps=TINY.steps + 50))
    again.load_state(longer.state())
    assert again.extended == [[3, TINY.steps]]
    with pytest.raises(PspnbError, match="steps"):
        trainer(TINY).load_state(longer.state())
    with pytest.raises(PspnbError, match="r1_gamma"):
        trainer(replace(TINY, steps=TINY.steps + 50, r1_gamma=3.0)).load_state(short.state())


def test_the_shipped_pair_trains_on() -> None:
    """Shipped G and D know their trade (D prefers real images a little), and a few steps move G the right way."""
    from pspnb.facets import render, sample_factors
    from pspnb.files.pictures import to_levels
    from pspnb.models.zoo import available, load_shipped

    if not {"facets64/generator", "facets64/discriminator"} <= set(available()):
        pytest.skip("facets64/generator and facets64/discriminator are not shipped yet")
    data = to_levels(render(sample_factors("test", range(32)), 64).image)
    t = GanStepper(replace(GanConfig(), batch=8, lr=2e-4, mixing=0.0, bf16=False), lambda i: data[i], len(data))
    t.generator.load_state_dict(load_shipped("facets64/generator").state_dict())
    t.discriminator.load_state_dict(load_shipped("facets64/discriminator").state_dict())
    with torch.no_grad():
        z = torch.randn(32, t.config.style_dim, generator=gen(2))
        real, fake = t.discriminator(data.float() / 127.5 - 1).mean(), t.discriminator(t.generator(z)).mean()
    assert float(real) > float(fake) + 0.1
    t.d_optimizer.step = lambda: None  # D stands still
    before = losses.generator_loss(t.discriminator(t.generator(z))).item()
    for _ in range(8):
        record = t.train_step()
    after = losses.generator_loss(t.discriminator(t.generator(z))).item()
    assert after < before and record["loss_d"] < 4


def test_resuming_with_other_settings_is_refused() -> None:
    t = trainer()
    with pytest.raises(PspnbError, match="this run has lr=0.002, not 0.001"):
        trainer(replace(TINY, lr=1e-3)).load_state(t.state())
    trainer(replace(TINY, log_every=7)).load_state(t.state())


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    t = trainer(replace(TINY, steps=100))
    step = t.train_step

    def poisoned() -> dict[str, float]:
        if t.step == 6:
            with torch.no_grad():
                next(t.generator.parameters()).fill_(float("nan"))
        return step()

    t.train_step = poisoned
    with pytest.raises(TrainingDiverged, match="not finite by step 6"):
        fit(t, tmp_path, about={}, progress=False, every=Every(checkpoint=3))
    from pspnb.training.checkpoint import load_checkpoint

    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert kept["step"] == 6 and all(bool(torch.isfinite(v).all()) for v in kept["generator"].values())


def test_a_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    def short() -> GanStepper:
        return trainer(replace(TINY, steps=2))

    assert fit(short(), tmp_path, about={}, progress=False).finished
    with pytest.raises(PspnbError, match="--resume"):
        fit(short(), tmp_path, about={}, progress=False)


def test_samples_log_and_shipping(tmp_path: Path) -> None:
    from PIL import Image

    config = replace(TINY, steps=4)
    t = trainer(config)
    fit(t, tmp_path / "run", about={}, progress=False, every=Every(log=2, pictures=2))
    with Image.open(tmp_path / "run" / "pictures" / "0000004.png") as image:
        assert image.size == (8 * 18 + 2, 8 * 18 + 2)
    log = read_journal(tmp_path / "run" / "log.jsonl")
    assert [line["step"] for line in log] == [2, 4] and all("loss_g" in line and "r1" in line for line in log)
    path = ship_generator(tmp_path / "run", name="tiny/generator", folder=tmp_path / "zoo")
    from safetensors.torch import load_file

    from pspnb.models.zoo import build

    card, tensors = json.loads(path.with_suffix(".json").read_text()), load_file(path)
    rebuilt = build(card["architecture"])
    average = tensors.pop("latent_avg").float()
    rebuilt.load_state_dict({k: v.float() for k, v in tensors.items()})
    assert card["steps"] == 4 and card["config"]["seed"] == 0
    assert torch.allclose(average, t.average.mean_latent(100_000), atol=2e-3)
    z = torch.randn(2, 8, generator=gen())
    assert torch.allclose(rebuilt(z), t.average(z), atol=0.02)


# ---- small parts ---------------------------------------------------------------------------------------------------


def test_order_shows_every_image_once_an_epoch_and_depends_on_nothing_else() -> None:
    epoch = torch.cat([batch_indices(20, 8, k, seed=3) for k in range(5)])
    assert sorted(epoch[:20].tolist()) == sorted(epoch[20:].tolist()) == list(range(20))
    assert epoch[:20].tolist() != epoch[20:].tolist()
    assert torch.equal(batch_indices(20, 8, 4, seed=3), epoch[32:])
    assert not torch.equal(batch_indices(20, 8, 4, seed=4), epoch[32:])


def test_learning_rate_schedule() -> None:
    assert held_then_cosine(0.2, 0.75, 0.1) == 1.0 and held_then_cosine(1.0, 0.75, 0.1) == pytest.approx(0.1)
    assert held_then_cosine(0.875, 0.75, 0.1) == pytest.approx(0.55) and held_then_cosine(1.0, 1.0, 0.1) == 1.0


def test_png_writer_is_read_back_exactly(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    sheet = grid(torch.rand(5, 3, 7, 9, generator=gen()) * 2 - 1, columns=3, gap=1)
    write_png(tmp_path / "a.png", sheet)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB" and np.array_equal(np.asarray(image), sheet)


# ---- studies -------------------------------------------------------------------------------------------------------


def test_the_noise_study_trains_compares_and_goes_on(tmp_path) -> None:
    from pspnb.measure.noise_study import WATCHED, draw, noise_study

    channels = ((4, 8), (8, 8), (16, 8), (32, 8), (64, 4))
    config = replace(TINY, size=64, channels=channels, d_channels=channels, steps=2)
    result = noise_study(tmp_path / "runs", tmp_path / "out", config=config, samples=40, n_images=40)
    assert list(result["rows"]) == ["without noise", "with noise", "switched off"]
    assert all(row["frechet"] > 0 and list(row["labels"]) == list(WATCHED) for row in result["rows"].values())
    assert (tmp_path / "out" / "samples.png").is_file()
    again = noise_study(tmp_path / "runs", tmp_path / "out", config=config, samples=40, n_images=40)
    assert again["rows"] == result["rows"]

    noisy = Generator(64, style_dim=8, n_mlp=1, channels=dict(channels))
    with torch.no_grad():
        for name, parameter in noisy.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(0.5)
    on, on_again = (draw(noisy, 3, noise=True, seed=1) for _ in range(2))
    off = draw(noisy, 3, noise=False, seed=1)
    assert torch.equal(on, on_again) and not torch.equal(on, off)
    with torch.no_grad():
        for name, parameter in noisy.named_parameters():
            if name.endswith("noise.weight"):
                parameter.zero_()
    torch.testing.assert_close(draw(noisy, 3, noise=True, seed=1), off)
