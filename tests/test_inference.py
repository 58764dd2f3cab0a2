"""Networks prepared for inference compute what the ordinary ones compute."""

import pytest
import torch
import torch.nn.functional as F
from _files import tiny_generator, tiny_psp
from _golden import fill_module

from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.inference import for_inference
from pspnb.nn.winograd import POINTS, Winograd, matrices

CHANNELS = {4: 24, 8: 20, 16: 16, 32: 12, 64: 8}
UNITS, WIDTHS = (1, 2, 1, 1), (8, 8, 12, 16, 24)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    assert b.std() > 1e-3
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@torch.no_grad()
def test_generators() -> None:
    g = tiny_generator(64, channels=CHANNELS)
    fast, w = for_inference(g), normal(3, g.n_styles, g.style_dim)
    maps = [normal(3, *m.shape[1:], seed=i) for i, m in enumerate(g.noises.buffers())]
    for noise in ("const", maps):
        same(fast.synthesize(w, noise=noise), g.synthesize(w, noise=noise))
    random = [n.synthesize(w, noise="random", generator=torch.Generator().manual_seed(1)) for n in (fast, g)]
    same(*random)
    feature, rgb = fast.features(w, upto=4)
    same(g.synthesize(w, start=4, feature=feature, rgb=rgb), g.synthesize(w))
    same(fast(normal(2, g.z_dim), truncation=0.7), g(normal(2, g.z_dim), truncation=0.7))
    silent = tiny_generator(32, noise=False)
    same(for_inference(silent).synthesize(w[:, : silent.n_styles]), silent.synthesize(w[:, : silent.n_styles]))


@torch.no_grad()
def test_the_small_generator_has_every_kind_of_layer() -> None:
    """With and without up-sampling, styles in the weights and in the activations."""
    kinds = set()
    fast = for_inference(tiny_generator(64, channels=CHANNELS))
    for layer in fast.convs:
        layer.register_forward_pre_hook(lambda m, args: kinds.add((m.up, m.scaled.numel() <= args[0][:1].numel())))
    fast.synthesize(normal(2, fast.n_styles, fast.style_dim))
    assert kinds == {(up, in_weights) for up in (True, False) for in_weights in (True, False)}


@torch.no_grad()
@pytest.mark.parametrize("mode", ["ir", "ir_se"])
@pytest.mark.parametrize("packed", [True, False])
def test_encoders(monkeypatch, mode, packed) -> None:
    if not packed:
        monkeypatch.setattr("pspnb.nn.inference.has_onednn", lambda: False)
        monkeypatch.setattr("pspnb.nn.winograd.has_onednn", lambda: False)
    net = dict(units=UNITS, widths=WIDTHS, mode=mode, input_size=64)
    for encoder in (
        GradualStyleEncoder(10, style_dim=16, last_channels=20, **net),
        WEncoder(style_dim=16, **net),
        NaiveWPlusEncoder(10, style_dim=16, bottleneck=16, pool=2, **net),
        FaceEmbedder(embedding_dim=16, **net),
    ):
        fill_module(encoder)
        x, fast = normal(2, 3, 64, 64), for_inference(encoder)
        for _ in range(3):  # the second call lays out the weights
            same(fast(x), encoder(x))


@torch.no_grad()
def test_a_model_is_left_as_it_was() -> None:
    psp = tiny_psp().train()
    state = {name: value.clone() for name, value in psp.state_dict().items()}
    size = psp.encoder.input_size
    x, w = normal(2, 3, size, size), normal(1, psp.n_styles, psp.decoder.style_dim)
    fast = for_inference(psp)
    assert (
        type(fast) is type(psp)
        and all(m.training for m in psp.modules())
        and not any(m.training for m in fast.modules())
    )
    psp.eval()
    same(fast(x), psp(x))
    same(
        fast(x, latent_mask=[3, 4], inject_latent=w, alpha=0.5), psp(x, latent_mask=[3, 4], inject_latent=w, alpha=0.5)
    )
    assert all(torch.equal(value, state[name]) for name, value in psp.state_dict().items())
    shared = {p.data_ptr() for p in psp.parameters()} & {p.data_ptr() for p in fast.parameters()}
    assert shared, "the mapping network is not copied"


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="expected float32 weights on a CPU, got torch.float64 on cpu for "):
        for_inference(tiny_generator(32).double())


@pytest.mark.parametrize("points", [POINTS, (0.0, 1.0, -1.0, 2.0, -2.0), (3.0, -1.0, 0.5, 7.0, -4.0)])
def test_winograd_is_exact_for_any_points(points) -> None:
    b, g, a = matrices(points)
    d, taps = normal(6).double(), normal(3, seed=1).double()
    expected = torch.stack([d[i : i + 3] @ taps for i in range(4)])
    torch.testing.assert_close(a @ ((g @ taps) * (b @ d)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("packed", [True, False])
def test_winograd_convolution(monkeypatch, packed) -> None:
    if not packed:
        monkeypatch.setattr("pspnb.nn.winograd.has_onednn", lambda: False)
    x, weight = normal(1, 5, 8, 12).contiguous(memory_format=torch.channels_last), normal(7, 5, 3, 3, seed=1)
    same(Winograd(weight)(x), F.conv2d(x, weight, padding=1))


@torch.no_grad()
def test_winograd_inside_the_networks(monkeypatch) -> None:
    """The same networks, with Winograd's form wherever it is possible."""
    monkeypatch.setattr("pspnb.nn.inference.WINOGRAD_CHANNELS", 1)
    monkeypatch.setattr("pspnb.nn.inference.WINOGRAD_PIXELS", 1)
    calls = []
    form = Winograd.__call__
    monkeypatch.setattr(Winograd, "__call__", lambda self, x: calls.append(x.shape) or form(self, x))
    g = tiny_generator(64, channels=CHANNELS)
    w = normal(2, g.n_styles, g.style_dim)
    same(for_inference(g).synthesize(w), g.synthesize(w))
    assert len(calls) == 2 * 5
    encoder = fill_module(WEncoder(style_dim=16, units=UNITS, widths=WIDTHS, input_size=64))
    x, fast = normal(2, 3, 64, 64), for_inference(encoder)
    for _ in range(2):
        same(fast(x), encoder(x))
    assert len(calls) == 2 * 5 + 2 * 6, "from the second call on"
