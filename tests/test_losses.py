"""Losses against the golden vectors of the published modules."""

import copy
import functools
import re

import numpy as np
import pytest
import torch
from _golden import FIXTURES, assert_close, fill_module, gauss, golden, image

from pspnb.losses import (
    IdentityLoss,
    LossInputs,
    LossWeights,
    LPIPSLoss,
    MoCoLoss,
    build_terms,
    inner_face,
    moco_resnet50,
    total_loss,
    w_norm,
)
from pspnb.nn.backbones import FaceEmbedder

LPIPS_FIXTURES = FIXTURES / "lpips"
needs_fixtures = pytest.mark.skipif(not LPIPS_FIXTURES.is_dir(), reason=f"no fixtures at {LPIPS_FIXTURES}")

# The lambdas of the published README, written again here: the golden totals must not depend on our registry.
README = {
    "encode": LossWeights(id=0.1, l2=1.0, lpips=0.8),
    "frontalize": LossWeights(id=1.0, l2=0.001, lpips=0.08, w_norm=0.005, lpips_crop=0.8, l2_crop=0.01),
    "sketch_seg": LossWeights(l2=1.0, lpips=0.8, w_norm=0.005),
    "superres": LossWeights(id=0.1, l2=1.0, lpips=0.8, w_norm=0.005),
    "toonify": LossWeights(id=1.0, l2=1.0, lpips=0.8, w_norm=0.025),
    "moco": LossWeights(moco=0.5, l2=1.0, lpips=0.8),
}


@functools.cache
def vectors():
    return golden("losses")


@functools.cache
def all_images():
    """Source, target and output of the golden cases, (2, 3, 256, 256)."""
    x, y, h = (torch.stack([image(f"loss_{name}{i}", 3, 256, 256) for i in range(2)]) for name in "xyh")
    return x, y, torch.clip(np.float32(0.7) * y + np.float32(0.4) * h, -1.2, 1.2)


def published_lpips_key(key: str) -> str:
    if key.startswith("scaling_layer."):
        return "net." + {"shift": "mean", "scale": "std"}[key.split(".")[1]]
    if key.startswith("net.slice"):
        return "net.layers." + key.split(".", 2)[2]
    return re.sub(r"lins?\.?(\d)\.model", r"lin.\1", key)


@functools.cache
def lpips() -> LPIPSLoss:
    loss = LPIPSLoss(random_trunk=True)
    fill_module(loss.net, keys={key: published_lpips_key(key) for key in loss.net.state_dict()})
    return loss


@functools.cache
def identity() -> IdentityLoss:
    return IdentityLoss(fill_module(FaceEmbedder()))


@functools.cache
def moco() -> MoCoLoss:
    return MoCoLoss(fill_module(moco_resnet50()))


def columns(result) -> np.ndarray:
    """Per sample: with the target, with the source, between the two; the order of the published log."""
    return torch.stack([result.to_target, result.to_source, result.views], 1).numpy()


def test_identity_values():
    x, y, output = all_images()
    with torch.no_grad():
        result = identity()(output, y, source=x)
        features = identity().embed(y)
    assert_close(result.loss, vectors()["id_loss"], tol=1e-5)
    assert_close(result.improvement, vectors()["id_improve"], tol=1e-5)
    assert_close(columns(result), vectors()["id_logs"], tol=1e-5)
    # 1e-4 of the spread of unit vectors of 512 numbers (0.044), where an absolute 1e-4 would accept much
    assert_close(features, vectors()["id_feats_y"], tol=5e-6, rms=2e-5)


def test_moco_values():
    x, y, output = all_images()
    with torch.no_grad():
        result = moco()(output, y, source=x)
        features = moco().embed(y)[:, ::8]
    assert_close(result.loss, vectors()["moco_loss"], tol=2e-6)
    assert_close(result.improvement, vectors()["moco_improve"], tol=2e-6)
    assert_close(columns(result), vectors()["moco_logs"], tol=2e-6)
    assert_close(features, vectors()["moco_feats_y"], tol=5e-6, rms=1e-4)


def test_lpips_values():
    _, y, output = all_images()
    with torch.no_grad():
        assert_close(lpips()(output, y), vectors()["lpips_full"], tol=1e-5)
        assert_close(lpips()(output[:1], y[:1]), vectors()["lpips_full_item0"], tol=1e-5)
        assert_close(lpips()(inner_face(output), inner_face(y)), vectors()["lpips_crop"], tol=1e-5)


def test_w_norm_values():
    codes, average = gauss("wn", (3, 10, 512)), gauss("wnavg", (10, 512))
    np.testing.assert_allclose(w_norm(codes, average).numpy(), vectors()["wnorm_avg"], rtol=1e-6)
    np.testing.assert_allclose(w_norm(codes).numpy(), vectors()["wnorm_noavg"], rtol=1e-6)


@functools.cache
def double_networks():
    makers = {"lpips": lpips, "identity": identity, "moco": moco}
    return {name: copy.deepcopy(maker()).double() for name, maker in makers.items()}


@pytest.mark.parametrize("task", README)
def test_total_values_and_gradient(task):
    """In float64, as the vectors were made: a float32 gradient differs by 0.4 % where a rounding flips a max-pool."""
    x, y, output = (images.double() for images in all_images())
    output = output.requires_grad_()
    average, codes = gauss("wnavg", (10, 512)).double(), gauss("wn2", (2, 10, 512)).double()
    terms = build_terms(README[task], **double_networks(), latent_avg=average, log_improvement=True)
    total, log = total_loss(terms, LossInputs(output=output, target=y, codes=codes, source=x))
    total.backward()

    expected = dict(zip(vectors()[f"total_{task}_names"].tolist(), vectors()[f"total_{task}"], strict=True))
    log = {"id_improve" if name == "moco_improve" else name: value.item() for name, value in log.items()}
    assert log.keys() == expected.keys()
    for name, value in expected.items():
        assert log[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name

    pooled = torch.nn.functional.avg_pool2d(output.grad, 32) * 1024
    np.testing.assert_allclose(pooled, vectors()[f"total_{task}_gyhat_pool"], rtol=0, atol=1e-6 * pooled.std().item())
    assert output.grad.norm().item() == pytest.approx(vectors()[f"total_{task}_gyhat_norm"], rel=1e-6)


def test_every_golden_array_is_compared():
    compared = {
        *("id_loss", "id_improve", "id_logs", "id_feats_y", "moco_loss", "moco_improve", "moco_logs", "moco_feats_y"),
        *("lpips_full", "lpips_crop", "lpips_full_item0", "wnorm_avg", "wnorm_noavg"),
        *(f"total_{task}{part}" for task in README for part in ("_names", "", "_gyhat_pool", "_gyhat_norm")),
    }
    assert compared == vectors().keys()


@needs_fixtures
def test_lpips_with_the_real_trunk():
    from PIL import Image

    loss = LPIPSLoss(trunk_file=LPIPS_FIXTURES / "alexnet_features.pth")
    reference, p0, p1 = (
        torch.tensor(np.array(Image.open(LPIPS_FIXTURES / f"ex_{name}.png").convert("RGB"))).permute(2, 0, 1)[None]
        for name in ("ref", "p0", "p1")
    )
    for other, expected in ((p0, 0.7219), (p1, 0.1376)):
        assert loss(reference / 127.5 - 1, other / 127.5 - 1).item() == pytest.approx(expected, abs=5e-5)
