"""Fixtures shared by the tests. Everything runs on one or two CPU threads; a GPU is used only by tests that ask for one."""

import os

import pytest
import torch
from _golden import FIXTURES

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture
def fixtures_dir():
    """Folder of real test data; a test that needs it is skipped where it is absent."""
    if not FIXTURES.is_dir():
        pytest.skip(f"the real test data is not beside this checkout ({FIXTURES.name})")
    return FIXTURES
