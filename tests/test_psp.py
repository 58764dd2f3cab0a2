"""PSP: the official forward's semantics against the golden vectors, and what we do differently on purpose."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _golden import assert_close, fill_module, gauss, golden, image, pieces

from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.stylegan2 import Generator


def check(compared: set, data: dict, case: str, img: torch.Tensor, codes: torch.Tensor | None = None):
    found = {k: v for k, v in pieces(img, case).items()}
    if codes is not None:
        found[f"{case}_latent"] = codes
    for key, value in found.items():
        assert_close(value, data[key])
        compared.add(key)


@pytest.mark.slow
def test_forward_golden():
    data, compared = golden("psp_forward"), set()
    avg = gauss("pspavg64", (10, 512)) * np.float32(0.5)
    psp = PSP(fill_module(GradualStyleEncoder(10)), fill_module(Generator(64)), latent_avg=avg).eval()
    x = torch.stack([image(f"psp{i}", 3, 256, 256) for i in range(2)])
    inject, mask, z = gauss("pspinj", (1, 10, 512)), data["mask"].tolist(), gauss("pspz", (1, 512))
    with torch.no_grad():
        check(compared, data, "plain", *psp(x, return_codes=True))
        first = x[:1]
        check(compared, data, "resized", psp(first, resize=256))
        check(compared, data, "mask_zero", *psp(first, latent_mask=mask, return_codes=True))
        check(compared, data, "mask_inject", *psp(first, latent_mask=mask, inject_latent=inject, return_codes=True))
        blended = psp(first, latent_mask=mask, inject_latent=inject, alpha=0.3, return_codes=True)
        check(compared, data, "mask_inject_alpha03", *blended)
        codes = psp.from_z(z)
        check(compared, data, "code_z", psp.decode(codes), codes)
        code = gauss("pspcode", (1, 10, 512))
        check(compared, data, "decoder_direct_wplus", psp.decode(code, resize=256), code)
        check(compared, data, "mix_from_z", *psp(first, latent_mask=mask, inject_latent=codes, return_codes=True))
        psp.start_from_latent_avg = False
        check(compared, data, "no_avg", *psp(first, return_codes=True))
    rest = {k for k in data if not k.startswith(("learn_in_w", "into_wplus"))} - {"mask", "size"} - compared
    assert not rest, f"arrays that were not compared: {sorted(rest)}"


@pytest.mark.parametrize("case", ["learn_in_w", "into_wplus"])
def test_baseline_forward_golden(case):
    data, compared = golden("psp_forward"), set()
    if case == "learn_in_w":
        encoder, size, avg = WEncoder(), 64, gauss("pspavg64", (1, 512))
    else:
        encoder, size, avg = NaiveWPlusEncoder(8), 32, gauss("pspavg32", (8, 512))
    psp = PSP(fill_module(encoder), fill_module(Generator(size)), latent_avg=avg * np.float32(0.5)).eval()
    keys = {k for k in data if k.startswith(case)}
    n = data[f"{case}_latent"].shape[0]
    x = torch.stack([image(f"psp{i}", 3, 256, 256) for i in range(n)])
    with torch.no_grad():
        y, codes = psp(x, return_codes=True)
        if f"{case}_full" not in keys:
            y = F.adaptive_avg_pool2d(y, 256)
        check(compared, data, case, y, codes)
    assert compared == keys


@pytest.fixture(scope="module")
def psp() -> PSP:
    torch.manual_seed(0)
    encoder = GradualStyleEncoder(
        10, style_dim=16, input_size=64, units=(1,) * 4, widths=(8, 8, 8, 8, 16), head_channels=8
    )
    decoder = Generator(64, style_dim=16, n_mlp=2, channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 8})
    avg = torch.randn(16, generator=torch.Generator().manual_seed(1))
    return PSP(encoder, decoder, latent_avg=avg).eval().requires_grad_(False)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_latent_avg_is_a_buffer_that_moves_and_is_saved(psp):
    assert "latent_avg" in psp.state_dict() and psp.latent_avg.shape == (10, 16)
    assert torch.equal(psp.latent_avg[0], psp.latent_avg[9])
    for shape in [(10, 16), (1, 16), (16,)]:
        assert PSP(psp.encoder, psp.decoder, latent_avg=torch.zeros(shape)).latent_avg.shape == (10, 16)
    with pytest.raises(ValueError, match=r"latent_avg of shape \(10, 16\), got \(9, 16\)"):
        PSP(psp.encoder, psp.decoder, latent_avg=torch.zeros(9, 16))


def test_encode_includes_the_average_and_decode_inverts_nothing(psp, x):
    codes = psp.encode(x)
    torch.testing.assert_close(codes, psp.encoder(x) + psp.latent_avg)
    torch.testing.assert_close(psp(x), psp.decode(codes))
    assert psp(x, resize=32).shape == (3, 3, 32, 32)


def test_mixing_a_w_encoder_replaces_styles_not_columns(x):
    """Published: with two-dimensional codes the mask indexes columns of w. Here it always means styles."""
    torch.manual_seed(0)
    encoder = WEncoder(style_dim=16, input_size=64, units=(1,) * 4, widths=(8,) * 5)
    model = PSP(encoder, Generator(64, style_dim=16, n_mlp=1, channels=dict.fromkeys((4, 8, 16, 32, 64), 8))).eval()
    inject = torch.ones(1, 10, 16)
    _, codes = model(x, latent_mask=[2, 9], inject_latent=inject, return_codes=True)
    assert torch.equal(codes[:, [2, 9]], torch.ones(3, 2, 16)) and torch.equal(codes[:, 0], codes[:, 8])


def test_mix_leaves_its_arguments_alone(psp, x):
    codes = psp.encode(x)
    before = codes.clone()
    psp.mix(codes, [0, 1])
    psp.mix(codes, [0, 1], torch.zeros(1, 10, 16), alpha=0.5)
    assert torch.equal(codes, before)


def test_styles_without_a_replacement_become_zero(psp, x):
    """As published; the others stay."""
    codes = psp.encode(x)
    mixed = psp.mix(codes, [0, 9])
    assert (mixed[:, [0, 9]] == 0).all() and torch.equal(mixed[:, 1:9], codes[:, 1:9])


def test_alpha_is_the_share_of_the_replacement(psp, x):
    codes, inject = psp.encode(x), torch.ones(1, 10, 16)
    mixed = psp.mix(codes, [3], inject, alpha=0.25)
    torch.testing.assert_close(mixed[:, 3], 0.25 + 0.75 * codes[:, 3])


@pytest.mark.parametrize("shape", [(10, 10, 16), (1, 11, 16), (1, 9, 16)])
def test_replacements_of_another_shape_are_refused(psp, x, shape):
    """Ten codes for three images as well, though ten is the number of styles."""
    with pytest.raises(ValueError, match=r"expected inject_latent of shape \(3, 10, 16\), got \(1"):
        psp.mix(psp.encode(x), [0], torch.zeros(shape))


def test_sample(psp, x):
    ys = psp.sample(x, n=4, layers=range(7, 10), seed=1)
    assert ys.shape == (3, 4, 3, 64, 64)
    fewer = psp.sample(x, n=2, layers=range(7, 10), seed=1)  # output k does not depend on n
    torch.testing.assert_close(ys[:, :2], fewer, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ys[1:2], psp.sample(x[1:2], n=4, layers=range(7, 10), seed=1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ys[:, 0], ys[:, 1])
    same = psp.sample(x, n=1, layers=[7], alpha=0.0)[:, 0]
    torch.testing.assert_close(same, psp(x), atol=1e-5, rtol=1e-5)


def test_bad_input(psp, x):
    with pytest.raises(ValueError, match=r"latent_mask entries in 0\.\.9, got \[10, -1\]"):
        psp(x, latent_mask=[3, 10, -1])
    with pytest.raises(ValueError, match=r"inject_latent of shape \(3, 10, 16\)"):
        psp(x, latent_mask=[3], inject_latent=torch.zeros(1, 9, 16))
    with pytest.raises(ValueError, match=r"w_plus of shape \(b, 10, 16\)"):
        psp.decode(torch.zeros(1, 9, 16))
    x[1, 0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="finite pixel values"):
        psp.encode(x)


def test_no_gradient_for_a_frozen_decoder(psp, x):
    model = PSP(psp.encoder.requires_grad_(True), psp.decoder, latent_avg=psp.latent_avg)
    model(x).square().mean().backward()
    assert all(p.grad is None for p in model.decoder.parameters())
    assert all(p.grad is not None for p in model.encoder.parameters())
    psp.requires_grad_(False)


@pytest.mark.slow
def test_the_whole_model_becomes_a_graph(psp):
    """torch.export with any batch size, and torch.jit.trace: the same pictures, the check of the input left out."""
    psp.eval().requires_grad_(False)
    x = torch.rand(
        2, psp.encoder.in_channels, psp.input_size, psp.input_size, generator=torch.Generator().manual_seed(0)
    )
    others = torch.cat([x, x.flip(0)])[:3] * 0.5
    with torch.no_grad():
        exported = torch.export.export(psp, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", max=64)}}).module()
        torch.testing.assert_close(exported(others), psp(others), rtol=1e-5, atol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and shapes become constants
            traced = torch.jit.trace(psp, x)
        torch.testing.assert_close(traced(x * 0.5), psp(x * 0.5), rtol=1e-5, atol=1e-5)
