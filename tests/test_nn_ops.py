"""The operations against the golden vectors and against second derivations."""

import numpy as np
import pytest
import torch
from _golden import assert_close, golden
from _second import modconv_per_sample, upfirdn2d_loops

from pspnb.nn import ops
from pspnb.nn.adain import AdaIN, instance_norm
from pspnb.nn.backbones import IRUnit
from pspnb.nn.encoders import Map2Style
from pspnb.nn.stylegan2 import ModulatedConv2d, StyledConv, ToRGB


def t(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(a))


def weights(data: dict, name: str) -> dict[str, torch.Tensor]:
    start = f"{name}_w."
    return {k[len(start) :]: t(v) for k, v in data.items() if k.startswith(start)}


def test_upfirdn2d_golden():
    data = golden("upfirdn2d")
    for i, (up, down, p0, p1) in enumerate(data["cases"].tolist()):
        y = ops.upfirdn2d(t(data[f"x{i}"]), t(data[f"k{i}"]), up=up, down=down, pad=(p0, p1))
        assert_close(y, data[f"y{i}"], tol=1e-5)


def test_upfirdn2d_against_loops():
    g = torch.Generator().manual_seed(1)
    for up, down, pad in [(1, 1, (2, 1)), (2, 1, (2, 1)), (2, 3, (-1, 4)), (1, 2, (0, 3))]:
        x, k = torch.randn(2, 3, 8, 9, generator=g), torch.randn(4, 3, generator=g)
        torch.testing.assert_close(ops.upfirdn2d(x, k, up=up, down=down, pad=pad), upfirdn2d_loops(x, k, up, down, pad))


def test_upsample_is_the_published_upfirdn():
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    up = ops.Upsample()
    torch.testing.assert_close(up(x), ops.upfirdn2d(x, up.kernel, up=2, pad=(2, 1)))


MODCONV = {
    "plain": dict(kernel_size=3),
    "plain_nodemod": dict(kernel_size=3, demodulate=False),
    "up": dict(kernel_size=3, up=True),
    "up_nodemod": dict(kernel_size=3, up=True, demodulate=False),
    "rgb1x1": dict(kernel_size=1, demodulate=False),
    "k1_demod": dict(kernel_size=1),
}


def modconv(name: str, data: dict) -> ModulatedConv2d:
    w = weights(data, name)
    _, c_out, c_in, _, _ = w["weight"].shape
    layer = ModulatedConv2d(c_in, c_out, style_dim=16, **MODCONV[name])
    layer.load_state_dict(w)
    return layer


@pytest.mark.parametrize("name", MODCONV)
def test_modulated_conv_golden(name):
    data = golden("modconv")
    y = modconv(name, data)(t(data[f"{name}_x"]), t(data[f"{name}_s"]))
    assert_close(y, data[f"{name}_y"], tol=1e-5)


def test_modulated_conv_down_golden():
    """The published down-sampling form (blur, then stride 2) is not a mode of ours; it is the same composition."""
    data = golden("modconv")
    w = weights(data, "down")
    layer = ops.EqualLinear(16, 8)
    layer.load_state_dict({"weight": w["modulation.weight"], "bias": w["modulation.bias"]})
    weight = w["weight"][0] / np.sqrt(8 * 9)
    x = ops.upfirdn2d(t(data["down_x"]), w["blur.kernel"], pad=(2, 2))  # blur and modulation commute
    y = ops.modulated_conv2d(x, weight, layer(t(data["down_s"])))
    assert_close(y[:, :, 1:-1:2, 1:-1:2], data["down_y"], tol=1e-5)  # stride 2 without padding: every other inner pixel


def test_modulated_conv_gradients_golden():
    data = golden("modconv")
    layer = modconv("up", data)
    x, s = t(data["up_x"]).requires_grad_(), t(data["up_s"]).requires_grad_()
    (layer(x, s) * t(data["up_gradout"])).sum().backward()
    assert_close(x.grad, data["up_gx"])
    assert_close(s.grad, data["up_gs"])
    assert_close(layer.weight.grad, data["up_gw"])


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_scaled_activations_equal_per_sample_weights(up, demodulate):
    torch.manual_seed(0)
    layer = ModulatedConv2d(12, 7, 3, 16, up=up, demodulate=demodulate).double()
    x, w = torch.randn(3, 12, 6, 6).double(), torch.randn(3, 16).double()
    kernel = layer.blur.kernel if up else None
    expected = modconv_per_sample(x, layer.weight, layer.modulation(w), demodulate=demodulate, up=up, kernel=kernel)
    torch.testing.assert_close(layer(x, w), expected, rtol=1e-9, atol=1e-9)


def test_modulated_conv_gradcheck():
    torch.manual_seed(0)
    x, s = torch.randn(2, 3, 4, 4).double().requires_grad_(), torch.rand(2, 3).double().requires_grad_()
    weight = torch.randn(2, 3, 3, 3).double().requires_grad_()
    for up in (False, True):
        assert torch.autograd.gradcheck(lambda x, w, s, up=up: ops.modulated_conv2d(x, w, s, up=up), (x, weight, s))


def layer_case(name: str):
    return {
        "eql1": lambda w: ops.EqualLinear(*w["weight"].shape[::-1]),
        "eql001": lambda w: ops.EqualLinear(*w["weight"].shape[::-1], lr_mul=0.01),
        "eql001act": lambda w: ops.EqualLinear(*w["weight"].shape[::-1], lr_mul=0.01, activation=True),
        "pixelnorm": lambda w: ops.PixelNorm(),
        "flrelu": lambda w: ops.FusedLeakyReLU(len(w["bias"])),
        "flrelu2d": lambda w: ops.FusedLeakyReLU(len(w["bias"])),
        "styledconv": lambda w: styled(w, up=False),
        "styledconv_up": lambda w: styled(w, up=True),
        "torgb_skip": lambda w: ToRGB(w["conv.weight"].shape[2], w["conv.modulation.weight"].shape[1]),
        "torgb1": lambda w: ToRGB(w["conv.weight"].shape[2], w["conv.modulation.weight"].shape[1], up=False),
        "gradualstyleblock16": lambda w: Map2Style(6, 6, 6, 16),
        "ir_se_s2": lambda w: IRUnit(16, 32, stride=2, mode="ir_se"),
        "ir_se_same_s2": lambda w: IRUnit(16, 16, stride=2, mode="ir_se"),
        "ir_s2": lambda w: unit(w, stride=2),
        "ir_same_s1": lambda w: unit(w, stride=1),
    }[name]


def styled(w: dict, up: bool) -> StyledConv:
    _, c_out, c_in, _, _ = w["conv.weight"].shape
    return StyledConv(c_in, c_out, w["conv.modulation.weight"].shape[1], up=up)


def unit(w: dict, stride: int) -> IRUnit:
    c_out, c_in, _, _ = w["res_layer.1.weight"].shape
    return IRUnit(c_in, c_out, stride=stride, mode="ir")


LAYERS = [
    "eql1", "eql001", "eql001act", "pixelnorm", "flrelu", "flrelu2d", "styledconv", "styledconv_up", "torgb_skip", "torgb1",
    "gradualstyleblock16", "ir_se_s2", "ir_se_same_s2", "ir_s2", "ir_same_s1",
]  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layer_golden(name):
    data = golden("layers")
    w = weights(data, name)
    layer = layer_case(name)(w)
    layer.load_state_dict(w)
    inputs = [t(data[k]) for k in sorted(data) if k.startswith(f"{name}_x") and k[len(name) + 2 :].isdigit()]
    assert inputs
    assert_close(layer.eval()(*inputs), data[f"{name}_y"], tol=1e-5)


def test_every_golden_layer_is_compared():
    names = {k[:-2] for k in golden("layers") if k.endswith("_y")}
    assert names == set(LAYERS)


def test_adain_statistics_and_gradient():
    torch.manual_seed(0)
    x, w = torch.randn(2, 4, 9, 9) * 3 + 1, torch.randn(2, 8)
    layer = AdaIN(4, style_dim=8)
    y = layer(x, w)
    scale, bias = layer.affine(w).chunk(2, dim=1)
    torch.testing.assert_close(y.mean(dim=(2, 3)), bias, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(y.std(dim=(2, 3), unbiased=False), scale.abs(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(instance_norm(x), torch.nn.functional.instance_norm(x, eps=1e-8), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_gain_multiplies_the_output(up, demodulate):
    g = torch.Generator().manual_seed(0)
    x, weight, style = (torch.randn(*shape, generator=g) for shape in ((2, 3, 4, 4), (5, 3, 3, 3), (2, 3)))
    plain, loud = (ops.modulated_conv2d(x, weight, style, demodulate=demodulate, up=up, gain=a) for a in (1.0, 3.0))
    torch.testing.assert_close(loud, 3 * plain)


def test_equalised_convolution_keeps_the_variance():
    """Weights are stored at unit variance; used, they are scaled by 1 / sqrt(fan in), so unit noise stays unit noise."""
    torch.manual_seed(0)
    conv = ops.EqualConv2d(64, 64, 3, bias=False)
    assert 0.9 < conv.weight.std() < 1.1 and 0.9 < conv(torch.randn(4, 64, 16, 16)).std() < 1.1
