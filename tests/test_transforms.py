"""Transforms against the golden vectors (all of them equal to the last bit), and what the batched forms must keep."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from _golden import golden, image, uint8_image

from pspnb import transforms
from pspnb.transforms.eight_bit import low_resolution_picture

FACTORS = (1, 2, 4, 8, 16, 32)


def picture():
    return uint8_image("tr", 300, 200, 3)


def label_map():
    return np.kron(golden("transforms")["label_map_small"], np.ones((16, 16), np.uint8))


def test_photo_sketch_and_labels_as_published():
    data = golden("transforms")
    assert picture().shape[:2] == tuple(data["rgb_hw"])
    np.testing.assert_array_equal(transforms.image_tensor(picture(), 256)[:, ::7, ::7], data["encode_test"])
    sketch = transforms.sketch_tensor(transforms.grey(picture()), 256)
    np.testing.assert_array_equal(sketch[:, ::7, ::7], data["sketch_source"])
    planes = transforms.label_tensor(label_map(), 256, interpolation="bilinear")
    np.testing.assert_array_equal(planes.argmax(0), data["seg_onehot_argmax"])
    dtype, shape = data["seg_onehot_dtype_shape"]
    # The published planes are int64 and become float before the encoder; ours are float at once.
    assert (str(tuple(planes.shape)), dtype, planes.dtype) == (shape, "torch.int64", torch.float32)
    assert set(planes.unique().tolist()) == {0.0, 1.0} and (planes.sum(0) == 1).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_super_resolution_as_published(factor):
    data = golden("transforms")
    np.testing.assert_array_equal(transforms.bicubic_kernel(factor), data[f"bicubic_kernel_{factor}"])
    small = low_resolution_picture(transforms.resize_picture(picture(), 256), factor=factor)
    assert small.shape == (256 // factor, 256 // factor, 3)
    np.testing.assert_array_equal(small[::7, ::7] if factor < 4 else small, data[f"bicubic_down_u8_{factor}"])
    source = transforms.low_resolution_tensor(picture(), 256, factor=factor)
    np.testing.assert_array_equal(source[:, ::7, ::7], data[f"superres_inference_{factor}"])


def test_pictures_out_as_published():
    data = golden("transforms")
    truncated = transforms.to_uint8(torch.tensor(data["t2i_in"]), truncate=True)
    np.testing.assert_array_equal(truncated, data["t2i_out"])
    np.testing.assert_array_equal(transforms.colour_labels(data["t2m_in"].argmax(0)), data["t2m_out"])
    np.testing.assert_array_equal(transforms.colour_labels(torch.tensor(data["t2m_in"]).argmax(0)), data["t2m_out"])


def test_every_golden_array_is_compared():
    names = {"rgb_hw", "encode_test", "sketch_source", "label_map_small", "seg_onehot_argmax", "seg_onehot_dtype_shape"}
    names |= {"t2i_in", "t2i_out", "t2m_in", "t2m_out"}
    names |= {f"{kind}_{f}" for f in FACTORS for kind in ("bicubic_kernel", "bicubic_down_u8", "superres_inference")}
    assert names == golden("transforms").keys()


def test_rounding_returns_an_eight_bit_picture_and_truncation_does_not():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = np.stack([levels] * 3, 2)
    tensor = transforms.image_tensor(rgb, 16)
    np.testing.assert_array_equal(transforms.to_uint8(tensor), rgb)
    assert (transforms.to_uint8(tensor, truncate=True) < rgb).any()
    beyond = torch.tensor([-3.0, -1.0, 1.0, 3.0]).reshape(1, 2, 2).expand(3, 2, 2)
    np.testing.assert_array_equal(transforms.to_uint8(beyond)[..., 0], [[0, 0], [255, 255]])


def test_nearest_labels_invent_no_class_and_bilinear_does():
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 18
    nearest = transforms.label_tensor(labels, 20).argmax(0)
    assert set(nearest.unique().tolist()) == {0, 18}
    bilinear = transforms.label_tensor(labels, 20, interpolation="bilinear").argmax(0)
    assert set(bilinear.unique().tolist()) > {0, 18}
    same = label_map()[:256, :256]
    for interpolation in ("nearest", "bilinear"):
        planes = transforms.label_tensor(np.ascontiguousarray(same), 256, interpolation=interpolation)
        np.testing.assert_array_equal(planes.argmax(0), same)


def test_label_values_are_checked():
    with pytest.raises(ValueError, match=r"expected labels 0 ... 10, got values from 0 to 11"):
        transforms.one_hot(torch.arange(12).reshape(3, 4), 11)
    with pytest.raises(ValueError, match=r"expected labels 0 ... 18, got values from 0 to 19"):
        transforms.colour_labels(np.array([[0, 19]]))
    with pytest.raises(ValueError, match=r"got values from -1 to 0"):
        transforms.one_hot(torch.tensor([[0, -1]]), 19)
    batch = transforms.one_hot(torch.tensor([[[0, 1]], [[2, 2]]], dtype=torch.uint8), 3)
    assert batch.tolist() == [[[[1, 0]], [[0, 1]], [[0, 0]]], [[[0, 0]], [[0, 0]], [[1, 1]]]]


def plain_downsample(rows, factor):
    """One axis, by the definition: reflect, weigh, stride; float64."""
    padding = 3 * factor
    before = padding // 2
    padded = np.pad(rows, ((before, padding - before), (0, 0)), mode="reflect")
    taps = transforms.bicubic_kernel(factor).double().numpy()
    starts = range(0, len(padded) - len(taps) + 1, factor)
    return np.stack([(padded[s : s + len(taps)] * taps[:, None]).sum(0) for s in starts])


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_downsampling_against_its_definition(factor):
    x = np.random.default_rng(0).uniform(-1, 1, (48, 72))
    expected = plain_downsample(plain_downsample(x, factor).T, factor).T
    actual = transforms.downsample(torch.tensor(x)[None, None], factor)[0, 0]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-7)
    flat = transforms.downsample(torch.full((1, 2, 48, 72), 0.7), factor)
    torch.testing.assert_close(flat, torch.full((1, 2, 48 // factor, 72 // factor), 0.7))


def test_downsampling_is_differentiable_and_checks_sizes():
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: transforms.downsample(t, 2), x)
    with pytest.raises(ValueError, match="multiple of the factor and above 12 px for factor 8, got 20 x 24"):
        transforms.downsample(torch.zeros(1, 3, 20, 24), 8)
    with pytest.raises(ValueError, match="above 48 px for factor 32, got 32 x 32"):
        transforms.downsample(torch.zeros(1, 3, 32, 32), 32)
    with pytest.raises(ValueError, match="factor of at least 1, got 0"):
        transforms.bicubic_kernel(0)


def test_batched_low_resolution_is_the_published_one_without_rounding():
    batch = torch.stack([transforms.image_tensor(picture(), 256)] * len(FACTORS))
    sources = transforms.low_resolution(batch, list(FACTORS))
    for source, factor in zip(sources, FACTORS, strict=True):
        published = transforms.low_resolution_tensor(picture(), 256, factor=factor)
        assert (source - published).abs().max() * 127.5 < 2
        assert (source - published).abs().mean() * 127.5 < 0.8
    with pytest.raises(ValueError, match="one factor for each of 6 images, got 1"):
        transforms.low_resolution(batch, [2])


def test_flips():
    images = torch.arange(24.0).reshape(4, 1, 2, 3)
    flips = torch.tensor([True, False, True, False])
    flipped = transforms.hflip_where(images, flips)
    for i, flip in enumerate(flips.tolist()):
        assert torch.equal(flipped[i], images[i].flip(-1) if flip else images[i])
    draws = [transforms.random_flips(4000, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert 0.47 < draws[0].float().mean() < 0.53
    assert transforms.random_flips(9, generator=torch.Generator(), p=1.0).all()


def test_triangular_mask():
    mask = transforms.triangular_mask(64)
    assert torch.equal(mask, mask.flip(-1)), "symmetric"
    assert not mask[:32].any() and mask[63, 1:63].all()
    widths = mask.sum(1)
    assert (widths.diff() >= 0).all() and 0.22 < mask.float().mean() < 0.25
    images = torch.ones(2, 3, 64, 64)
    assert torch.equal(transforms.mask_out(images, mask) == 0, mask.expand(2, 3, 64, 64))


def test_pencil_sketch():
    flat = transforms.pencil_sketch(torch.full((1, 3, 16, 16), 0.3))
    torch.testing.assert_close(flat, torch.ones(1, 1, 16, 16))
    half = torch.full((1, 3, 16, 16), -1.0)
    half[..., 8:] = 1.0
    for images in (half, -half):  # rising and falling edges are both drawn
        sketch = transforms.pencil_sketch(images)[0, 0]
        assert sketch.shape == (16, 16) and (sketch[:, [0, 4, 11, 15]] > 0.99).all() and (sketch[:, 7:9] < 0.3).all()
    textured = image("sketchy", 3, 32, 32)[None].requires_grad_()
    sketch = transforms.pencil_sketch(textured)
    assert 0 <= sketch.min() < sketch.max() <= 1
    sketch.sum().backward()
    assert textured.grad.isfinite().all()


def test_the_import_is_light():
    heavy = {"torchvision", "PIL", "lpips", "scipy", "matplotlib"}
    code = f"import sys, pspnb.transforms, pspnb.tasks; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
