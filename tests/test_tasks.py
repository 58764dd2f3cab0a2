"""The registry against the published options, and the pairs each task trains on."""

import dataclasses

import numpy as np
import pytest
import torch
from _golden import uint8_image

from pspnb import transforms
from pspnb.tasks import TASKS, task_named
from pspnb.tasks.damaged import LowResolution

# The README's table, in its own column order.
COLUMNS = ("lpips", "l2", "id", "w_norm", "lpips_crop", "l2_crop")
README = {
    "inversion": (0.8, 1, 0.1, 0, 0, 0),
    "frontalization": (0.08, 0.001, 1, 0.005, 0.8, 0.01),
    "sketch": (0.8, 1, 0, 0.005, 0, 0),
    "segmentation": (0.8, 1, 0, 0.005, 0, 0),
    "super_resolution": (0.8, 1, 0.1, 0.005, 0, 0),
    "toonify": (0.8, 1, 1, 0.025, 0, 0),
}


def batch(n=6, size=64, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", README)
def test_published_weights(name):
    weights = dataclasses.asdict(TASKS[name].weights)
    assert weights.pop("moco") == 0
    assert weights == dict(zip(COLUMNS, README[name], strict=True))


# The paper's text, in the same columns, and our variants of its tasks. Section 3.3: 1, 0.8, 0.1 unless stated otherwise; 4.2
# has other image losses; 4.3 omits identity. No w-norm at all.
PAPER = {
    "inversion": (0.8, 1, 0.1, 0, 0, 0),
    "frontalization": (0.08, 0.001, 0.1, 0, 0.8, 0.01),
    "sketch": (0.8, 1, 0, 0, 0, 0),
    "segmentation": (0.8, 1, 0, 0, 0, 0),
    "segmentation_helen": (0.8, 1, 0, 0, 0, 0),
    "super_resolution": (0.8, 1, 0.1, 0, 0, 0),
    "inpainting": (0.8, 1, 0.1, 0, 0, 0),
    "frontalization_unflipped": (0.08, 0.001, 0.1, 0, 0.8, 0.01),
    "strokes": (0.8, 1, 0, 0, 0, 0),
    "super_resolution_x8": (0.8, 1, 0.1, 0, 0, 0),
    "inpainting_random": (0.8, 1, 0.1, 0, 0, 0),
}


def test_the_paper_s_own_weights():
    given = {name: dataclasses.asdict(task.paper_weights) for name, task in TASKS.items() if task.paper_weights}
    assert given == {name: dict(zip(COLUMNS, row, strict=True)) | {"moco": 0} for name, row in PAPER.items()}
    assert all(task.differs for task in TASKS.values() if task.paper_weights != task.weights)


def test_names():
    assert list(TASKS) == [
        *("inversion", "frontalization", "frontalization_unflipped", "sketch", "strokes", "segmentation"),
        *(
            "segmentation_helen",
            "super_resolution",
            "super_resolution_x8",
            "inpainting",
            "inpainting_random",
            "toonify",
            "toonify_pairs",
        ),
    ]
    assert task_named("ffhq_encode") is TASKS["inversion"] and task_named("sketch") is TASKS["sketch"]
    assert task_named("celebs_seg_to_face").in_channels == 19
    with pytest.raises(ValueError, match="expected a task among inversion, .*, got 'toon'"):
        task_named("toon")
    with pytest.raises(TypeError):
        TASKS["inversion"] = None


def test_styles_to_redraw():
    assert list(TASKS["sketch"].layers(18)) == list(range(7, 18))  # the paper's 8-18, counted from 1
    assert list(TASKS["segmentation"].layers(10)) == [7, 8, 9]
    assert list(TASKS["super_resolution"].layers(18)) == [3, 4, 5, 6] and TASKS["super_resolution"].sample_alpha == 0.5
    assert list(TASKS["inversion"].layers(18)) == []


def test_inversion_pairs():
    images = batch(64)
    source, target = TASKS["inversion"].pair(images, generator=draw())
    assert source is target, "the loss tells by identity that the source's embedding costs nothing"
    flipped = [torch.equal(t, i.flip(-1)) for t, i in zip(target, images, strict=True)]
    assert (
        all(f or torch.equal(t, i) for f, t, i in zip(flipped, target, images, strict=True)) and 16 < sum(flipped) < 48
    )
    assert TASKS["inversion"].pair(images, generator=draw(), train=False)[1] is images


def test_frontalization_flips_apart():
    images = batch(64)
    source, target = TASKS["frontalization"].pair(images, generator=draw())
    coins = {(torch.equal(s, i), torch.equal(t, i)) for s, t, i in zip(source, target, images, strict=True)}
    assert coins == {(a, b) for a in (True, False) for b in (True, False)}
    assert all(torch.equal(x, images) for x in TASKS["frontalization"].pair(images, generator=draw(), train=False))


def test_pairs_of_two_sets_of_pictures_are_mirrored_alike():
    sources, targets = batch(64, size=8, seed=1), batch(64, size=8)
    source, target = TASKS["toonify"].pair(targets, generator=draw(), given=sources)
    flipped = [torch.equal(t, i.flip(-1)) for t, i in zip(target, targets, strict=True)]
    assert 16 < sum(flipped) < 48
    for s, original, flip in zip(source, sources, flipped, strict=True):
        assert torch.equal(s, original.flip(-1) if flip else original)
    assert TASKS["toonify"].pair(targets, generator=draw(), given=sources, train=False)[0] is sources
    shrunk, _ = TASKS["super_resolution"].pair(batch(6), generator=draw(), given=batch(6, seed=1), train=False)
    expected, _ = TASKS["super_resolution"].pair(batch(6, seed=1), generator=draw(), train=False)
    assert torch.equal(shrunk, expected)


def test_label_pairs():
    labels = torch.randint(0, 11, (6, 64, 64), generator=draw())
    for name, n in (("segmentation", 19), ("segmentation_helen", 11)):
        source, target = TASKS[name].pair(batch(), generator=draw(), given=labels)
        assert source.shape == (6, n, 64, 64) and torch.equal(source.argmax(1), labels)
        assert torch.equal(target, batch())
        with pytest.raises(ValueError, match=f"expected label maps for {name}, got None"):
            TASKS[name].pair(batch(), generator=draw())


def test_sketch_pairs():
    source, target = TASKS["sketch"].pair(batch(), generator=draw())
    assert torch.equal(source, transforms.pencil_sketch(batch())) and torch.equal(target, batch())
    own = torch.rand(6, 1, 64, 64)
    assert TASKS["sketch"].pair(batch(), generator=draw(), given=own)[0] is own


def test_super_resolution_pairs():
    task, images = TASKS["super_resolution"], batch(6)
    source, target = task.pair(images, generator=draw(), train=False)
    assert isinstance(task.source, LowResolution) and task.source.factors == (1, 2, 4, 8, 16)  # the paper's
    torch.testing.assert_close(source, transforms.low_resolution(images, [1, 2, 4, 8, 16, 1]))
    assert torch.equal(target, images)
    many = batch(1).expand(200, -1, -1, -1)
    drawn, _ = task.pair(many, generator=draw())
    each = transforms.low_resolution(batch(1).expand(5, -1, -1, -1), list(task.source.factors))
    counts = [sum(torch.allclose(d, e, atol=1e-5) for d in drawn) for e in each]
    assert sum(counts) == 200 and min(counts) > 15


def test_inpainting_pairs():
    source, target = TASKS["inpainting"].pair(batch(), generator=draw())
    hole = transforms.triangular_mask(64)
    assert (source[..., hole] == 0).all() and torch.equal(source[..., ~hole], target[..., ~hole])


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_pair(name):
    labels = torch.zeros(6, 64, 64, dtype=torch.long)
    given = batch(seed=1) if TASKS[name].paired else labels if TASKS[name].needs_given else None
    pairs = [TASKS[name].pair(batch(), generator=draw(5), given=given) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
    assert pairs[0][0].shape[1] == TASKS[name].in_channels


def test_pictures_for_inference():
    rgb = uint8_image("prepare", 80, 60, 3)
    labels = np.full((40, 30), 18, np.uint8)
    plain = transforms.image_tensor(rgb, 64)
    for name in ("inversion", "frontalization", "toonify", "super_resolution"):
        assert torch.equal(TASKS[name].prepare(rgb, 64), plain)
    grey = transforms.grey(rgb)
    assert torch.equal(TASKS["sketch"].prepare(grey, 64), transforms.sketch_tensor(grey, 64))
    assert (TASKS["segmentation"].prepare(labels, 64).argmax(0) == 18).all()
    shrunk = TASKS["super_resolution"].prepare(rgb, 64, factor=4)
    assert torch.equal(shrunk, transforms.low_resolution_tensor(rgb, 64, factor=4))
    hole = transforms.triangular_mask(64)
    masked = TASKS["inpainting"].prepare(rgb, 64)
    assert (masked[:, hole] == 0).all() and torch.equal(masked[:, ~hole], plain[:, ~hole])
    with pytest.raises(ValueError, match=r"expected a picture of shape \(h, w\) for sketch, got \(80, 60, 3\)"):
        TASKS["sketch"].prepare(rgb, 64)
    with pytest.raises(ValueError, match=r"expected a picture of shape \(h, w, 3\) for inversion, got \(40, 30\)"):
        TASKS["inversion"].prepare(labels, 64)
    with pytest.raises(ValueError, match="expected no factor for inversion, got 4; only super-resolution"):
        TASKS["inversion"].prepare(rgb, 64, factor=4)
    with pytest.raises(ValueError, match="expected labels 0 ... 10, got values from 18 to 18"):
        TASKS["segmentation_helen"].prepare(labels, 64)
