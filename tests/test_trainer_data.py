"""What the trainer reads: batches that depend on (seed, step) alone, folders, pairs by name, broken files."""

import itertools
import logging
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pspnb import transforms
from pspnb.errors import ImageError, PspnbError
from pspnb.files.pictures import to_levels
from pspnb.tasks import TASKS
from pspnb.training import pictures
from pspnb.training.data import Batches, Pair, PairArrays, facets_arrays
from pspnb.training.pictures import folder_arrays, paired_arrays
from pspnb.world2 import render, sample_factors


def arrays(n=10, size=16, **given):
    rows = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, size, size).contiguous()
    return PairArrays(rows, **given)


def numbers(pair: Pair) -> list[int]:
    """Which rows of `arrays` a batch holds."""
    return ((pair.target[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def some(batches, n, first_step=0):
    return list(itertools.islice(batches.endless(first_step), n))


def save(folder, name, pixels, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def rgb(seed, size=24):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


# ---- batches -------------------------------------------------------------------------------------------------------


def test_every_image_once_per_epoch_in_a_new_order():
    epochs = some(Batches(arrays(10), TASKS["inversion"], batch=5), 6)
    seen = [numbers(a) + numbers(b) for a, b in zip(epochs[::2], epochs[1::2], strict=True)]
    assert all(sorted(epoch) == list(range(10)) for epoch in seen) and seen[0] != seen[1] != seen[2]


@pytest.mark.parametrize("name", ["inversion", "frontalization", "super_resolution"])
def test_a_batch_is_a_function_of_seed_and_step(name):
    rows = PairArrays(torch.randint(0, 256, (10, 3, 64, 64), dtype=torch.uint8))
    whole = some(Batches(rows, TASKS[name], batch=4, seed=3), 7)
    resumed = some(Batches(rows, TASKS[name], batch=4, seed=3), 3, first_step=4)
    for a, b in zip(whole[4:], resumed, strict=True):
        assert torch.equal(a.source, b.source) and torch.equal(a.target, b.target)
    other = some(Batches(rows, TASKS[name], batch=4, seed=4), 7)
    assert not any(torch.equal(a.target, b.target) for a, b in zip(whole, other, strict=True))


def test_validation_takes_every_image_in_order_without_chance():
    batches = Batches(arrays(10), TASKS["frontalization"], batch=4)
    assert [numbers(pair) for pair in batches.once()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [numbers(pair) for pair in batches.once(part=1, parts=2)] == [[4, 5, 6, 7]]
    labels = torch.arange(10, dtype=torch.uint8)[:, None, None].expand(10, 16, 16).contiguous()
    pair = next(Batches(arrays(10, given=labels), TASKS["segmentation"], batch=10).once())
    assert pair.source.argmax(1)[:, 0, 0].tolist() == list(range(10))


def test_values_of_images_sketches_and_sources():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None, None]
    images = levels.expand(3, 3, 16, 16).contiguous()
    sketches = Batches(PairArrays(images, given=levels.expand(3, 1, 16, 16)), TASKS["sketch"], batch=3)
    source, target = next(sketches.once())
    torch.testing.assert_close(source[:, 0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    torch.testing.assert_close(target[:, 0, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    photos = Batches(PairArrays(images, given=images.flip(0)), TASKS["toonify"], batch=3)
    source, _ = next(photos.once())
    torch.testing.assert_close(source[:, 0, 0, 0], torch.tensor([1.0, -0.6, -1.0]))


def test_a_part_of_a_batch_keeps_the_source_that_is_the_target():
    pair = next(Batches(arrays(10), TASKS["inversion"], batch=10).once())
    half = pair.part(slice(2, 4))
    assert half.source is half.target and numbers(half) == [2, 3]
    sr = next(Batches(arrays(10, size=64), TASKS["super_resolution"], batch=10).once()).part(slice(1, 2))
    assert sr.source is not sr.target and len(sr.source) == 1


def test_the_reading_thread_ends_with_its_iterator():
    before = threading.active_count()
    iterator = Batches(arrays(), TASKS["inversion"], batch=2).endless()
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


def test_batches_that_cannot_be():
    with pytest.raises(ValueError, match=r"expected a batch of 1 ... 10 images \(all there are\), got 11"):
        Batches(arrays(10), TASKS["inversion"], batch=11)
    with pytest.raises(ValueError, match="expected label maps for segmentation, got images alone"):
        Batches(arrays(10), TASKS["segmentation"], batch=2)


def test_facets(tmp_path, monkeypatch):
    from pspnb.facets import HELEN_FROM_CELEBA, Facets

    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path))
    facets = Facets("test", 32, n=4, progress=False)
    images = torch.stack([facets[i]["image"] for i in range(4)])
    labels = torch.stack([facets[i]["labels"] for i in range(4)])
    pair = next(Batches(facets_arrays(TASKS["inversion"], "test", 32, n=4), TASKS["inversion"], batch=4).once())
    torch.testing.assert_close(pair.target, images)
    for name, expected in (("segmentation", labels), ("segmentation_helen", torch.tensor(HELEN_FROM_CELEBA)[labels])):
        pair = next(Batches(facets_arrays(TASKS[name], "test", 32, n=4), TASKS[name], batch=4).once())
        assert torch.equal(pair.source.argmax(1), expected)
        torch.testing.assert_close(pair.target, images)


# ---- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_of_any_pictures(tmp_path):
    folder, cache = tmp_path / "in", tmp_path / "cache"
    save(folder, "a.png", rgb(0))
    save(folder, "deep/b.jpg", rgb(1), quality=95)
    save(folder, "c.png", rgb(2)[..., 0])
    save(folder, "d.png", np.dstack([rgb(3), np.full((24, 24), 255, np.uint8)]))
    save(folder, "e.png", np.full((24, 24), 65535, np.uint16))
    read = folder_arrays(folder, 16, cache=cache, progress=False)
    assert read.images.shape == (5, 3, 16, 16) and read.given is None and read.size == 16
    # in the order of the sorted paths: a, c, d, deep/b, e
    np.testing.assert_array_equal(read.images[0], transforms.resize_picture(rgb(0), 16).transpose(2, 0, 1))
    assert torch.equal(read.images[1, 0], read.images[1, 2]) and (read.images[4] == 255).all()


def test_the_cache_is_used_and_made_anew_after_a_change(tmp_path, monkeypatch):
    folder, cache = tmp_path / "in", tmp_path / "cache"
    path = save(folder, "a.png", rgb(0))
    first = folder_arrays(folder, 16, cache=cache, progress=False).images.clone()
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_opened", None)  # any decoding would fail
        assert torch.equal(folder_arrays(folder, 16, cache=cache, progress=False).images, first)
    save(folder, "a.png", rgb(1))
    assert not torch.equal(folder_arrays(folder, 16, cache=cache, progress=False).images, first)
    save(folder, "b.png", rgb(2))
    assert len(folder_arrays(folder, 16, cache=cache, progress=False)) == 2
    path.unlink()
    assert len(folder_arrays(folder, 16, cache=cache, progress=False)) == 1
    assert folder_arrays(folder, 8, cache=cache, progress=False).size == 8


def test_a_cache_that_broke_off_is_not_used(tmp_path, monkeypatch):
    folder, cache = tmp_path / "in", tmp_path / "cache"
    save(folder, "a.png", rgb(0))

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pictures, "write_json", kill)
        folder_arrays(folder, 16, cache=cache, progress=False)
    assert list((cache / "pictures").iterdir()) == []
    assert len(folder_arrays(folder, 16, cache=cache, progress=False)) == 1


def test_broken_pictures_are_left_out_with_one_line(tmp_path, caplog):
    folder, cache = tmp_path / "in", tmp_path / "cache"
    for i in range(3):
        save(folder, f"{i}.png", rgb(i))
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # the second time from the cache, with the same line
            read = folder_arrays(folder, 16, cache=cache, progress=False)
            assert len(read) == 2
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and lines[0] == lines[1]
    assert lines[0].startswith("left out 2 of 4 pictures that can't be read: ")
    assert "1.png" in lines[0] and "4.png" in lines[0] and "\n" not in lines[0]
    np.testing.assert_array_equal(read.images[1], transforms.resize_picture(rgb(2), 16).transpose(2, 0, 1))
    with pytest.raises(ImageError, match="1.png"):
        folder_arrays(folder, 16, cache=cache, strict=True, progress=False)
    for i in (0, 2):
        (folder / f"{i}.png").unlink()
    with pytest.raises(ImageError, match="none of the 2 pictures can be read; the first: .*1.png"):
        folder_arrays(folder, 16, cache=cache, progress=False)


def test_pairs_are_made_by_name(tmp_path):
    labels, photos, cache = tmp_path / "labels", tmp_path / "photos", tmp_path / "cache"
    for i, name in enumerate(["x", "y", "sub/x"]):
        save(labels, f"{name}.png", np.full((24, 24), i, np.uint8))
        save(photos, f"{name}.jpg", np.full((24, 24, 3), 40 * i, np.uint8), quality=100)
    pair = paired_arrays(labels, photos, 16, task=TASKS["segmentation"], cache=cache, progress=False)
    assert pair.given[:, 0, 0].tolist() == [2, 0, 1]
    assert (pair.images[:, 0, 0, 0].float() / 40).round().tolist() == [2, 0, 1]
    sketches = paired_arrays(photos, photos, 16, task=TASKS["sketch"], cache=cache, progress=False)
    assert sketches.given.shape == (3, 1, 16, 16)
    twins = paired_arrays(photos, photos, 16, task=TASKS["toonify"], cache=cache, progress=False)
    assert torch.equal(twins.given, twins.images)


def test_label_maps_are_resized_without_new_classes(tmp_path):
    """Between the classes 2 and 18 a bilinear resize would invent those in between."""
    labels = np.where(np.arange(48)[:, None] + np.arange(48) < 47, 2, 18).astype(np.uint8)
    save(tmp_path / "labels", "x.png", labels)
    save(tmp_path / "photos", "x.png", rgb(0))
    options = {"task": TASKS["segmentation"], "cache": tmp_path / "c", "progress": False}
    small = paired_arrays(tmp_path / "labels", tmp_path / "photos", 20, **options).given[0].numpy()
    assert set(np.unique(small).tolist()) == {2, 18}
    assert np.array_equal(small, transforms.resize_picture(labels, 20, interpolation="nearest"))


@pytest.mark.parametrize(
    "name, damage", [("meta.json", b'{"bro'), ("0.npy", b"\x93NUMPY"), ("0.npy", b""), ("meta.json", b"[]")]
)
def test_a_damaged_cache_is_made_anew(tmp_path, name, damage):
    save(tmp_path / "in", "a.png", rgb(0))
    read = lambda: folder_arrays(tmp_path / "in", 16, cache=tmp_path / "c", progress=False).images  # noqa: E731
    before = read().clone()
    (path,) = (tmp_path / "c" / "pictures").glob(f"*/{name}")
    path.write_bytes(damage)
    assert torch.equal(read(), before) and torch.equal(read(), before)


def test_names_without_a_partner_are_listed(tmp_path):
    left, right = tmp_path / "left", tmp_path / "right"
    for i in range(8):
        save(left, f"{i}.png", rgb(i))
        save(right, f"{i + 1}.png", rgb(i))
    with pytest.raises(PspnbError, match=r"2 have no partner: 0 \(no target\), 8 \(no source\)"):
        paired_arrays(left, right, 16, task=TASKS["toonify"], cache=tmp_path, progress=False)
    for i in range(20, 30):
        save(left, f"{i}.png", rgb(i))
    with pytest.raises(PspnbError, match=r"12 have no partner: 0 .*, 20 .*, 23 \(no target\) \.\.\.$"):
        paired_arrays(left, right, 16, task=TASKS["toonify"], cache=tmp_path, progress=False)
    save(right, "1.jpg", rgb(1))
    with pytest.raises(PspnbError, match="expected one picture for each name, 1 have several: 1$"):
        paired_arrays(left, right, 16, task=TASKS["toonify"], cache=tmp_path, progress=False)


def test_a_pair_with_one_broken_side_is_left_out(tmp_path):
    labels, photos = tmp_path / "labels", tmp_path / "photos"
    for i in range(3):
        save(labels, f"{i}.png", np.full((24, 24), 18 + (i == 1), np.uint8))  # 1.png has a class that doesn't exist
        save(photos, f"{i}.png", rgb(i))
    (photos / "0.png").write_bytes(b"not a picture")
    pair = paired_arrays(labels, photos, 16, task=TASKS["segmentation"], cache=tmp_path / "c", progress=False)
    assert len(pair) == 1
    np.testing.assert_array_equal(pair.images[0], transforms.resize_picture(rgb(2), 16).transpose(2, 0, 1))


def test_a_cache_that_cannot_be_written(tmp_path):
    save(tmp_path / "in", "a.png", rgb(0))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PspnbError, match="expected a cache folder that can be written"):
        folder_arrays(tmp_path / "in", 16, cache=tmp_path / "file", progress=False)


def test_pictures_that_are_stretched_are_said(tmp_path, caplog):
    for i, (w, h) in enumerate(((16, 16), (16, 16), (24, 16))):
        Image.new("RGB", (w, h), (200, 10 * i, 0)).save(tmp_path / f"{i}.png")
    for _ in range(2):  # read anew, and from the cache
        caplog.clear()
        folder_arrays(tmp_path, 16, cache=tmp_path / "cache", progress=False)
        assert "1 of 3 pictures are not square and are stretched" in caplog.text


def test_pairs_of_photographs_and_cartoons(tmp_path, monkeypatch):
    """World 2's people, photograph beside cartoon; kept apart in the cache."""
    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path))
    data = facets_arrays(TASKS["toonify_pairs"], "test", 16, n=3, progress=False)
    factors = sample_factors("test", range(3))
    for stored, style in ((data.images, "cartoon"), (data.given, "photo")):
        assert torch.equal(stored, to_levels(render(factors, 16, style=style).image))
    assert not torch.equal(data.images, data.given)
    photo = facets_arrays(TASKS["toonify"], "test", 16, n=3, second=True, progress=False)
    assert torch.equal(photo.images, data.given) and photo.given is None
    pair = next(Batches(data, TASKS["toonify_pairs"], batch=3).once())
    assert torch.equal(to_levels(pair.target), data.images) and torch.equal(to_levels(pair.source), data.given)
    with pytest.raises(ValueError, match="expected source pictures for toonify_pairs"):
        Batches(PairArrays(data.images), TASKS["toonify_pairs"], batch=3)
