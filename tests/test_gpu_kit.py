"""tools/gpu.py on a CPU at tiny sizes, in a copy of the package, so that nothing of this one is overwritten."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load_kit():
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "tools" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "pspnb", folder / "pspnb", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "gpu.py", folder / "tools")
    return folder


def run(copy: Path, *arguments: str) -> str:
    # Packages that the GPU machine lacks must not be asked for.
    block = copy / "block"
    block.mkdir(exist_ok=True)
    lacking = ("lpips", "pooch", "tyro", "beartype", "ipywidgets", "IPython")
    (block / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({lacking!r}))\n")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (copy, block))),
        "PSPNB_CACHE": str(copy / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "tools/gpu.py", *arguments, "--device", "cpu", "--out", "out", "--runs", "runs"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def errors(value) -> list[str]:
    """Every "error", and every return code that is not 0, anywhere in a report."""
    if not isinstance(value, dict):
        return []
    found = [str(value["error"])] if "error" in value else []
    found += [json.dumps(value)] if value.get("rc", 0) != 0 else []
    return found + [e for v in value.values() for e in errors(v)]


def test_needs_are_listed(capsys) -> None:
    kit = load_kit()
    assert kit.main(["--needs"]) == 0
    assert capsys.readouterr().out.split() == []  # this environment has them all


def test_other_sizes_are_read_as_what_they_are() -> None:
    kit = load_kit()
    assert kit.sizes_of(["gate=500", "instrument_seconds=2.5", "warm=0"], tiny=False) == kit.replace(
        kit.FULL, gate=500, instrument_seconds=2.5, warm=False
    )
    with pytest.raises(SystemExit):
        kit.sizes_of(["gates=1"], tiny=False)


def test_every_condition_of_the_chapters_has_a_job() -> None:
    kit = load_kit()
    shipped, studies = kit.shipped_jobs(kit.FULL), kit.study_jobs(kit.FULL)
    assert {j.ship_as for j in shipped} == {
        f"facets64/inversion{v}" for v in ("", "_naive_wplus", "_w", "_no_id", "_no_lpips", "_midway")
    }
    names = [j.name for j in studies]
    assert len(names) == len(set(names)) and "table1/w-seed_2" in names and "lambdas/psp-lpips-2" in names


@pytest.mark.slow
def test_check_runs(copy: Path) -> None:
    run(copy, "check", "--tiny")
    found = json.loads((copy / "out" / "check.json").read_text())
    assert errors(found) == []
    assert found["renderer"]["largest difference"] == 0 and found["replayed step of the generator"]["finite"]


@pytest.mark.slow
def test_the_generator_is_trained_judged_and_packed(copy: Path) -> None:
    run(copy, "train", "--tiny", "--parts", "generator", "--seconds", "600")
    found = json.loads((copy / "out" / "train.json").read_text())
    assert errors(found) == []
    assert found["gate"]["train encoders"] is False  # six steps
    assert "perceptual_head" in found["gate"]["missed"]
    with tarfile.open(copy / "out" / "zoo_0.tar") as tar:
        assert {"world2_generator.json", "world2_generator.safetensors"} <= set(tar.getnames())
    card = json.loads((copy / "pspnb" / "zoo" / "world2_generator.json").read_text())
    assert 1 <= card["steps"] <= 6 and card["world"] == 2
    assert (copy / "out" / "generator.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_job_that_fails_costs_only_itself(copy: Path, tmp_path: Path) -> None:
    kit = load_kit()
    team = kit.Team(tmp_path, "cpu", kit.TINY, tmp_path, deadline=kit.time.monotonic() + 60)
    ended = team.run([kit.Job("no such kind", "a"), kit.Job("no such kind", "b")], at_once=2)
    assert set(ended) == {"a", "b"} and all(e["rc"] and "KeyError" in e["log"] for e in ended.values())
    late = kit.Team(tmp_path, "cpu", kit.TINY, tmp_path, deadline=kit.time.monotonic() - 1)
    assert late.run([kit.Job("cache", "c")], at_once=1) == {"c": {"left out": "no time"}}
