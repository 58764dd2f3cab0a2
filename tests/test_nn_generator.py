"""Generator and discriminator: golden vectors, published keys, errors, second derivation."""

import numpy as np
import pytest
import torch
from _golden import assert_close, fill_module, gauss, golden, golden_keys, pieces
from _second import synthesize_per_sample

from pspnb.nn.discriminator import Discriminator, minibatch_stddev
from pspnb.nn.stylegan2 import Generator, n_styles_for, noise_shapes


def key_table(module: torch.nn.Module) -> dict[str, list]:
    return {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in module.state_dict().items()}


@pytest.mark.parametrize("size", [64, 128, 256, 512, 1024])
def test_generator_keys(size):
    with torch.device("meta"):
        ours = key_table(Generator(size))
    assert list(ours.items()) == list(golden_keys(f"generator_{size}").items())  # order too


def test_generator_keys_cm1():
    with torch.device("meta"):
        assert key_table(Generator(256, channel_multiplier=1)) == golden_keys("generator_256_cm1")


def test_discriminator_keys():
    with torch.device("meta"):
        d = Discriminator(1024)
    assert list(key_table(d).items()) == list(golden_keys("discriminator_1024").items())
    assert sum(p.numel() for p in d.parameters()) == 29_012_513


@pytest.mark.parametrize("size", [64, 256, pytest.param(1024, marks=pytest.mark.slow)])
def test_generator_golden(size):
    data, n = golden(f"generator_{size}"), n_styles_for(size)
    g = fill_module(Generator(size))
    compared = set()

    def check(img: torch.Tensor, name: str):
        for key, value in pieces(img, name).items():
            assert_close(value, data[key])
            compared.add(key)

    with torch.no_grad():
        w = g.map(gauss(f"gz{size}", (2, 512)))
        assert_close(w, data["mapping_w"], rms=2e-5)
        compared.add("mapping_w")
        check(g.synthesize(gauss(f"gw{size}", (1, n, 512))), "wplus_bufnoise")
        if size < 1024:
            check(g.synthesize(gauss(f"gw2{size}", (1, 512))), "w2d_bufnoise")
            g.latent_avg.copy_(gauss(f"gwavg{size}", (1, 512))[0] * np.float32(0.3))
            z = gauss(f"gz{size}", (2, 512))[:1]
            check(g(z, truncation=0.7), "z_trunc07")
            noise = [gauss(f"gn{size}_{i}", s) for i, s in enumerate(noise_shapes(size))]
            check(g.synthesize(gauss(f"gw{size}", (1, n, 512)), noise=noise), "wplus_explicitnoise")
            mixed = g.mix(g.map(z), g.map(gauss(f"gz2{size}", (2, 512))[:1]), 5)
            assert_close(mixed[:, ::3, :64], data["zmix_latent"])
            compared.add("zmix_latent")
            check(g.synthesize(mixed), "zmix_idx5")
    assert compared == set(data) - {"grad_w_of_mean_sq"}


def test_generator_gradient_golden():
    g = fill_module(Generator(64)).requires_grad_(False)
    w = gauss("gw64", (1, 10, 512)).requires_grad_()
    g.synthesize(w).square().mean().backward()
    expected = golden("generator_64")["grad_w_of_mean_sq"]
    error = np.abs(w.grad.numpy() - expected)
    assert error.max() <= 1e-4 * np.abs(expected).max()


def small(**kwargs) -> Generator:
    torch.manual_seed(0)
    g = Generator(32, style_dim=16, n_mlp=2, channels={4: 12, 8: 12, 16: 8, 32: 4}, **kwargs)
    for name, p in g.named_parameters():
        if "noise" in name or name.endswith("activate.bias"):
            torch.nn.init.normal_(p, std=0.3)
    return g.eval()


def test_equals_per_sample_weight_form():
    g, w = small(), torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(g.synthesize(w), synthesize_per_sample(g.state_dict(), w), atol=1e-5, rtol=1e-5)


def test_noise_modes():
    g, w = small(), torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        const = g.synthesize(w)
        assert torch.equal(const, g.synthesize(w))
        a = g.synthesize(w, noise="random", generator=torch.Generator().manual_seed(3))
        b = g.synthesize(w, noise="random", generator=torch.Generator().manual_seed(3))
        assert torch.equal(a, b) and not torch.allclose(a, const)
    with pytest.raises(ValueError, match="list of 7 maps"):
        g.synthesize(w, noise=[torch.zeros(1, 1, 4, 4)])
    with pytest.raises(ValueError, match=r"noise map 1 of shape \(1, 1, 8, 8\)"):
        g.synthesize(w, noise=[torch.zeros(1, 1, 4, 4)] * 7)


def test_without_noise_layers():
    g = small(noise=False)
    assert not [k for k in g.state_dict() if "noise" in k]
    assert g(torch.randn(1, 16)).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="without noise layers"):
        g.synthesize(torch.randn(1, 16), noise=[torch.zeros(1, 1, 4, 4)])


def test_mean_latent_is_seeded_and_does_not_touch_the_global_generator():
    g = small()
    state = torch.get_rng_state()
    first = g.mean_latent(5000, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, g.mean_latent(5000, seed=1)) and not torch.equal(first, g.mean_latent(5000, seed=2))
    z = torch.randn(5000, 16, generator=torch.Generator().manual_seed(1))
    assert first.shape == (16,) and z.shape[0] == 5000


def test_truncation_ends():
    g = small()
    g.latent_avg.copy_(torch.randn(16, generator=torch.Generator().manual_seed(4)))
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(g.map(z, truncation=0.0), g.latent_avg.expand(3, -1))
    torch.testing.assert_close(g.map(z, truncation=0.5), (g.map(z) + g.latent_avg) / 2)


def test_wrong_shapes_say_what_was_expected():
    g = small()
    with pytest.raises(ValueError, match=r"w_plus of shape \(b, 8, 16\) for a 32 px generator, got \(2, 9, 16\)"):
        g.synthesize(torch.zeros(2, 9, 16))
    with pytest.raises(ValueError, match=r"z of shape \(b, 16\), got \(2, 15\)"):
        g.map(torch.zeros(2, 15))
    with pytest.raises(ValueError, match=r"crossover in 0\.\.8, got 9"):
        g.mix(torch.zeros(1, 16), torch.zeros(1, 16), 9)
    with pytest.raises(ValueError, match="power of two"):
        Generator(100)
    with pytest.raises(ValueError, match=r"missing \[32\]"):
        Generator(32, channels={4: 8, 8: 8, 16: 8})


def test_autocast_bf16_stays_close():
    g, w = small(), torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = g.synthesize(w)
        with torch.autocast("cpu", torch.bfloat16):
            y = g.synthesize(w)
    assert y.dtype == torch.float32
    assert (y - exact).square().mean().sqrt() < 0.03 * exact.std()


def test_minibatch_stddev_by_loops():
    x = torch.randn(8, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    y = minibatch_stddev(x)
    for n in range(2):  # image i belongs to group i mod (b / 4)
        group = x[n::2]
        expected = (group.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[n::2, 5], expected.expand(4, 4, 4))
    assert torch.equal(y[:, :5], x)


def test_discriminator_gradients_reach_every_weight():
    torch.manual_seed(0)
    d = Discriminator(32, channels={4: 8, 8: 8, 16: 8, 32: 8})
    d(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in d.parameters())
    with pytest.raises(ValueError, match=r"\(b, 3, 32, 32\)"):
        d(torch.randn(1, 3, 64, 64))
