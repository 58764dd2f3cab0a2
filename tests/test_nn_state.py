"""The generator's state behind K convolutions: taken out and put back it changes nothing, to the bit."""

import inspect

import pytest
import torch
from _tiny import tiny_psp

from pspnb.nn.stylegan2 import Generator

KS = range(1, 10)


@pytest.fixture(scope="module")
def generator() -> Generator:
    """64 px, with noise layers of strength .05."""
    return tiny_psp().decoder.requires_grad_(False)


@pytest.fixture(scope="module")
def w(generator) -> torch.Tensor:
    return generator.map(torch.randn(20, 8, generator=torch.Generator().manual_seed(0))).reshape(2, 10, 8)


@pytest.mark.parametrize("noise", ["const", "random"])
@pytest.mark.parametrize("k", KS)
def test_the_own_state_changes_nothing(generator, w, k, noise):
    def draws():
        return torch.Generator().manual_seed(3)

    whole = generator.synthesize(w, noise=noise, generator=draws())
    feature, rgb = generator.features(w, upto=k, noise=noise, generator=draws())
    again = generator.synthesize(w, start=k, feature=feature, rgb=rgb, noise=noise, generator=draws())
    assert torch.equal(again, whole)
    assert feature.shape[1:] == generator.feature_shape(k)
    assert (None if rgb is None else tuple(rgb.shape[1:])) == generator.rgb_shape(k)
    if noise == "random":
        assert not torch.equal(whole, generator.synthesize(w))


@pytest.mark.parametrize("k", KS)
def test_which_styles_a_state_hides(generator, w, k):
    """Behind K convolutions the image hangs on the styles from K on; of those before on none, once the state is given."""
    feature, rgb = generator.features(w, upto=k)
    before = generator.synthesize(w, start=k, feature=feature, rgb=rgb)
    for i in range(10):
        other = w.clone()
        other[:, i] += 1
        after = generator.synthesize(other, start=k, feature=feature, rgb=rgb)
        assert torch.equal(after, before) == (i < k), f"style {i}"


@pytest.mark.parametrize("k", KS)
def test_a_state_is_what_the_layers_made(generator, w, k):
    """Against hooks on the layers of a whole pass: outputs of the k-th convolution and of the last ToRGB in front of it."""
    convs = [generator.conv1, *generator.convs]
    rgbs = [generator.to_rgb1, *generator.to_rgbs]
    seen = {}
    handles = [
        layer.register_forward_hook(lambda m, i, out, n=(kind, i_): seen.__setitem__(n, out))
        for kind, layers in (("conv", convs), ("rgb", rgbs))
        for i_, layer in enumerate(layers)
    ]
    generator.synthesize(w)
    for handle in handles:
        handle.remove()
    feature, rgb = generator.features(w, upto=k)
    assert torch.equal(feature, seen["conv", k - 1])
    fired = [i for i in range(len(rgbs)) if 2 * i + 1 < k]
    assert (rgb is None) == (not fired)
    if fired:
        assert torch.equal(rgb, seen["rgb", fired[-1]])


def test_without_rgb_the_lower_layers_are_black(generator, w):
    feature, rgb = generator.features(w, upto=3)
    dropped = generator.synthesize(w, start=3, feature=feature)
    black = generator.synthesize(w, start=3, feature=feature, rgb=torch.zeros_like(rgb))
    torch.testing.assert_close(dropped, black)
    assert not torch.allclose(dropped, generator.synthesize(w))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 0}, r"start in 1..9 with a feature"),
        ({"start": 10}, r"start in 1..9 with a feature.*64 px generator, got 10"),
        ({"start": 4}, r"feature of shape \(2, 8, 16, 16\) for start=4 and 2 codes, got \(2, 8, 8, 8\)"),
        ({"feature": None}, r"feature of shape \(2, 8, 8, 8\) for start=3 and 2 codes, got none"),
        ({"feature": torch.zeros(1, 8, 8, 8)}, r"feature of shape \(2, 8, 8, 8\).*got \(1, 8, 8, 8\)"),
        ({"rgb": torch.zeros(2, 3, 8, 8)}, r"rgb of shape \(2, 3, 4, 4\).*got \(2, 3, 8, 8\)"),
        ({"start": 1, "feature": torch.zeros(2, 8, 4, 4)}, r"rgb of shape None for start=1"),
    ],
)
def test_a_state_of_another_place_is_refused(generator, w, change, message):
    feature, rgb = generator.features(w, upto=3)
    unchecked = inspect.unwrap(Generator.synthesize)  # the tests' own type check would refuse some first
    with pytest.raises(ValueError, match=message):
        unchecked(generator, w, **{"start": 3, "feature": feature, "rgb": rgb, **change})


@pytest.mark.parametrize("k", [0, 10])
def test_there_is_no_state_outside_of_the_generator(generator, w, k):
    with pytest.raises(ValueError, match=rf"upto in 1..9 .* got {k}"):
        generator.features(w, upto=k)


@pytest.mark.slow
def test_at_1024_px_with_the_published_widths():
    """K = 5 of 17: a feature of 512 x 16 x 16, and the same picture behind it. Random weights."""
    g = Generator(1024, n_mlp=1).requires_grad_(False)
    w = torch.randn(1, 18, 512, generator=torch.Generator().manual_seed(0))
    feature, rgb = g.features(w, upto=5)
    assert g.n_convs == 17 and tuple(feature.shape) == (1, 512, 16, 16) and tuple(rgb.shape) == (1, 3, 8, 8)
    assert torch.equal(g.synthesize(w, start=5, feature=feature, rgb=rgb), g.synthesize(w))
