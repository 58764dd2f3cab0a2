"""Checkpoints survive a full disk, a stranger's file and a kill; a resumed run ends in the same weights, to the bit."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pspnb.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from pspnb.training.journal import Journal, StopRequest, read_journal

TINY_RUN = """
import sys, torch
from pspnb.training.gan import GanConfig, GanStepper
from pspnb.training.loop import Every, fit
torch.set_num_threads(1)
channels = ((4, 8), (8, 8), (16, 8))
steps = int(sys.argv[2])
config = GanConfig(size=16, style_dim=8, n_mlp=2, channels=channels, d_channels=channels, steps=steps, batch=4, r1_every=4)
pixels = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
trainer = GanStepper(config, lambda i: pixels[i], len(pixels))
fit(trainer, sys.argv[1], about={}, resume=True, progress=False, every=Every(log=5, pictures=1000, checkpoint=10))
"""


def start(out: Path, steps: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TINY_RUN, str(out), str(steps)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_round_trip(tmp_path: Path) -> None:
    state = {"x": torch.arange(3.0), "step": 7, "config": {"channels": ((4, 8),)}, "text": "a"}
    save_checkpoint(tmp_path / "deep" / "c.pt", state)
    loaded = load_checkpoint(tmp_path / "deep" / "c.pt")
    assert torch.equal(loaded.pop("x"), state.pop("x")) and loaded == state
    assert os.listdir(tmp_path / "deep") == ["c.pt"]


def test_a_checkpoint_is_renamed_into_place(tmp_path: Path) -> None:
    """Whoever has the old one open goes on reading it whole: a file that is written or copied over would change under them."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"x": torch.zeros(3)})
    before = path.read_bytes()
    with open(path, "rb") as reader:
        save_checkpoint(path, {"x": torch.ones(1000)})
        assert reader.read() == before and os.fstat(reader.fileno()).st_nlink == 0
    assert load_checkpoint(path)["x"].sum() == 1000 and os.listdir(tmp_path) == ["c.pt"]


def test_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The system refuses to write more than 100 kB to a file: the nearest thing to a full disk that needs no root."""
    code = (
        "import resource, signal, sys, torch; from pspnb.training.checkpoint import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "save_checkpoint(sys.argv[1], {'x': torch.ones(3)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: save_checkpoint(sys.argv[1], {'x': torch.ones(1_000_000)})\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    path = tmp_path / "c.pt"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CheckpointError could not write") and "the last checkpoint is intact" in done.stdout
    assert done.stdout.count("\n") == 1
    assert torch.equal(load_checkpoint(path)["x"], torch.ones(3)) and os.listdir(tmp_path) == ["c.pt"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="no checkpoint was written"):
        save_checkpoint(tmp_path / "file" / "c.pt", {})


class Bomb:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("kind", ["missing", "cut short", "code", "not a dict", "text"])
def test_bad_files_are_refused_in_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pt"
    if kind == "cut short":
        save_checkpoint(path, {"x": torch.ones(1000)})
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "code":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "not a dict":
        torch.save([1, 2], path)
    elif kind == "text":
        path.write_text("hello")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_random_states_come_back() -> None:
    with torch.random.fork_rng(devices=[]):
        own = torch.Generator().manual_seed(3)
        saved = random_states(own=own)
        first = torch.rand(4), torch.rand(4, generator=own)
        restore_random_states(saved, own=own)
        assert torch.equal(first[0], torch.rand(4)) and torch.equal(first[1], torch.rand(4, generator=own))
        with pytest.raises(CheckpointError, match="no random state for other"):
            restore_random_states(saved, other=own)


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL somewhere after the first checkpoint, resume, compare with a run that was never stopped."""
    assert start(tmp_path / "whole", 40).wait(timeout=120) == 0
    victim = start(tmp_path / "killed", 40)
    wait_for(tmp_path / "killed" / "checkpoint.pt")
    victim.send_signal(signal.SIGKILL)
    victim.wait(timeout=30)
    assert start(tmp_path / "killed", 40).wait(timeout=120) == 0
    whole, killed = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert whole["step"] == killed["step"] == 40
    for network in ("generator", "average", "discriminator"):
        for name, value in whole[network].items():
            assert torch.equal(value, killed[network][name]), f"{network}.{name} differs"
    assert [r["step"] for r in read_journal(tmp_path / "killed" / "log.jsonl")] == list(range(5, 45, 5))


def test_sigterm_writes_a_checkpoint_and_ends(tmp_path: Path) -> None:
    run = start(tmp_path, 1_000_000)
    wait_for(tmp_path / "checkpoint.pt")
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) == 0
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] >= 10


def test_stop_request_restores_the_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_journal_drops_what_will_come_again_and_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Journal(path)
    for step in (10, 20, 30):
        log.write({"step": step})
    with path.open("a") as file:
        file.write('{"step": 4')
    assert [r["step"] for r in read_journal(path)] == [10, 20, 30]
    Journal(path, keep_until=20).write({"step": 25})
    assert [r["step"] for r in read_journal(path)] == [10, 20, 25]
