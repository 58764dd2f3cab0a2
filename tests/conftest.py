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
