"""Fixtures shared by the tests. Everything runs on one or two CPU threads; a GPU is used only by tests that ask for one."""

import os
from pathlib import Path

import pytest
import torch
from _golden import FIXTURES

# What `make test-fast` runs of every floor: together about a minute on two cores. Tests in them that are marked slow are left out.
FAST = {
    *(
        "nn_ops",
        "nn_state",
        "losses_properties",
        "losses_feature_style",
        "tasks",
        "transforms",
        "sources",
        "redraw",
        "ranger",
    ),
    *(
        "world2_factors",
        "world2_mirror",
        "facets_factors",
        "facets_export",
        "prior",
        "sequences",
        "directions",
        "leakage",
    ),
    *("images", "bad_input", "input_faults", "align", "video_files", "checkpoint_variants", "checkpoints_shipped"),
    *("feature_style", "inference", "inversion_feature", "precision", "metrics", "metrics_generator", "viz", "widgets"),
    *("translate_options", "cli_faults", "gpu_kit"),
}

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def _is_fast(path: Path) -> bool:
    return path.stem.removeprefix("test_") in FAST


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With -m fast, the other files are not even imported."""
    wanted = config.option.markexpr == "fast" and collection_path.match("test_*.py")
    return True if wanted and not _is_fast(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_fast(item.path) and not any(item.iter_markers("slow")):
            item.add_marker("fast")


@pytest.fixture
def fixtures_dir():
    """Folder of real test data; a test that needs it is skipped where it is absent."""
    if not FIXTURES.is_dir():
        pytest.skip(f"the real test data is not beside this checkout ({FIXTURES.name})")
    return FIXTURES


@pytest.fixture
def pspnb_command(capsys):
    """Run a command in this process: (exit code, lines on stdout, lines on stderr)."""
    from pspnb import cli

    def run(*arguments):
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture
def mistake(pspnb_command):
    """Run a command that must fail: one line on stderr, nothing on stdout, exit code 2; returns the line."""

    def run(*arguments):
        code, out, errors = pspnb_command(*arguments)
        assert code == 2 and out == [] and len(errors) == 1 and errors[0].startswith("pspnb: "), (code, out, errors)
        return errors[0]

    return run
