"""Inversion by optimisation against things known otherwise: generated images, single images, a loop written out."""

import copy
import inspect
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from _tiny import tiny_psp

import pspnb
from pspnb.errors import PspnbError
from pspnb.inversion.optimise import Step, frozen, invert, learning_rate
from pspnb.losses import l2, w_norm
from pspnb.nn.instruments import PerceptualNet
from pspnb.nn.stylegan2 import Generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    """64 px, styles of 8 numbers, with noise layers: a step costs a few milliseconds."""
    psp = tiny_psp()
    psp.decoder.latent_avg.copy_(psp.latent_avg[0])
    with torch.no_grad():
        for layer in (psp.decoder.to_rgb1, *psp.decoder.to_rgbs):
            layer.conv.weight.mul_(0.1)  # untrained, it draws values of about 5
    return psp.decoder


@pytest.fixture(scope="module")
def perceptual() -> PerceptualNet:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return PerceptualNet(widths=(4, 4, 8)).eval()


def portraits(generator: Generator, n: int = 3, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """w+ with a vector of its own for each style, and what it draws."""
    z = torch.randn(n * generator.n_styles, generator.style_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        codes = generator.map(z).reshape(n, generator.n_styles, -1)
        return codes, generator.synthesize(codes)


# ---- the loss that is minimised ------------------------------------------------------------------------------------------


def test_first_loss_is_the_written_sum(generator, perceptual):
    """losses[0] is the published sum at the mean latent, from the library's own loss functions."""
    _, target = portraits(generator)
    start = generator.latent_avg.expand(3, 10, -1) + 0.3
    result = invert(generator, target, distance=perceptual, start=start, steps=1, w_norm=0.01)
    with torch.no_grad():
        drawn = generator.synthesize(start)
        expected = l2(drawn, target) + 0.8 * perceptual(drawn, target).mean()
        expected = expected + 0.01 * w_norm(start, generator.latent_avg.expand(10, -1))
    assert result.losses == pytest.approx([expected.item()], rel=1e-5)


def test_loss_belongs_to_the_codes_that_are_returned(generator, perceptual):
    _, target = portraits(generator)
    result = invert(generator, target, distance=perceptual, steps=12, lr=0.1)
    with torch.no_grad():
        drawn = generator.synthesize(result.codes)
        expected = (drawn - target).square().mean((1, 2, 3)) + 0.8 * perceptual(drawn, target)
    torch.testing.assert_close(result.images, drawn, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result.per_image, expected, atol=1e-6, rtol=1e-4)
    assert len(result.losses) == 12 and result.seconds > 0
    assert not result.codes.requires_grad and not result.images.requires_grad and not result.per_image.requires_grad


def test_equals_adam_written_out(generator):
    """Kingma and Ba's algorithm 1 by hand, gradients from autograd on one image at a time, the schedule from its formula."""
    _, target = portraits(generator, 2)
    steps, lr = 8, 0.05
    result = invert(generator, target, distance=None, lpips=0.0, steps=steps, lr=lr)
    for i in range(2):
        codes, m, v = generator.latent_avg.expand(1, 10, -1).clone(), 0.0, 0.0
        for k in range(1, steps + 1):
            leaf = codes.clone().requires_grad_()
            loss = F.mse_loss(generator.synthesize(leaf), target[i : i + 1])
            (slope,) = torch.autograd.grad(loss, leaf)
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            rate = learning_rate(k - 1, steps, lr)
            codes = codes - rate * (m / (1 - 0.9**k)) / ((v / (1 - 0.999**k)).sqrt() + 1e-8)
        torch.testing.assert_close(result.codes[i], codes[0], atol=1e-3, rtol=1e-3)


# ---- what it finds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["w_plus", "w"])
def test_finds_a_picture_that_the_generator_drew(generator, space):
    codes, target = portraits(generator)
    if space == "w":
        with torch.no_grad():
            target = generator.synthesize(codes[:, 0])
    result = invert(generator, target, distance=None, lpips=0.0, steps=80, lr=0.1, space=space)
    assert result.per_image.mean() < 0.1 * result.losses[0]
    assert (result.images - target).square().mean() < 0.1 * target.var()


def test_w_stays_in_w_and_w_plus_does_not(generator):
    _, target = portraits(generator)
    in_w = invert(generator, target, distance=None, lpips=0.0, steps=15, space="w")
    in_w_plus = invert(generator, target, distance=None, lpips=0.0, steps=15)
    assert in_w.codes.shape == in_w_plus.codes.shape == (3, 10, 8)
    assert torch.equal(in_w.codes, in_w.codes[:, :1].expand_as(in_w.codes))
    assert in_w_plus.codes.std(dim=1).mean() > 0.01
    assert in_w_plus.per_image.mean() < in_w.per_image.mean()


def test_a_batch_gives_what_each_image_gives_alone(generator):
    """In float64: in float32 rounding, which depends on the batch, can grow from step to step."""
    _, target = portraits(generator)
    precise, target = copy.deepcopy(generator).double(), target.double()
    options = {"distance": lambda a, b: F.avg_pool2d(a - b, 4).square().mean((1, 2, 3)), "steps": 10, "w_norm": 0.01}
    together = invert(precise, target, **options)
    for i in range(3):
        alone = invert(precise, target[i : i + 1], **options)
        torch.testing.assert_close(together.codes[i], alone.codes[0], atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(together.per_image[i], alone.per_image[0], atol=1e-8, rtol=1e-8)


def test_the_same_twice(generator, perceptual):
    _, target = portraits(generator)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = invert(generator, target, distance=perceptual, steps=6)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = invert(generator, target, distance=perceptual, steps=6)
    assert torch.equal(first.codes, second.codes) and first.losses == second.losses


@pytest.mark.parametrize("lr", [0.05, 3.0])
def test_never_worse_than_its_start(generator, lr):
    """A rate that is far too high included: the best codes on the way are returned."""
    codes, target = portraits(generator)
    start = codes + 0.05 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = (generator.synthesize(start) - target).square().mean((1, 2, 3))
    result = invert(generator, target, distance=None, lpips=0.0, start=start, steps=10, lr=lr)
    assert (result.per_image <= before * 1.0001).all()
    perfect = invert(generator, target, distance=None, lpips=0.0, start=codes, steps=5, lr=lr)
    assert torch.equal(perfect.codes, codes) and perfect.per_image.max() < 1e-9


def test_start_may_be_a_vector_of_w(generator):
    _, target = portraits(generator)
    start = generator.latent_avg.expand(3, -1)
    a = invert(generator, target, distance=None, lpips=0.0, start=start, steps=3)
    b = invert(generator, target, distance=None, lpips=0.0, steps=3)
    assert torch.equal(a.codes, b.codes)


def test_w_norm_holds_the_codes_near_the_mean(generator):
    _, target = portraits(generator)
    free, held = (invert(generator, target, distance=None, lpips=0.0, steps=30, lr=0.1, w_norm=k) for k in (0.0, 0.5))
    far, near = ((r.codes - generator.latent_avg).norm(dim=(1, 2)).mean() for r in (free, held))
    assert near < 0.5 * far
    assert torch.isfinite(held.codes).all()  # the norm's gradient at the mean itself is 0, not NaN


def test_a_larger_generator_is_pooled_to_the_targets(generator):
    _, target = portraits(generator)
    small = F.avg_pool2d(target, 2)
    result = invert(generator, small, distance=None, lpips=0.0, steps=40, lr=0.1)
    assert result.images.shape == (3, 3, 64, 64)
    torch.testing.assert_close(
        result.per_image, (F.avg_pool2d(result.images, 2) - small).square().mean((1, 2, 3)), atol=1e-6, rtol=1e-4
    )
    assert result.per_image.mean() < 0.5 * result.losses[0]


def test_a_generator_without_a_stored_mean_starts_from_the_mean_it_draws(generator):
    other = Generator(64, style_dim=8, n_mlp=2, channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 4})
    other.load_state_dict(generator.state_dict())
    assert not other.latent_avg.any()
    seen = []
    invert(other, torch.zeros(1, 3, 64, 64), distance=None, lpips=0.0, steps=1, callback=seen.append)
    torch.testing.assert_close(seen[0].codes[0], other.mean_latent().expand(10, -1))


# ---- what it leaves alone ----------------------------------------------------------------------------------------------------


def test_networks_are_left_as_found(generator, perceptual):
    generator.requires_grad_(True)
    generator.input.input.requires_grad_(False)
    asked = [p.requires_grad for p in generator.parameters()]
    weights = {k: v.clone() for k, v in generator.state_dict().items()}
    during = []

    def look(step: Step) -> None:
        during.extend(p.requires_grad for net in (generator, perceptual) for p in net.parameters())

    _, target = portraits(generator)
    invert(generator, target, distance=perceptual, steps=2, callback=look)
    assert during and not any(during)
    assert [p.requires_grad for p in generator.parameters()] == asked
    assert all(p.requires_grad for p in perceptual.parameters())
    assert all(p.grad is None for net in (generator, perceptual) for p in net.parameters())
    assert all(torch.equal(v, weights[k]) for k, v in generator.state_dict().items())


def test_networks_are_restored_after_an_error(generator):
    asked = [p.requires_grad for p in generator.parameters()]

    def fail(step: Step) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        invert(generator, torch.zeros(1, 3, 64, 64), distance=None, lpips=0.0, steps=2, callback=fail)
    assert [p.requires_grad for p in generator.parameters()] == asked


def test_frozen_passes_over_plain_functions():
    layer = torch.nn.Linear(2, 2)
    with frozen(layer, F.mse_loss, None):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(generator, mode):
    with mode():
        target = torch.zeros(1, 3, 64, 64)
        result = invert(generator, target, distance=None, lpips=0.0, steps=4, lr=0.1)
    assert result.per_image[0] < result.losses[0]
    assert not target.any()


def test_starts_and_targets_are_not_written_to(generator):
    codes, target = portraits(generator)
    copies = codes.clone(), target.clone()
    invert(generator, target, distance=None, lpips=0.0, start=codes + 0, steps=3)
    invert(generator, target, distance=None, lpips=0.0, start=codes, steps=3)
    assert torch.equal(codes, copies[0]) and torch.equal(target, copies[1])


def test_memory_does_not_grow_with_the_steps(generator):
    """No picture, and so no graph, outlives its step."""
    drawn: list[weakref.ref] = []
    alive = []

    def distance(images, target):
        alive.append(sum(ref() is not None for ref in drawn))
        drawn.append(weakref.ref(images))
        return (images - target).abs().mean((1, 2, 3))

    invert(generator, torch.zeros(2, 3, 64, 64), distance=distance, steps=4)
    assert len(alive) == 6 and not any(alive)


# ---- callback, target features, schedule -------------------------------------------------------------------------------------


def test_callback_sees_every_step(generator):
    _, target = portraits(generator)
    seen: list[Step] = []
    result = invert(generator, target, distance=None, lpips=0.0, steps=5, callback=seen.append)
    assert [s.index for s in seen] == [0, 1, 2, 3, 4]
    assert [s.losses.mean().item() for s in seen] == pytest.approx(result.losses)
    assert torch.equal(seen[0].codes, generator.latent_avg.expand(3, 10, -1))
    with torch.no_grad():
        torch.testing.assert_close(seen[4].images, generator.synthesize(seen[4].codes), atol=1e-5, rtol=1e-4)
    assert not any(t.requires_grad for s in seen for t in (s.codes, s.images, s.losses))


def test_target_features_are_computed_once(generator, perceptual, monkeypatch):
    _, target = portraits(generator)
    plain = invert(generator, target, distance=lambda a, b: perceptual(a, b), steps=4)
    calls = []
    original = perceptual.features
    monkeypatch.setattr(perceptual, "features", lambda images: calls.append(len(images)) or original(images))
    fast = invert(generator, target, distance=perceptual, steps=4)
    assert len(calls) == 1 + 4 + 2  # the target; the steps; the last codes, the best codes
    torch.testing.assert_close(fast.codes, plain.codes, atol=1e-4, rtol=1e-4)


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(i, 200, 0.1) for i in range(200)]
    assert min(rates) > 0 and max(rates) == 0.1
    assert rates[:10] == sorted(rates[:10]) and rates[0] < 0.01
    assert set(rates[10:150]) == {0.1}
    assert rates[150:] == sorted(rates[150:], reverse=True) and rates[-1] < 1e-4
    assert rates[175] == pytest.approx(0.05, rel=0.05)  # half-way down
    assert [learning_rate(i, 3, 1.0, warm_up=0.0, cool_down=0.0) for i in range(3)] == [1, 1, 1]
    assert learning_rate(0, 1, 1.0) > 0
    assert all(math.isfinite(rate) for rate in rates)


# ---- errors --------------------------------------------------------------------------------------------------------------------

GOOD = torch.zeros(2, 3, 64, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(2, 1, 64, 64)}, r"expected targets of shape \(b, 3, s, s\).*\(2, 1, 64, 64\)"),
        ({"targets": torch.zeros(2, 3, 48, 48)}, r"s = 64 or 64 / 2"),
        ({"targets": torch.zeros(2, 3, 128, 128)}, r"s = 64"),
        ({"targets": torch.zeros(2, 3, 64, 32)}, r"s = 64"),
        ({"targets": torch.zeros(0, 3, 64, 64)}, r"at least one target"),
        ({"targets": GOOD + 255}, r"values in \[-1, 1\]"),
        ({"targets": GOOD * torch.nan}, r"finite values"),
        ({"start": torch.zeros(3, 10, 8)}, r"one start for each of the 2 targets, got 3"),
        ({"start": torch.zeros(2, 18, 8)}, r"w_plus of shape \(b, 10, 8\)"),
        ({"start": torch.full((2, 10, 8), torch.inf)}, r"finite start"),
        ({"start": torch.eye(10, 8).expand(2, -1, -1), "space": "w"}, r"expected a start in W"),
        ({"steps": 0}, r"steps >= 1 and lr > 0, got steps=0"),
        ({"lr": -0.1}, r"got steps=2 and lr=-0.1"),
        ({"lpips": 0.8}, r"expected a distance"),
        ({"lr": 1e30}, r"smaller learning rate"),
    ],
)
def test_errors_say_what_was_expected(generator, change, message):
    arguments = {"targets": GOOD, "distance": None, "lpips": 0.0, "steps": 2, **change}
    with pytest.raises(ValueError, match=message) as error:
        invert(generator, **arguments)
    assert "\n" not in str(error.value)
    if "w_plus of shape" not in message:
        assert isinstance(error.value, PspnbError)


def test_unknown_space_is_refused(generator):
    unchecked = inspect.unwrap(invert)  # the tests' own type check would refuse it first
    with pytest.raises(ValueError, match="expected space 'w_plus' or 'w', got 'z'"):
        unchecked(generator, GOOD, distance=None, lpips=0.0, space="z")


# ---- the shipped generator -------------------------------------------------------------------------------------------------------


def test_shipped_generator_draws_a_portrait_again():
    """Twenty steps on a portrait of the test split lower the loss to under half of the mean latent's."""
    from pspnb import facets
    from pspnb.recipes.encoders import facets_losses

    generator = pspnb.load("facets64/generator")
    distance, _ = facets_losses()
    target = facets.render(facets.sample_factors("test", range(2)), 64).image
    result = invert(generator, target, distance=distance, steps=20, lr=0.1)
    assert (result.per_image < 0.5 * result.losses[0]).all()
