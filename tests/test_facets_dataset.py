"""The cached data set and the export: right content, rebuilt when damaged, safe with two builders, atomic."""

import csv
import json
import multiprocessing
import os

import numpy as np
import pytest
import torch
from PIL import Image

from pspnb.facets import BY_NAME, TABLE, Facets, cache_folder, edit, export, render, sample_factors
from pspnb.facets import dataset as module


@pytest.fixture
def builds(monkeypatch):
    """Counts how often a cache is rendered."""
    count = []
    real = module._build
    monkeypatch.setattr(module, "_build", lambda *a: (count.append(a[1]), real(*a))[1])
    return count


def make(cache, n=5, split="test", size=32):
    return Facets(split, size, n=n, cache=cache, progress=False)


def test_items_are_what_the_renderer_draws(tmp_path):
    data = make(tmp_path)
    fresh = render(sample_factors("test", 5), 32)
    item = data[3]
    assert set(item) == {"image", "labels", "factors", "identity", "landmarks"}
    assert item["image"].shape == (3, 32, 32) and item["image"].dtype == torch.float32
    assert (item["image"] - fresh.image[3]).abs().max() <= 1.001 / 255
    assert torch.equal(item["labels"], fresh.labels[3].long())
    assert torch.equal(item["landmarks"], fresh.landmarks[3])
    assert set(item["factors"]) == set(BY_NAME) and item["factors"]["yaw"] == fresh.factors["yaw"][3]
    assert item["identity"] == 20_000_003 and len(data) == 5
    assert torch.equal(data[-2]["image"], item["image"])


def test_batches_equal_items(tmp_path):
    data = make(tmp_path)
    batch = data.batch([4, 0])
    assert torch.equal(batch["image"][1], data[0]["image"]) and torch.equal(batch["image"], data.images([4, 0]))
    assert batch["identity"].tolist() == [20_000_004, 20_000_000] and batch["factors"]["hat"].shape == (2,)
    assert torch.equal(data.batch(torch.tensor([4]))["labels"][0], data[4]["labels"])
    for bad in ([5], [-1]):
        with pytest.raises(IndexError, match="indices in"):
            data.batch(bad)
    with pytest.raises(IndexError, match="below 5"):
        data[5]
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    assert next(iter(loader))["image"].shape == (2, 3, 32, 32)


def test_second_opening_reads_the_cache(tmp_path, builds):
    make(tmp_path)
    make(tmp_path)
    assert builds == ["test"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "no meta", "other version", "garbage meta", "missing file"])
def test_damaged_caches_are_rebuilt(tmp_path, builds, damage):
    data = make(tmp_path)
    good, folder = data[4]["image"].clone(), data.folder
    del data
    images = folder / "images.npy"
    if damage == "truncate":
        images.write_bytes(images.read_bytes()[:-100])
    elif damage == "flip":
        raw = bytearray(images.read_bytes())
        raw[-5] ^= 255
        images.write_bytes(bytes(raw))
    elif damage == "no meta":
        (folder / "meta.json").unlink()
    elif damage == "other version":
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | {"renderer": -1}))
    elif damage == "garbage meta":
        (folder / "meta.json").write_text("{")
    else:
        (folder / "labels.npy").unlink()
    again = make(tmp_path)
    assert len(builds) == 2
    assert torch.equal(again[4]["image"], good)


def test_a_cache_of_another_renderer_is_rebuilt(tmp_path, builds, monkeypatch):
    """Same version number, other pixels: what a developer who forgot to raise RENDER_VERSION would have."""
    make(tmp_path)
    real = module.render

    def darker(*args, **kwargs):
        out = real(*args, **kwargs)
        return type(out)(out.image * 0.5, out.labels, out.landmarks, out.factors)

    monkeypatch.setattr(module, "render", darker)
    assert make(tmp_path)[0]["image"].abs().max() <= 0.51
    assert len(builds) == 2


def test_a_build_that_dies_leaves_nothing_behind(tmp_path, monkeypatch):
    real, calls = module.render, []

    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "render", dies)
    monkeypatch.setattr(module, "_BLOCK", 3)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert not [p for p in (tmp_path / "facets").rglob("*") if p.name.endswith(".npy")]
    monkeypatch.setattr(module, "render", real)
    assert len(make(tmp_path)) == 5


def _open(folder, queue):
    torch.set_num_threads(1)
    queue.put(float(Facets("test", 32, n=6, cache=folder, progress=False)[5]["image"].sum()))


def test_two_processes_build_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_open, args=(str(tmp_path), queue)) for _ in range(2)]
    for w in workers:
        w.start()
    sums = [queue.get(timeout=120) for _ in workers]
    for w in workers:
        w.join(timeout=60)
        assert w.exitcode == 0
    assert sums[0] == sums[1]
    folders = [p for p in (tmp_path / "facets").glob("v*/*") if p.is_dir()]
    assert [p.name for p in folders] == ["test-32-6"]


def test_a_prefix_uses_the_full_cache(tmp_path, builds, monkeypatch):
    monkeypatch.setitem(module.SPLIT_SIZES, "test", 7)
    full = Facets("test", 32, cache=tmp_path, progress=False)
    part = make(tmp_path, n=3)
    assert len(full) == 7 and len(part) == 3 and builds == ["test"]
    assert torch.equal(part[2]["image"], full[2]["image"])
    with pytest.raises(IndexError):
        part[3]


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("PSPNB_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("PSPNB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "pspnb"


def test_bad_requests(tmp_path):
    with pytest.raises(ValueError, match="split of"):
        Facets("dev", 32, cache=tmp_path)
    with pytest.raises(ValueError, match="n in"):
        Facets("test", 32, n=1001, cache=tmp_path)


def test_export_writes_images_labels_and_table(tmp_path):
    out = export(tmp_path / "set", n=3, size=32, seed=4, progress=False)
    fresh = render(sample_factors(4, 3), 32)
    with open(out / "factors.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 3 and set(BY_NAME) < set(table[0])
    for i, row in enumerate(table):
        image = np.asarray(Image.open(out / "images" / row["file"]))
        labels = np.asarray(Image.open(out / "labels" / row["file"]))
        assert np.abs(image / 127.5 - 1 - fresh.image[i].permute(1, 2, 0).numpy()).max() < 1.001 / 255
        assert (labels == fresh.labels[i].numpy()).all()
        assert float(row["yaw"]) == pytest.approx(float(fresh.factors["yaw"][i]), rel=1e-4)
        assert row["hair_style"] == BY_NAME["hair_style"].names[int(fresh.factors["hair_style"][i])]
        assert float(row["nose_x"]) == pytest.approx(float(fresh.landmarks[i, 2, 0]), abs=1e-3)
    about = json.loads((out / "about.json").read_text())
    assert len(about["classes"]) == 19 and len(about["factors"]) == len(TABLE)


def test_export_with_factors_set(tmp_path, capsys):
    from pspnb.cli import main

    out = tmp_path / "set"
    argv = ["facets", "--n", "3", "--size", "32", "--seed", "4", "--output", str(out)]
    assert main([*argv, "--set", "yaw=0, hat=sun hat"]) == 0
    with open(out / "factors.csv", newline="") as file:
        table = list(csv.DictReader(file))
    factors = sample_factors(4, 3)
    assert {(r["hat"], float(r["yaw"])) for r in table} == {("sun hat", 0.0)} and float(factors["yaw"].abs().min()) > 0
    assert [float(r["pitch"]) for r in table] == pytest.approx(factors["pitch"].tolist(), rel=1e-4)
    image = np.asarray(Image.open(out / "images" / "000001.png"))
    expected = render(edit(factors, yaw=0.0, hat="sun hat"), 32).image[1].permute(1, 2, 0).numpy()
    assert np.abs(image / 127.5 - 1 - expected).max() < 1.001 / 255
    assert json.loads((out / "about.json").read_text())["set"] == {"yaw": 0.0, "hat": "sun hat"}
    for wrong, message in (
        ("hat=fedora", "one of none, beanie, cap, sun hat"),
        ("yawn=1", "expected an attribute among head_width, head_height, "),
        ("factors=1", "; got 'factors'"),
        ("yaw=left", "a number for the continuous factor yaw, got 'left'"),
        ("yaw=90", "in [-40, 40]"),
        ("yaw", "such as yaw=0,hat=none, got 'yaw'"),
    ):
        assert main([*argv, "--overwrite", "--set", wrong]) == 2
        assert message in capsys.readouterr().err and len(os.listdir(out / "images")) == 3


def test_export_of_a_split_and_its_refusals(tmp_path):
    out = export(tmp_path / "set", n=2, size=32, split="validation", progress=False)
    with open(out / "factors.csv", newline="") as file:
        assert [r["identity"] for r in csv.DictReader(file)] == ["10000000", "10000000"]
    before = sorted(os.listdir(out / "images"))
    with pytest.raises(ValueError, match="exists"):
        export(out, n=1, size=32, progress=False)
    assert sorted(os.listdir(out / "images")) == before
    export(out, n=1, size=32, overwrite=True, progress=False)
    assert os.listdir(out / "images") == ["000000.png"]
    for bad, message in (
        ({"n": 0}, "at least 1"),
        ({"n": 1001, "split": "test"}, "at most"),
        ({"n": 1, "split": "x"}, "split of"),
    ):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "other", size=32, progress=False, **bad)
    assert sorted(os.listdir(tmp_path)) == ["set"]
