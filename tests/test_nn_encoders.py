"""Backbones and encoders: golden vectors, published keys, train mode, errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _golden import assert_close, fill_module, golden, golden_keys, image

from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder, style_groups

KEYS = {
    "encoder_GradualStyleEncoder_n10_in3": lambda: GradualStyleEncoder(10),
    "encoder_GradualStyleEncoder_n12_in3": lambda: GradualStyleEncoder(12),
    "encoder_GradualStyleEncoder_n14_in3": lambda: GradualStyleEncoder(14),
    "encoder_GradualStyleEncoder_n16_in3": lambda: GradualStyleEncoder(16),
    "encoder_GradualStyleEncoder_n18_in3": lambda: GradualStyleEncoder(18),
    "encoder_GradualStyleEncoder_n18_in1": lambda: GradualStyleEncoder(18, in_channels=1),
    "encoder_GradualStyleEncoder_n18_in19": lambda: GradualStyleEncoder(18, in_channels=19),
    "encoder_GradualStyleEncoder_ir_n18_in3": lambda: GradualStyleEncoder(18, mode="ir"),
    "encoder_BackboneEncoderUsingLastLayerIntoW_n18_in3": lambda: WEncoder(),
    "encoder_BackboneEncoderUsingLastLayerIntoWPlus_n10_in3": lambda: NaiveWPlusEncoder(10),
    "encoder_BackboneEncoderUsingLastLayerIntoWPlus_n14_in3": lambda: NaiveWPlusEncoder(14),
    "encoder_BackboneEncoderUsingLastLayerIntoWPlus_n18_in3": lambda: NaiveWPlusEncoder(18),
    "backbone_112_50_ir_se": lambda: FaceEmbedder(),
    "IR_50_112": lambda: FaceEmbedder(mode="ir", dropout=0.4, affine=False),
    "IR_101_112": lambda: FaceEmbedder(depth=100, mode="ir", dropout=0.4, affine=False),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys(name):
    with torch.device("meta"):
        module = KEYS[name]()
    ours = {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in module.state_dict().items()}
    assert list(ours.items()) == list(golden_keys(name).items())


def check_train_step(encoder: torch.nn.Module, data: dict):
    """One train-mode pass on two images: output, loss, input gradient, BatchNorm statistics, parameter gradient norms.

    In float64, as the vectors were made: gradients through batch statistics of two images amplify float32 rounding.
    """
    encoder.double().train()
    x = torch.stack([image("enc3", 3, 256, 256), image("encB", 3, 256, 256)]).double().requires_grad_()
    w = encoder(x)
    loss = w.square().mean()
    loss.backward()
    assert_close(w[:, ::3], data["train_w"], rms=5e-5)
    assert abs(loss.item() - data["train_loss"]) <= 1e-4 * max(1, abs(data["train_loss"]))
    pooled = F.avg_pool2d(x.grad, 32) * 1024
    assert np.abs(pooled.numpy() - data["train_gx_pool"]).max() <= 1e-3 * np.abs(data["train_gx_pool"]).max()
    assert_close(encoder.input_layer[1].running_mean, data["train_rm_input1"], tol=1e-6)
    assert_close(encoder.input_layer[1].running_var, data["train_rv_input1"], tol=1e-5)
    assert_close(encoder.body[23].res_layer[4].running_mean, data["train_rm_last_bn"], tol=1e-5)
    params = dict(encoder.named_parameters())
    norms = [params[str(n)].grad.norm().item() for n in data["train_gradnorm_names"]]
    np.testing.assert_allclose(norms, data["train_gradnorm"], rtol=2e-3, atol=1e-7)


GRADUAL = {"enc_gradual_n18_in3": (18, 3), "enc_gradual_n10_in3": (10, 3), "enc_gradual_n10_in19": (10, 19)}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADUAL)
def test_gradual_encoder_golden(monkeypatch, name):
    (n, channels), data = GRADUAL[name], golden(name)
    encoder = fill_module(GradualStyleEncoder(n, in_channels=channels))
    x = image(f"enc{channels}", channels, 256, 256)[None]
    with torch.no_grad():
        c1, c2, c3 = found = encoder.features(x)
        monkeypatch.setattr(encoder, "features", lambda x: found)  # the two below would compute them again
        assert_close(encoder(x), data["eval_w"], rms=2e-5)
        for key, tap in {"c1": c1, "c2": c2, "c3": c3}.items():
            assert_close(tap[:, ::16, ::8, ::8], data[f"eval_{key}_slice"])
        _, p2, p1 = encoder.pyramid(x)
        assert_close(p2[:, ::32, ::8, ::8], data["eval_p2_slice"])
        assert_close(p1[:, ::32, ::8, ::8], data["eval_p1_slice"])
    monkeypatch.undo()
    if "train_w" in data:
        check_train_step(encoder, data)


def test_w_encoder_golden():
    """Its training is that of the backbone, which is compared above."""
    encoder = fill_module(WEncoder())
    with torch.no_grad():
        w = encoder(image("enc3", 3, 256, 256)[None])
    assert_close(w, golden("enc_w_in3")["eval_w"], rms=2e-5)


def test_naive_w_plus_encoder_golden():
    encoder = fill_module(NaiveWPlusEncoder(10))
    with torch.no_grad():
        w = encoder(image("enc3", 3, 256, 256)[None])
    assert_close(w, golden("enc_wplus_n10_in3")["eval_w"], rms=2e-5)


BACKBONES = {"irse50": {}, "ir101": dict(depth=100, mode="ir", dropout=0.4, affine=False)}


@pytest.mark.parametrize("name", BACKBONES)
def test_face_embedder_golden(name):
    data = golden("backbones")
    net = fill_module(FaceEmbedder(**BACKBONES[name]))
    x = torch.stack([image(f"{name}{i}", 3, 112, 112) for i in range(2)])
    with torch.no_grad():
        raw, unit = net.embed_raw(x), net(x)
    assert_close(raw, data[f"{name}_prenorm"])
    assert_close(unit, data[f"{name}_emb"], tol=1e-5, rms=5e-5)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))


def tiny(**kwargs) -> GradualStyleEncoder:
    torch.manual_seed(0)
    settings = dict(style_dim=24, input_size=64, units=(1, 1, 1, 1), widths=(8, 8, 16, 24, 32), head_channels=16)
    return GradualStyleEncoder(10, **settings | kwargs).eval()


def test_64_px_shapes():
    encoder, x = tiny(), torch.zeros(2, 3, 64, 64)
    assert [tuple(p.shape) for p in encoder.pyramid(x)] == [(2, 32, 4, 4), (2, 32, 8, 8), (2, 32, 16, 16)]
    assert encoder(x).shape == (2, 10, 24)
    assert [len(head.convs) // 2 for head in encoder.styles] == [2] * 3 + [3] * 4 + [4] * 3


def test_a_head_may_widen_in_its_last_convolution():
    encoder = tiny(last_channels=20)
    for head in encoder.styles:
        convs = [m for m in head.convs if isinstance(m, torch.nn.Conv2d)]
        assert [c.out_channels for c in convs] == [16] * (len(convs) - 1) + [20]
        assert head.linear.weight.shape == (24, 20)
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 10, 24)
    # A coarse head of a 32 px input has one convolution: its last.
    small = tiny(input_size=32, last_channels=20)
    assert [m.out_channels for m in small.styles[0].convs if isinstance(m, torch.nn.Conv2d)] == [20]
    same = tiny(last_channels=16).state_dict()
    assert all(torch.equal(v, same[k]) for k, v in tiny(last_channels=None).state_dict().items())


def test_style_groups():
    for n in (8, 10, 12, 14, 16, 18):
        assert [list(g)[:1] + list(g)[-1:] for g in style_groups(n)] == [[0, 2], [3, 6], [7, n - 1]]
    for n in (4, 6):
        groups = style_groups(n)
        assert [i for g in groups for i in g] == list(range(n)) and all(len(g) for g in groups)


def test_all_styles_from_one_map():
    for level, spatial in enumerate((4, 8, 16)):
        encoder = tiny(maps=[level] * 10)
        assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 10, 24)
        assert {2 ** (len(head.convs) // 2) for head in encoder.styles} == {spatial}
    with pytest.raises(ValueError, match=r"10 pyramid levels in 0\.\.2"):
        tiny(maps=[3] * 10)


@pytest.mark.parametrize("shape", [(2, 3, 128, 128), (2, 3, 32, 32), (2, 1, 64, 64), (2, 3, 64, 48)])
def test_wrong_input_size_is_an_error_not_a_bigger_batch(shape):
    with pytest.raises(ValueError, match=r"encoder input of shape \(b, 3, 64, 64\)"):
        tiny()(torch.zeros(shape))


def test_small_w_encoders():
    small = dict(style_dim=24, input_size=64, units=(1, 1, 1, 1), widths=(8, 8, 16, 24, 32))
    x = torch.zeros(2, 3, 64, 64)
    assert WEncoder(**small)(x).shape == (2, 24)
    assert NaiveWPlusEncoder(10, **small, bottleneck=20, pool=4)(x).shape == (2, 10, 24)
    with pytest.raises(ValueError, match="power of two"):
        WEncoder(**small | {"input_size": 48})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prelu_is_torchs_to_the_bit_and_its_gradients_too(dtype):
    from pspnb.nn.backbones import PReLU

    torch.manual_seed(0)
    mine, theirs = PReLU(6), torch.nn.PReLU(6)
    with torch.no_grad():
        theirs.weight.copy_(mine.weight.uniform_(-0.5, 0.5))
    x = torch.randn(3, 6, 5, 4).to(dtype)
    a, b = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    y, z = mine.to(dtype)(a), theirs.to(dtype)(b)
    assert torch.equal(y, z) and torch.equal(y, mine(x).detach())
    with torch.no_grad():
        assert torch.equal(mine(x), y)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    z.backward(upstream)
    assert torch.equal(a.grad, b.grad)
    torch.testing.assert_close(
        mine.weight.grad, theirs.weight.grad, rtol=2e-2 if dtype is torch.bfloat16 else 1e-5, atol=1e-2
    )
