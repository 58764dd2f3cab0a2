"""Autocast only where the hardware computes in bfloat16."""

import pytest
import torch

from pspnb.training import precision


@pytest.mark.parametrize(("capability", "fast"), [("AVX2", False), ("DEFAULT", False), ("AVX512", True)])
def test_a_cpu_is_asked_what_it_can(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert precision.computes_in_bf16("cpu") is fast
    x = torch.ones(2, 2)
    with precision.mixed_precision("cpu", wanted=True):
        assert (x @ x).dtype is (torch.bfloat16 if fast else torch.float32)
    with precision.mixed_precision("cpu", wanted=False):
        assert (x @ x).dtype is torch.float32


@pytest.mark.parametrize("fast", [True, False])
def test_a_gpu_that_emulates_is_not_fast(monkeypatch, fast):
    """GPUs before Ampere accept bfloat16 without having it; asked for `including_emulation=False`, torch says so."""
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: asked.append(including_emulation) or fast
    )
    assert precision.computes_in_bf16("cuda:0") is fast
    assert asked == [False]


def test_other_devices_compute_in_float32():
    assert not precision.computes_in_bf16("meta")
