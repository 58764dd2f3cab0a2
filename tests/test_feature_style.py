"""The Feature-Style encoder and its model: shapes for every k, equation 1, mixing, what is refused, a round trip through files."""

import inspect
import json

import pytest
import torch
import torch.nn.functional as F
from _tiny import SIZE, tiny_feature_style, tiny_psp

import pspnb
from pspnb.files.images import read_image, write_image
from pspnb.files.pictures import to_levels
from pspnb.models import zoo
from pspnb.models.feature_style import FeatureStyle
from pspnb.nn.feature_style import FeatureStyleEncoder, feature_map
from pspnb.shipping.zoo_file import ship


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture(scope="module")
def model() -> FeatureStyle:
    return tiny_feature_style().eval().requires_grad_(False)


# ---- the encoder -----------------------------------------------------------------------------------------------------------


def test_one_fully_connected_layer_for_each_style(model, x):
    """Style 4 read with its own rows of the matrix, from hand-made averages of the four stages' maps."""
    encoder = model.encoder
    pooled = torch.cat([m.mean((2, 3)) for m in encoder.stages(x)[1:]], dim=1)
    rows = slice(4 * 8, 5 * 8)
    expected = F.linear(pooled, encoder.latent.weight[rows], encoder.latent.bias[rows])
    torch.testing.assert_close(encoder(x)[0][:, 4], expected)


def test_pooling_to_more_than_one_cell_tells_places_apart(x):
    encoder = tiny_feature_style(pool=2).encoder.eval()
    assert encoder.latent.in_features == 4 * (8 + 8 + 16 + 16)
    whole = tiny_feature_style(pool=1).encoder.eval()
    assert whole.latent.in_features == 8 + 8 + 16 + 16
    assert encoder(x)[0].shape == whole(x)[0].shape == (3, 10, 8)


@pytest.mark.parametrize("k", range(1, 10))
@pytest.mark.parametrize("rgb", ["w", "none", "predicted"])
def test_every_k_draws(k, rgb, x):
    model = tiny_feature_style(k, rgb=rgb).eval()
    w, feature = model.encode(x)
    assert w.shape == (3, 10, 8) and tuple(feature.shape[1:]) == model.decoder.feature_shape(k)
    assert model(x).shape == (3, 3, 64, 64) and model(x, resize=32).shape == (3, 3, 32, 32)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        (64, 8, (3, 1)),  # k = 3 at 64 px: the penultimate stage's map, as it is
        (256, 16, (3, 2)),  # k = 5 at 256 px, as in the paper
        (64, 4, (3, 2)),
        (64, 16, (2, 1)),
        (64, 64, (0, 1)),
        (256, 4, (3, 8)),
    ],
)
def test_which_map_becomes_the_feature(size, side, expected):
    assert feature_map([size >> i for i in range(5)], side) == expected


def test_published_sizes():
    with torch.device("meta"):
        encoder = FeatureStyleEncoder(18)
        codes, feature = encoder(torch.zeros(2, 3, 256, 256))
    assert codes.shape == (2, 18, 512) and feature.shape == (2, 512, 16, 16)
    convolutions = [layer for layer in encoder.feature if isinstance(layer, torch.nn.Conv2d)]
    assert [c.stride for c in convolutions] == [(2, 2), (1, 1)] and convolutions[0].in_channels == 256


def test_branch_without_activation_is_linear(x):
    """Two convolutions with a batch norm between them, as the text has it: in evaluation mode a sum goes through."""
    for activation in (False, True):
        branch = tiny_feature_style(activation=activation).encoder.eval().feature
        a, b = torch.randn(2, 1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
        zero = branch(torch.zeros_like(a))
        error = (branch(a + b) - branch(a) - branch(b) + zero).abs().max()
        assert (error < 1e-5) == (not activation)


def test_bottleneck_is_the_width_between_the_convolutions():
    """Many images' F as vectors of 512 numbers span no more dimensions than the bottleneck has numbers (one more for the bias)."""
    given = torch.randn(100, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    ranks = {}
    for hidden in (1, None):
        encoder = tiny_feature_style(hidden=hidden, activation=False).encoder.double().eval()
        assert encoder.feature_numbers == (hidden or 8) * 64
        with torch.no_grad():
            ranks[hidden] = int(torch.linalg.matrix_rank(encoder.feature(given.double()).flatten(1)))
    assert ranks[1] <= 65 < ranks[None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_shape": (8, 128, 128)}, r"feature of at most 64 x 64.*got one of 128 x 128; choose a smaller k"),
        ({"pool": 5}, r"pool from 1 to 4.*got 5"),
        ({"rgb": "black"}, r"rgb 'w', 'none' or 'predicted', got 'black'"),
    ],
)
def test_encoder_arguments_are_checked(change, message):
    unchecked = inspect.unwrap(FeatureStyleEncoder.__init__)
    options = {"style_dim": 8, "input_size": 64, "units": (1,) * 4, "feature_shape": (8, 8, 8), **change}
    encoder = FeatureStyleEncoder.__new__(FeatureStyleEncoder)
    with pytest.raises(ValueError, match=message):
        unchecked(encoder, 10, **options)


# ---- the model ---------------------------------------------------------------------------------------------------------------


def test_codes_include_the_average_and_the_image_is_decoded_from_both(model, x):
    w, feature = model.encode(x)
    torch.testing.assert_close(w, model.encoder(x)[0] + model.latent_avg)
    assert torch.equal(model(x), model.decode(w, feature)) and torch.equal(model(x), model.invert(x))
    assert torch.equal(model.decode(w), model.decoder.synthesize(w))
    from_zero = FeatureStyle(model.encoder, model.decoder, start_from_latent_avg=False).eval()
    torch.testing.assert_close(from_zero.encode(x)[0], model.encoder(x)[0])


@pytest.mark.parametrize("rgb", ["w", "none", "predicted"])
@pytest.mark.parametrize("k", [1, 2, 3, 6, 9])
def test_the_generators_own_state_is_reproduced(k, rgb, x):
    """With F = G(w)^k an inversion that draws the skip from the codes is G(w) to the bit; the others lack the true skip."""
    model = tiny_feature_style(k, rgb=rgb).eval().requires_grad_(False)
    w, _ = model.encode(x)
    feature, skip = model.decoder.features(w, upto=k)
    same = torch.equal(model.decode(w, feature), model.decode(w))
    assert same == (rgb == "w" or k == 1)
    drawn = model.decoder.synthesize(w, start=k, feature=feature, rgb=model.rgb(w, feature, drawn=skip))
    assert torch.equal(drawn, model.decode(w, feature))


def test_equation_1(model, x):
    """F~ = F + G(w~)^k - G(w)^k, written with a second generator pass that stops at the k-th convolution."""
    direction, seen = torch.randn(10, 8, generator=torch.Generator().manual_seed(4)), []
    w, feature = model.encode(x)
    handle = model.decoder.convs[1].register_forward_hook(lambda module, given, out: seen.append(out))
    moved = w + 0.5 * direction
    model.decoder.synthesize(moved), model.decoder.synthesize(w)
    handle.remove()
    expected = feature + seen[0] - seen[1]
    torch.testing.assert_close(model.moved(feature, w, moved), expected)
    torch.testing.assert_close(model.edit(x, direction, 0.5), model.decode(moved, expected))
    assert not torch.allclose(model.edit(x, direction, 0.5), model.decode(moved, feature), atol=1e-3)


def test_no_edit_is_the_inversion_to_the_bit(model, x):
    assert torch.equal(model.edit(x, torch.ones(8), 0.0), model(x))


def test_an_edit_of_a_generated_image_known_exactly_is_the_generators_own(model):
    """If the encoder had found F = G(w)^k, equation 1 would give G(w~) itself."""
    w = model.decoder.to_w_plus(model.decoder.map(torch.randn(2, 8, generator=torch.Generator().manual_seed(0))))
    feature, _ = model.decoder.features(w, upto=3)
    after = w + 0.3
    torch.testing.assert_close(
        model.draw(after, feature, before=w), model.decoder.synthesize(after), atol=2e-4, rtol=1e-4
    )


def test_mixing_takes_the_feature_of_one_and_the_codes_of_the_other(model, x):
    a, b = x[:1], x[1:2]
    expected = model.decode(model.encode(b)[0], model.encode(a)[1])
    assert torch.equal(model.mix(a, b), expected)
    assert torch.equal(model.mix(a, a), model(a)) and not torch.equal(model.mix(a, b), model.mix(b, a))


def test_codes_below_k_matter_where_the_skip_is_drawn_from_them(x):
    """The paper says that the inversion does not use w up to K. That is so unless the skip comes from w."""
    for rgb in ("w", "none", "predicted"):
        model = tiny_feature_style(rgb=rgb).eval().requires_grad_(False)
        w, feature = model.encode(x)
        read = []
        for i in range(10):
            other = w.clone()
            other[:, i] += 1
            if not torch.equal(model.decode(other, feature), model.decode(w, feature)):
                read.append(i)
        assert read == ([0, 1] if rgb == "w" else []) + list(range(3, 10))
        assert model.numbers() == {"feature": 8 * 8 * 8, "codes": 8 * len(read)}


@pytest.mark.parametrize("k", range(1, 10))
def test_numbers_count_the_styles_that_are_read(k, x):
    model = tiny_feature_style(k, rgb="w", noise=False).eval().requires_grad_(False)
    w, feature = model.encode(x[:1])
    codes = w.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.decode(codes, feature).square().sum(), codes)
    assert model.numbers()["codes"] == 8 * int((gradient.abs().sum(2) > 0).sum())


def test_other_models_count_their_codes():
    assert tiny_psp().numbers() == {"feature": 0, "codes": 80}


def test_a_feature_of_another_generator_is_refused(model):
    with pytest.raises(ValueError, match=r"feature of 8 x 16 x 16, what .* behind convolution 4, got 8 x 8 x 8"):
        encoder = FeatureStyleEncoder(
            10, k=4, feature_shape=(8, 8, 8), style_dim=8, input_size=64, units=(1,) * 4, widths=(8,) * 5
        )
        FeatureStyle(encoder, model.decoder)
    with pytest.raises(ValueError, match=r"k in 0\.\.9, .* got 10"):
        encoder = FeatureStyleEncoder(
            10, k=10, feature_shape=(8, 64, 64), style_dim=8, input_size=64, units=(1,) * 4, widths=(8,) * 5
        )
        FeatureStyle(encoder, model.decoder)


def test_nan_is_refused(model, x):
    with pytest.raises(ValueError, match="expected finite pixel values"):
        model.encode(x * torch.nan)


# ---- files -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A zoo of two files: a generator, and a model whose card names it."""
    monkeypatch.setattr(zoo, "ZOO", tmp_path / "zoo")
    model = tiny_feature_style(2, rgb="predicted", noise=False).eval().requires_grad_(False)
    g = model.decoder
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())  # what a file of float16 holds
    model.latent_avg.copy_(g.latent_avg.expand(10, -1))
    options = {"size": 64, "style_dim": 8, "n_mlp": 2, "channels": g.channels, "noise": False}
    about = {"title": "tiny", "data": "none", "seed": 0, "steps": 0, "metrics": {}}
    tensors = {**g.state_dict(), "latent_avg": g.latent_avg}
    ship(
        "tiny/generator", tensors, {**about, "architecture": {"class": "Generator", "kwargs": options}}, folder=zoo.ZOO
    )
    encoder = {
        "n_styles": 10, "k": 2, "feature_shape": [8, 8, 8], "style_dim": 8, "input_size": 64, "units": [1, 1, 1, 1],
        "widths": [8, 8, 8, 16, 16], "rgb": "predicted",
    }  # fmt: skip
    kwargs = {
        "encoder": {"class": "FeatureStyleEncoder", "kwargs": encoder},
        "decoder": {"shipped": "tiny/generator"},
        "start_from_latent_avg": True,
    }
    architecture = {"class": "FeatureStyle", "kwargs": kwargs}
    tensors = {f"encoder.{key}": value for key, value in model.encoder.state_dict().items()}
    tensors["latent_avg"] = model.latent_avg
    generator = {"name": "tiny/generator", "sha256": zoo.card("tiny/generator")["sha256"]}
    card = {**about, "architecture": architecture, "task": "inversion", "generator": generator}
    ship("tiny/feature_style", tensors, card, folder=zoo.ZOO)
    return model


def test_round_trip_through_a_shipped_file(shipped, x):
    again = pspnb.load("tiny/feature_style")
    assert isinstance(again, FeatureStyle) and not again.training and again.task == "inversion"
    assert (again.k, again.encoder.rgb) == (2, "predicted")
    for a, b in zip(again.encode(x), shipped.encode(x), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(again(x), shipped(x))
    assert torch.equal(pspnb.load_generator("tiny/feature_style").input.input, shipped.decoder.input.input)


def test_translate_takes_it_like_any_model(shipped, tmp_path, x):
    """Inversion, and an edit along a direction: the pictures are those of the model."""
    from safetensors.torch import load_file, save_file

    from pspnb.cli import main

    for i, picture in enumerate(x):
        write_image(picture_of(picture), tmp_path / "in" / f"{i}.png")
    direction = torch.randn(10, 8, generator=torch.Generator().manual_seed(4))
    save_file({"smile": direction}, tmp_path / "smile.safetensors")
    common = ["translate", "--model", "tiny/feature_style", "--input", f"{tmp_path}/in", "--device", "cpu"]
    assert main([*common, "--output", f"{tmp_path}/out", "--codes", f"{tmp_path}/codes.safetensors"]) == 0
    edit = ["--direction", f"{tmp_path}/smile.safetensors", "--strength", "0.5"]
    assert main([*common, "--output", f"{tmp_path}/edited", *edit]) == 0
    levels = torch.stack([torch.tensor(read(tmp_path / "in" / f"{i}.png")) for i in range(3)])
    seen = levels.permute(0, 3, 1, 2).float().div(127.5).sub(1)
    for folder, expected in (("out", shipped(seen)), ("edited", shipped.edit(seen, direction, 0.5))):
        for i, picture in enumerate(to_levels(expected)):
            written = torch.tensor(read(tmp_path / folder / f"{i}.png")).permute(2, 0, 1)
            assert (written.int() - picture.int()).abs().max() <= 1
    codes = load_file(tmp_path / "codes.safetensors")
    torch.testing.assert_close(codes["1"], shipped.encode(seen)[0][1], atol=1e-5, rtol=1e-5)


def test_evaluate_takes_it_like_any_model(shipped, tmp_path, x):
    from pspnb.measure.evaluate_encoder import evaluate_model

    found = evaluate_model(shipped, to_levels(x), judge=None, distance=None)
    expected = (
        shipped(to_levels(x).float().div(127.5).sub(1)).clamp(-1, 1) - to_levels(x).float() / 127.5 + 1
    ).square()
    assert found.metrics["mse"]["value"] == pytest.approx(float(expected.mean()), rel=1e-4)
    json.dumps(found.metrics)


def read(path):
    import numpy as np

    return np.array(read_image(path))


def picture_of(x):
    from pspnb.files.images import to_image

    return to_image(x)
