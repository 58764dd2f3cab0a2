"""Killed at any moment and resumed, a run ends with the weights of the uninterrupted one, bit for bit on a CPU."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from _tiny import all_terms, encoder_tensors, equal, tiny_arrays, tiny_batches, tiny_psp

from pspnb.losses import LossWeights
from pspnb.tasks import TASKS
from pspnb.training.callbacks import Callback
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.data import Batches
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.journal import read_journal

ROOT = Path(__file__).parents[1]


class Kill(Callback):
    """An exception out of the blue: nothing is saved on the way out."""

    def __init__(self, step):
        self.when = step

    def log(self, step, record):
        if step == self.when:
            raise ZeroDivisionError


def train(out, config, *, task="frontalization", resume=False, kill=None):
    psp = tiny_psp(in_channels=TASKS[task].in_channels)
    losses = all_terms(psp, LossWeights(id=0.1, l2=1.0, w_norm=0.005))
    validation = Batches(tiny_arrays(4, seed=9), TASKS[task], batch=4)
    fit_encoder(
        psp,
        tiny_batches(task),
        losses,
        config,
        [Kill(kill)],
        out=out,
        validation=validation,
        resume=resume,
        progress=False,
    )
    return encoder_tensors(psp.encoder.state_dict())


CONFIGS = {
    "published": {},
    "all options": {"accumulate": 2, "average": 0.9, "decay_from": 0.5, "bf16": True, "optimizer": "muon"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_resumed_is_uninterrupted(tmp_path, name):
    """Killed before the first checkpoint, at one, between two, and twice over."""
    config = EncoderConfig(
        steps=16, lr=5e-3, log_every=1, picture_every=7, validate_every=5, checkpoint_every=4, **CONFIGS[name]
    )
    whole = train(tmp_path / "whole", config)
    for kills in ([2], [8], [11], [3, 9, 10, 15]):
        out = tmp_path / "-".join(map(str, kills))
        for i, kill in enumerate(kills):
            with pytest.raises(ZeroDivisionError):
                train(out, config, resume=i > 0, kill=kill)
        assert equal(train(out, config, resume=True), whole), f"killed after steps {kills}"
        ours, theirs = (
            [{k: v for k, v in line.items() if k != "images_per_s"} for line in read_journal(folder / "log.jsonl")]
            for folder in (out, tmp_path / "whole")
        )
        assert ours == theirs, "the log has gaps, repetitions or other numbers"
        best = [load_checkpoint(folder / "best.pt") for folder in (out, tmp_path / "whole")]
        assert best[0]["step"] == best[1]["step"] and equal(best[0]["encoder"], best[1]["encoder"])


def test_log_means_survive_a_kill_within_their_window(tmp_path):
    config = EncoderConfig(steps=14, lr=5e-3, log_every=7, validate_every=0, checkpoint_every=4)
    train(tmp_path / "whole", config)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "killed", config, kill=7)
    train(tmp_path / "killed", config, resume=True)
    losses = [[line["loss"] for line in read_journal(tmp_path / name / "log.jsonl")] for name in ("whole", "killed")]
    assert losses[0] == losses[1] and len(losses[0]) == 2


def test_a_longer_run_goes_on(tmp_path):
    short = EncoderConfig(steps=4, lr=5e-3, log_every=1, validate_every=0, checkpoint_every=0)
    long = EncoderConfig(steps=9, lr=5e-3, log_every=1, validate_every=0, checkpoint_every=0)
    train(tmp_path / "a", short)
    assert equal(train(tmp_path / "a", long, resume=True), train(tmp_path / "b", long))


def test_resume_without_a_checkpoint_starts(tmp_path):
    config = EncoderConfig(steps=3, log_every=1, validate_every=0)
    assert equal(train(tmp_path / "a", config, resume=True), train(tmp_path / "b", config))


SCRIPT = """
import sys
sys.path.insert(0, "tests")
import torch
torch.set_num_threads(1)
from _tiny import l2_terms, tiny_batches, tiny_psp
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig
psp = tiny_psp()
config = EncoderConfig(steps=int(sys.argv[2]), lr=5e-3, log_every=1, validate_every=0, checkpoint_every=3)
print("ready", flush=True)
print(fit_encoder(psp, tiny_batches(), l2_terms(psp), config, out=sys.argv[1], resume=True, progress=False), flush=True)
"""


def start(out, steps):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(steps)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path):
    steps = 120
    process = start(tmp_path / "whole", steps)
    began = time.monotonic()
    assert "finished=True" in process.communicate()[0]
    duration = time.monotonic() - began
    dice, kills = random.Random(), 0
    while kills < 2:
        process = start(tmp_path / "killed", steps)
        try:
            process.communicate(timeout=dice.uniform(0.2, 0.45) * duration)
            break  # it got through before this kill
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    assert kills, "the run was too short to be killed"
    assert "finished=True" in start(tmp_path / "killed", steps).communicate()[0]
    states = [load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed")]
    assert states[0]["step"] == states[1]["step"] == steps
    assert equal(states[0]["encoder"], states[1]["encoder"])
    moments = [state["optimizers"][0]["state"] for state in states]
    assert all(torch.equal(moments[0][i]["slow_buffer"], moments[1][i]["slow_buffer"]) for i in moments[0])
    logged = [line["step"] for line in read_journal(tmp_path / "killed" / "log.jsonl")]
    assert logged == list(range(1, steps + 1))
    leftovers = [path.name for path in (tmp_path / "killed").iterdir() if path.name.startswith(".tmp-")]
    assert len(leftovers) <= kills  # a kill during a write may leave its temporary file, and nothing worse


@pytest.mark.slow
def test_sigterm_writes_a_checkpoint_and_returns(tmp_path):
    process = start(tmp_path, 100_000)
    while not (tmp_path / "checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "finished=False" in output
    logged = read_journal(tmp_path / "log.jsonl")[-1]["step"]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == logged
