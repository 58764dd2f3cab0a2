"""Optimisation of codes and a feature together: better than codes alone, and what it leaves as it was."""

import pytest
import torch
import torch.nn.functional as F
from test_optimise import generator, perceptual, portraits  # noqa: F401  (fixtures)

from pspnb.errors import PspnbError
from pspnb.inversion.feature import invert_with_feature
from pspnb.inversion.optimise import invert
from pspnb.models.feature_style import FeatureStyle


@pytest.fixture(scope="module")
def target() -> torch.Tensor:
    """Smooth random pictures, which the generator never drew."""
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    return F.interpolate(coarse, size=64, mode="bilinear")


def test_beats_codes_alone(generator, perceptual, target):  # noqa: F811
    """From the same start, by the same steps: less than half of the loss, for each image."""
    alone = invert(generator, target, distance=perceptual, steps=40)
    both = invert_with_feature(generator, target, k=5, distance=perceptual, steps=40)
    assert both.losses[0] == pytest.approx(alone.losses[0])
    assert (both.per_image < 0.5 * alone.per_image).all()


@pytest.mark.parametrize("rgb", ["w", "none"])
def test_result_is_what_the_generator_draws(generator, target, rgb):  # noqa: F811
    found = invert_with_feature(generator, target, k=3, distance=None, lpips=0.0, steps=8, rgb=rgb, f_recon=0.1)
    with torch.no_grad():
        own, skip = generator.features(found.codes, upto=3)
        drawn = generator.synthesize(found.codes, start=3, feature=found.feature, rgb=skip if rgb == "w" else None)
        loss = (drawn - target).square().mean((1, 2, 3)) + 0.1 * (found.feature - own).square().mean((1, 2, 3))
    torch.testing.assert_close(found.images, drawn, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.per_image, loss, atol=1e-6, rtol=1e-4)


def test_f_recon_holds_the_feature_near_the_generators_own(generator, target):  # noqa: F811
    apart = []
    for weight in (0.0, 1.0):
        found = invert_with_feature(generator, target, k=3, distance=None, lpips=0.0, steps=25, f_recon=weight)
        own, _ = generator.features(found.codes, upto=3)
        apart.append((found.feature - own).square().mean())
    assert apart[1] < 0.2 * apart[0]


def test_begins_where_it_is_told_and_never_ends_worse(generator):  # noqa: F811
    """With the codes and the feature of a generated image there is nothing left to do."""
    codes, target = portraits(generator)
    with torch.no_grad():
        feature, _ = generator.features(codes, upto=4)
    seen = []
    options = {"k": 4, "distance": None, "lpips": 0.0, "steps": 3, "callback": seen.append}
    found = invert_with_feature(generator, target, start=codes, feature=feature, **options)
    assert found.per_image.max() < 1e-9 and torch.equal(found.codes, codes) and torch.equal(found.feature, feature)
    assert torch.equal(seen[0].feature, feature) and [s.index for s in seen] == [0, 1, 2]
    other = invert_with_feature(generator, target, start=codes, feature=feature + 1, lr=3.0, **options)
    assert (other.per_image <= other.losses[0] * 3 + 1e-6).all()


def test_only_the_feature_may_move(generator, target):  # noqa: F811
    """`feature_lr` is a rate of its own."""
    found = invert_with_feature(generator, target, k=3, distance=None, lpips=0.0, steps=5, lr=1e-12, feature_lr=0.1)
    torch.testing.assert_close(found.codes, generator.latent_avg.expand(2, 10, -1), atol=1e-6, rtol=0)
    assert found.per_image.mean() < found.losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, r"k in 1\.\.9 for a 64 px generator, got 0"),
        ({"k": 10}, r"k in 1\.\.9"),
        ({"feature": torch.zeros(2, 8, 4, 4)}, r"finite feature of shape \(2, 8, 8, 8\) for k=3, got \(2, 8, 4, 4\)"),
        ({"feature": torch.full((2, 8, 8, 8), torch.nan)}, r"finite feature"),
        ({"feature_lr": 0.0}, r"lr > 0"),
        ({"lpips": 0.8}, r"expected a distance"),
    ],
)
def test_errors_say_what_was_expected(generator, target, change, message):  # noqa: F811
    arguments = {"k": 3, "distance": None, "lpips": 0.0, "steps": 2, **change}
    with pytest.raises(PspnbError, match=message):
        invert_with_feature(generator, target, **arguments)


def test_takes_what_an_encoder_found(generator, target):  # noqa: F811
    """The hybrid: from a Feature-Style model's own w and F, never worse than the model."""
    from _tiny import tiny_feature_style

    model = FeatureStyle(tiny_feature_style(3).encoder, generator).eval().requires_grad_(False)
    w, feature = model.encode(target)
    found = invert_with_feature(generator, target, k=3, distance=None, lpips=0.0, start=w, feature=feature, steps=5)
    assert found.losses[0] == pytest.approx(float((model(target) - target).square().mean()), rel=1e-4)
    assert found.per_image.mean() < found.losses[0]
