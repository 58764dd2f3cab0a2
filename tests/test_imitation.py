"""The trainer of the generator that imitates: its gradients, its learning, resumption to the bit, and shipping."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import pspnb
from pspnb.errors import PspnbError
from pspnb.files.pictures import to_levels
from pspnb.models.load import average_of
from pspnb.models.zoo import card
from pspnb.nn.instruments import PerceptualNet
from pspnb.training.callbacks import Callback
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.graphs import Replayed, keep_gradients
from pspnb.training.imitation import DETAILS, ImitationConfig, ImitationStepper
from pspnb.training.lessons import GrowingLessons, Lessons, draw_lessons, lesson_factors
from pspnb.training.loop import Every, fit
from pspnb.world2 import CLASSES, render
from pspnb.world2.prior import Z_DIM, draw_z, factors_of

CHANNELS = ((4, 16), (8, 16), (16, 16))
TINY = ImitationConfig(
    size=16, style_dim=16, n_mlp=2, hidden=32, channels=CHANNELS, d_channels=CHANNELS, n_images=64, steps=12, batch=8,
    adversarial_from=0.5, r1_every=2, bf16=False,
)  # fmt: skip


EACH = Every(log=1, pictures=0)


class StopAt(Callback):
    """As if someone had pressed Ctrl-C in this step."""

    def __init__(self, step: int):
        self.when = step

    def log(self, step: int, record: dict[str, float]) -> None:
        if step == self.when:
            os.kill(os.getpid(), signal.SIGTERM)


def drawn(*, seed: int = 0) -> Lessons:
    return draw_lessons(64, size=16, seed=seed)


@pytest.fixture(scope="module")
def lessons() -> Lessons:
    return drawn()


def perceptual() -> PerceptualNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PerceptualNet(widths=(8, 8, 8)).eval()


def trainer(lessons: Lessons, config: ImitationConfig = TINY) -> ImitationStepper:
    return ImitationStepper(config, lessons, perceptual())


def weights(t: ImitationStepper) -> list[torch.Tensor]:
    return [p.detach() for net in (t.generator, t.average, t.discriminator) for p in net.parameters()]


def test_lessons_are_a_function_of_their_seed(lessons) -> None:
    again = drawn()
    assert torch.equal(again.images, lessons.images) and torch.equal(again.numbers, lessons.numbers)
    assert torch.equal(again.labels, lessons.labels) and lessons.labels.max() > 10
    assert lessons.n_true == 32 and lessons.images.dtype == torch.uint8
    other = drawn(seed=1)
    assert not torch.equal(other.images, lessons.images)


def test_lessons_in_the_other_style(lessons) -> None:
    """The same factors drawn as a cartoon; a run keeps the style it began with, and one without a style is refused."""
    drawn = draw_lessons(16, size=16, style="cartoon")
    factors, _ = lesson_factors(16, even=0.5, seed=0)
    assert torch.equal(drawn.images, to_levels(render(factors, 16, style="cartoon").image))
    assert torch.equal(drawn.numbers, draw_lessons(16, size=16).numbers)
    photo, cartoon = trainer(lessons), trainer(lessons, replace(TINY, style="cartoon"))
    state = photo.state()
    with pytest.raises(PspnbError, match="style=photo, not cartoon"):
        cartoon.load_state(state)
    del state["config"]["style"]
    with pytest.raises(PspnbError, match="style=None, not photo"):
        photo.load_state(state)
    truth = cartoon.samples(8)[:8]
    expected = to_levels(render(factors_of(draw_z(8, seed=1)), 16, style="cartoon").image)
    assert torch.equal(to_levels(truth), expected)


def test_other_processes_render_the_same_lessons(lessons) -> None:
    apart = draw_lessons(64, size=16, workers=2)
    assert torch.equal(apart.images, lessons.images) and torch.equal(apart.labels, lessons.labels)
    growing = GrowingLessons(64, size=16, workers=1)
    with growing:
        assert min(growing.ready()) > 0
        for _ in range(100):
            if growing.ready(wait=0.1) == (32, 32):
                break
    assert torch.equal(growing.images, lessons.images) and torch.equal(growing.labels, lessons.labels)
    assert torch.equal(growing.numbers, lessons.numbers) and growing.n_true == lessons.n_true


def test_what_ends_the_renderers_is_said_where_lessons_are_asked_for(monkeypatch) -> None:
    from pspnb.training import lessons as module

    def broken(*_: object, **__: object):
        raise RuntimeError("no renderer")

    monkeypatch.setattr(module, "rendered", broken)
    with pytest.raises(RuntimeError, match="no renderer"), GrowingLessons(8, size=16, workers=1):
        pass


def test_taking_in_lessons_does_not_wait_for_more() -> None:
    """With renderers that never pause, `ready` returns once the queue has been empty, and it takes in what was there."""
    growing = GrowingLessons(64, size=16, workers=1)
    image, labels = np.full((16, 3, 16, 16), 7, np.uint8), np.full((16, 16, 16), 5, np.uint8)
    growing._made.put((slice(0, 16), image, labels))
    growing._made.put((slice(32, 48), image, labels))
    assert growing.ready(wait=5.0) == (16, 16) and int(growing.images[40].min()) == 7
    assert int(growing.labels[40].min()) == 5 and int(growing.labels[60].max()) == 0
    assert growing.ready() == (16, 16)


def test_lessons_come_back_from_their_file(lessons, tmp_path: Path) -> None:
    lessons.save(tmp_path / "lessons.safetensors")
    again = Lessons.load(tmp_path / "lessons.safetensors")
    assert torch.equal(again.images, lessons.images) and torch.equal(again.labels, lessons.labels)
    assert again.n_true == lessons.n_true


def test_the_gradient_is_that_of_the_losses_written_apart(lessons) -> None:
    """Imitation alone: L1 times 2, LPIPS form and a tenth of the cross entropy, weighted, by autograd on plain expressions."""
    t = trainer(lessons)
    inputs = t._draw(False, 0.0)
    t._compute(inputs, "imitate")
    got = [p.grad.clone() for p in t.generator.parameters()]
    x = inputs["x"].float() / 127.5 - 1
    w = t.generator.style.layers(inputs["numbers"])
    y, (last, _) = t.generator.synthesize(w), t.generator.features(w, upto=t.generator.n_convs)
    few = torch.isin(inputs["labels"].long(), torch.tensor([CLASSES.index(name) for name in DETAILS]))
    around = (
        F.conv2d(F.pad(few.float()[:, None], (1, 1, 1, 1)), torch.ones(1, 1, 3, 3)) > 0
    )  # themselves and their neighbours
    weight = torch.where(around, t.config.detail, 1.0)
    assert 0 < int(around.sum()) < around.numel() / 2
    chance = t.classes(last).log_softmax(1).gather(1, inputs["labels"].long()[:, None])
    maps = [
        ((a - b).square().sum(1, keepdim=True), F.avg_pool2d(weight, 16 // a.shape[-1]))
        for a, b in zip(t.perceptual.features(y), t.perceptual.features(x), strict=True)
    ]
    distance = torch.stack([(m * s).sum((1, 2, 3)) / s.sum((1, 2, 3)) for m, s in maps]).mean()
    average = lambda error: (error * weight).sum() / weight.sum()  # noqa: E731
    loss = 2 * average((y - x).abs().mean(1, keepdim=True)) + distance + 0.1 * average(-chance)
    for mine, theirs in zip(got, torch.autograd.grad(loss, list(t.generator.parameters())), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6)


def test_the_critics_share_of_the_gradient_has_its_weight(lessons) -> None:
    """d(total) - d(imitation) grows with the weight, and D's own gradient does not depend on it."""
    t = trainer(lessons)
    inputs = t._draw(True, 1.0)

    def gradients(weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        t.w_mean.zero_()
        t._compute(inputs | {"weight": torch.tensor(weight)}, "criticise")
        g = torch.cat([p.grad.flatten() for p in t.generator.parameters()])
        return g, torch.cat([p.grad.flatten() for p in t.discriminator.parameters()])

    (none, d0), (one, d1), (two, _) = (gradients(w) for w in (0.0, 0.1, 0.2))
    assert torch.allclose(two - none, 2 * (one - none), rtol=1e-2, atol=1e-6)
    assert float((one - none).norm()) > 1e-6
    assert torch.allclose(d0, d1, rtol=1e-4, atol=1e-7)


def test_it_learns_its_lessons(lessons) -> None:
    few = Lessons(lessons.images[:8], lessons.labels[:8], lessons.numbers[:8], 8)
    t = trainer(few, replace(TINY, steps=150, adversarial_from=1.0, lr=5e-3))
    losses = [float(t.train_step()["l1"]) for _ in range(150)]
    assert sum(losses[-10:]) < 0.35 * sum(losses[:10])


def test_fake_codes_are_mixed_between_and_near_the_mean(lessons) -> None:
    t = trainer(lessons)
    inputs = t._draw(True, 1.0)
    a, b = t.generator.style.layers(inputs["others"]).detach().chunk(2)
    half = len(a)
    kinds = torch.tensor([0.1, 0.6, 0.9, 0.9])[:half]
    strength = torch.tensor([0.5, 0.5, 0.6, 0.1])[:half]
    inputs |= {"u": torch.stack([kinds, strength, strength]), "crossover": torch.full((half,), 2)}
    codes = t._fake_codes(inputs).detach()
    assert torch.equal(codes[0, :2], a[0].expand(2, -1)) and torch.equal(
        codes[0, 2:], b[0].expand(len(codes[0]) - 2, -1)
    )
    assert torch.allclose(codes[1], ((a[1] + b[1]) / 2).expand_as(codes[1]), atol=1e-6)
    assert torch.allclose(codes[2], (t.w_mean + 0.5 * (a[2] - t.w_mean)).expand_as(codes[2]), atol=1e-6)
    assert torch.allclose(codes[3], t.w_mean.expand_as(codes[3]), atol=1e-6)


def test_a_resumed_run_ends_in_the_same_weights(lessons, tmp_path: Path) -> None:
    whole = trainer(lessons)
    fit(whole, tmp_path / "whole", about={}, progress=False, every=EACH)
    part = trainer(lessons)
    assert fit(part, tmp_path / "part", about={}, progress=False, every=EACH, callbacks=[StopAt(7)]).step == 7
    rest = trainer(lessons)
    fit(rest, tmp_path / "part", about={}, progress=False, resume=True, every=EACH)
    assert rest.step == 12
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(rest), strict=True))


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_imitation as t
from pathlib import Path
t.fit(t.trainer(t.drawn()), Path({out!r}), about={{}}, progress=False, resume=True, every=t.Every(log=1, pictures=0, checkpoint=2))
"""


def test_killed_at_any_moment_it_goes_on(lessons, tmp_path: Path) -> None:
    out = tmp_path / "run"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    }
    code = SCRIPT.format(tests=str(Path(__file__).parent), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    log = out / "log.jsonl"
    for _ in range(600):
        if log.exists() and log.read_text().count("\n") >= 5:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    t = trainer(lessons)
    fit(t, out, about={}, progress=False, resume=True, every=Every(log=1, pictures=0, checkpoint=2))
    whole = trainer(lessons)
    fit(whole, tmp_path / "whole", about={}, progress=False, every=EACH)
    assert all(torch.equal(a, b) for a, b in zip(weights(t), weights(whole), strict=True))
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_other_settings_are_refused_and_more_steps_are_not(lessons, tmp_path: Path) -> None:
    t = trainer(lessons, replace(TINY, steps=2))
    fit(t, tmp_path, about={}, progress=False, every=EACH)
    with pytest.raises(PspnbError, match="this run has lr=0.003, not 0.01"):
        trainer(lessons, replace(TINY, lr=0.01)).load_state(load_checkpoint(tmp_path / "checkpoint.pt"))
    longer = trainer(lessons, replace(TINY, steps=20))
    longer.load_state(load_checkpoint(tmp_path / "checkpoint.pt"))
    assert longer.step == 2


def test_a_budget_of_seconds_ends_the_schedule(lessons, tmp_path: Path) -> None:
    ticks = iter(range(10**6))
    t = ImitationStepper(
        replace(TINY, steps=10**6, seconds=50.0), lessons, perceptual(), clock=lambda: float(next(ticks))
    )
    assert fit(t, tmp_path, about={}, progress=False, every=Every(pictures=0)).finished
    assert t.finished() and 10 < t.step < 50
    assert t.learning_rate() < 0.1 * TINY.lr


def test_the_average_of_a_run_is_its_generator(lessons, tmp_path: Path) -> None:
    t = trainer(lessons, replace(TINY, steps=3))
    fit(t, tmp_path, about={}, progress=False, every=EACH)
    g = average_of(load_checkpoint(tmp_path / "checkpoint.pt"))
    z = draw_z(4, seed=0)
    with torch.no_grad():
        assert torch.equal(g(z), t.average(z))
    assert torch.equal(g.latent_avg, g.mean_latent(100_000, seed=0))


@pytest.mark.parametrize(("name", "value"), [("batch", 7), ("batch", 0), ("even", 1.0)])
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"expected .*{'even' if name == 'even' else 'batch'}"):
        replace(TINY, **{name: value})


# ---- replay --------------------------------------------------------------------------------------------------------


def test_on_a_cpu_a_replayed_step_just_runs() -> None:
    seen = []
    step = Replayed(lambda inputs: seen.append(inputs) or {"y": inputs["x"] + 1}, device="cpu")
    assert float(step({"x": torch.ones(())})["y"]) == 2 and len(seen) == 1


def test_kept_gradients_stay_in_place() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    (first,) = keep_gradients([p])
    (p.sum() * 2).backward()
    (again,) = keep_gradients([p])
    assert again is first and torch.equal(first, torch.full((3,), 2.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a replay needs CUDA")
def test_replayed_training_is_the_training(lessons) -> None:
    """Ten steps with and without recording, on a GPU: the same losses to bf16's rounding."""
    there = Lessons(lessons.images.cuda(), lessons.labels.cuda(), lessons.numbers.cuda(), lessons.n_true)
    runs = []
    for replay in (True, False):
        t = ImitationStepper(TINY, there, perceptual(), device="cuda")
        if not replay:
            t._steps = {kind: partial(t._compute, kind=kind) for kind in t._steps}
        runs.append([float(t.train_step()["l1"]) for _ in range(10)])
    assert torch.allclose(torch.tensor(runs[0]), torch.tensor(runs[1]), rtol=0.02)


# ---- from the shell to the zoo -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_from_the_shell_is_shipped_and_gone_on_with(tmp_path: Path, capsys) -> None:
    """Two steps at 64 px, from what is shipped; then the zoo's files of it, which a third run could start from."""
    from pspnb.cli import main
    from pspnb.shipping.generators import ship_discriminator, ship_generator

    command = [
        "train",
        "imitation",
        "--out",
        str(tmp_path / "run"),
        "--batch",
        "4",
        "--images",
        "16",
        "--device",
        "cpu",
    ]
    assert main([*command, "--steps", "2", "--init", "shipped"]) == 0
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 2 and state["images_before"] == card("world2/generator")["images"]
    assert main([*command, "--steps", "3", "--resume"]) == 0
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 3
    assert main([*command, "--steps", "3"]) == 2 and "continue it with" in capsys.readouterr().err
    ship_generator(tmp_path / "run", folder=tmp_path / "zoo")
    ship_discriminator(tmp_path / "run", folder=tmp_path / "zoo")
    about = json.loads((tmp_path / "zoo" / "world2_generator.json").read_text())
    assert about["images"] == state["images_before"] + 12 and about["world"] == 2
    assert (tmp_path / "zoo" / "world2_discriminator.safetensors").stat().st_size < 4_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0"], "expected seconds above 0"),
        (["--batch", "7"], "expected an even batch"),
        (["--lr", "0.1"], "not an option of imitation"),
        (["--scale", "facets1"], "no recipe for facets1"),
        (["identity"], "expected no name after imitation"),
    ],
)
def test_what_an_imitation_cannot_be_told(tmp_path: Path, capsys, options: list[str], message: str) -> None:
    from pspnb.cli import main

    name = [o for o in options if o == "identity"]
    rest = [o for o in options if o != "identity"]
    assert main(["train", "imitation", *name, "--out", str(tmp_path / "run"), "--device", "cpu", *rest]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_shipped_generator_draws_what_its_factors_say() -> None:
    """Nearer to the renderer's picture of the same z than to that of another one, for nearly all of 64."""
    g = pspnb.load_generator("world2/generator")
    z = draw_z(64, seed=77)
    truth = render(factors_of(z), 64).image
    with torch.no_grad():
        made = g(z)
    apart = torch.cdist(F.avg_pool2d(made, 4).flatten(1), F.avg_pool2d(truth, 4).flatten(1))
    assert float((apart.argmin(1) == torch.arange(64)).float().mean()) > 0.95
    assert g.z_dim == Z_DIM and float(g.latent_avg.abs().sum()) > 0
