"""Two processes on a CPU (gloo, through accelerate) against one with the whole batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.journal import read_journal
from pspnb.training.processes import ManyProcesses, Processes, processes

ROOT = Path(__file__).parents[1]

TRAIN = """
import os, signal, sys
sys.path.insert(0, "tests")
import torch
torch.set_num_threads(1)
from _tiny import TinyEncoder, all_terms, tiny_arrays, tiny_batches, tiny_psp
from pspnb.losses import LossWeights
from pspnb.tasks import TASKS
from pspnb.training.callbacks import Callback
from pspnb.training.data import Batches
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig

class Stop(Callback):
    def log(self, step, record):
        if step == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGTERM)

psp = tiny_psp()
psp.encoder = TinyEncoder()
terms = all_terms(psp, LossWeights(id=0.1, l2=1.0, w_norm=0.005))
config = EncoderConfig(
    steps=int(sys.argv[2]), lr=5e-3, noise="random", log_every=1, validate_every=10, picture_every=10,
    accumulate=int(sys.argv[3]),
)
validation = Batches(tiny_arrays(7, seed=3), TASKS["frontalization"], batch=2)
batches = tiny_batches("frontalization", batch=8)
print(fit_encoder(psp, batches, terms, config, [Stop()], out=sys.argv[1], validation=validation, resume=True, progress=False))
"""

BATCH_NORM = """
import os, sys
import torch, torch.distributed as dist
from torch import nn
torch.set_num_threads(1)
dist.init_process_group("gloo")
from pspnb.training.processes import common_batch_norm
net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
data = torch.load(sys.argv[1], weights_only=True)
net.load_state_dict(data["net"])
common_batch_norm(net)
x = data["x"].chunk(2)[dist.get_rank()].clone().requires_grad_()
net(x).pow(3).sum().backward()
for p in net.parameters():
    dist.all_reduce(p.grad)
torch.save({"x": x.grad, "p": [p.grad for p in net.parameters()], "net": net.state_dict(), "eval": net.eval()(x)},
           f"{sys.argv[1]}.{dist.get_rank()}")
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(script, *arguments, world=2):
    """Run a script as `world` processes; their outputs."""
    common = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        ended = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in ended]


def close(a, b, tolerance=2e-3):
    for name in a:
        torch.testing.assert_close(a[name].float(), b[name].float(), rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
def test_two_processes_are_one_with_the_summed_batch(tmp_path):
    """With accumulation, and fresh noise, which belongs to an image. The main process alone is told to stop: both end there."""
    launch(TRAIN, tmp_path / "one", 12, 2, 0, world=1)
    stopped = launch(TRAIN, tmp_path / "two", 12, 2, 6)
    assert all("step=10, finished=False" in output for output in stopped)
    resumed = launch(TRAIN, tmp_path / "two", 12, 2, 0)
    assert all("step=12, finished=True" in output for output in resumed)
    one, two = (read_journal(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        for name in a:
            if name != "images_per_s":
                assert b[name] == pytest.approx(a[name], rel=2e-3), (a["step"], name)
    losses = [line["loss"] for line in one if "loss" in line]
    assert losses[-1] < losses[0], "nothing was learnt, so nothing was compared"
    states = [load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("one", "two")]
    close(states[0]["encoder"], states[1]["encoder"])
    assert (tmp_path / "two" / "pictures" / "0000010.png").is_file() and (tmp_path / "two" / "best.pt").is_file()


@pytest.mark.slow
def test_common_batch_norm_is_batch_norm_of_the_whole(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        net[0].weight.uniform_(0.5, 2)
        net[0].bias.uniform_(-1, 1)
    x = torch.randn(6, 3, 5, 4) * 2 + 1
    torch.save({"net": net.state_dict(), "x": x}, tmp_path / "case")
    launch(BATCH_NORM, tmp_path / "case")
    parts = [torch.load(tmp_path / f"case.{rank}", weights_only=True) for rank in (0, 1)]
    whole = x.clone().requires_grad_()
    net(whole).pow(3).sum().backward()
    torch.testing.assert_close(torch.cat([part["x"] for part in parts]), whole.grad, rtol=1e-4, atol=1e-4)
    for part in parts:
        for gradient, p in zip(part["p"], net.parameters(), strict=True):
            torch.testing.assert_close(gradient, p.grad, rtol=1e-4, atol=1e-3)
        close(part["net"], net.state_dict(), tolerance=1e-6)
    net.eval()
    torch.testing.assert_close(torch.cat([part["eval"] for part in parts]), net(x), rtol=1e-5, atol=1e-5)


def test_a_single_process_is_found_without_accelerate(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = processes("cpu")
    assert type(team) is Processes and team.is_main and team.any(True) and not team.any(False)
    module = nn.Linear(1, 1)
    assert team.wrap(module) is module and issubclass(ManyProcesses, Processes)
