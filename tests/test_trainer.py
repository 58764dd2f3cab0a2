"""The one loop: it learns every task, writes what it says, freezes what it should, and stops when it must."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from _tiny import SIZE, all_terms, equal, l2_terms, tiny_arrays, tiny_batches, tiny_psp
from PIL import Image
from torch import nn

from pspnb.errors import PspnbError
from pspnb.losses import LossTerm, LossWeights
from pspnb.models.runs import fingerprint
from pspnb.tasks import TASKS
from pspnb.training.callbacks import Callback, TensorBoard, picture_rows
from pspnb.training.checkpoint import CheckpointError, load_checkpoint
from pspnb.training.data import Batches
from pspnb.training.encoder import EncoderStepper, fit_encoder
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.journal import read_journal
from pspnb.training.loop import Outcome
from pspnb.training.processes import Processes
from pspnb.training.recorder import TrainingDiverged


def quick(steps: int, **changes) -> EncoderConfig:
    defaults = {"lr": 1e-3, "log_every": 1, "picture_every": 0, "validate_every": 0, "checkpoint_every": 5}
    return EncoderConfig(steps=steps, **defaults | changes)


def train(out, config, psp=None, batches=None, losses=None, callbacks=(), **options):
    psp = psp or tiny_psp()
    batches = batches or tiny_batches()
    losses = losses or l2_terms(psp)
    outcome = fit_encoder(psp, batches, losses, config, callbacks, out=out, progress=False, **options)
    return psp, outcome


class At(Callback):
    """Does something after a step."""

    def __init__(self, step, action):
        self.when, self.action = step, action

    def log(self, step, record):
        if step == self.when:
            self.action()


# ---- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_every_task_overfits_one_batch(tmp_path, name):
    task = TASKS[name]
    psp = tiny_psp(in_channels=task.in_channels)
    weights = LossWeights(**vars(task.weights) | {"l2": 1.0, "lpips": 0.2})
    batches = tiny_batches(name, n=2, batch=2)
    train(tmp_path, quick(40, lr=0.02, checkpoint_every=0), psp, batches, all_terms(psp, weights))
    losses = [line["loss_l2"] for line in read_journal(tmp_path / "log.jsonl")]
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


@pytest.mark.parametrize(
    "options",
    [{"bf16": True}, {"optimizer": "adam"}, {"optimizer": "muon"}, {"noise": "const", "channels_last": False}],
)
def test_options_of_the_same_loop(tmp_path, options, monkeypatch):
    monkeypatch.setattr("pspnb.training.precision.computes_in_bf16", lambda device: True)
    psp, _ = train(tmp_path, quick(40, lr=0.02, **options), batches=tiny_batches(n=4))
    losses = [line["loss_l2"] for line in read_journal(tmp_path / "log.jsonl")]
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.dtype == torch.float32 for p in psp.parameters())


@pytest.mark.slow
def test_compiled(tmp_path):
    """In a process without the checks of shape annotations, which the compiler can't trace.

    Traced and differentiated by the compiler, but not turned into C++, which takes minutes on a CPU.
    """
    script = """
import functools, sys, torch
sys.path.insert(0, "tests")
torch.compile = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
from _tiny import l2_terms, tiny_batches, tiny_psp
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig
for name in ("True", "False"):
    psp = tiny_psp()
    config = EncoderConfig(steps=3, lr=1e-3, log_every=1, compile=name == "True", noise="const")
    fit_encoder(psp, tiny_batches(), l2_terms(psp), config, out=f"{sys.argv[1]}/{name}", progress=False)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=Path(__file__).parents[1])
    compiled, plain = (read_journal(tmp_path / name / "log.jsonl") for name in ("True", "False"))
    assert len(compiled) == 3
    for a, b in zip(compiled, plain, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_accumulation_is_the_whole_batch(tmp_path):
    """With BatchNorm's statistics out of the way: they belong to the part that is on the device."""
    ends = []
    for parts in (1, 2, 4):
        psp = tiny_psp()
        for module in psp.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module
                module.training = False
        train(tmp_path / str(parts), quick(6, accumulate=parts), psp)
        ends.append([p.detach() for p in psp.encoder.parameters()])
        lines = read_journal(tmp_path / str(parts) / "log.jsonl")
        ends[-1].append(torch.tensor([line["loss"] for line in lines]))
    for other in ends[1:]:
        for a, b in zip(ends[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_learning_rate():
    run = EncoderStepper(tiny_psp(), tiny_batches(), [], quick(100, lr=2.0, decay_from=0.5), team=Processes())
    assert [run.rate_at(step) for step in (0, 50)] == [2.0, 2.0]
    assert run.rate_at(75) == pytest.approx(1.0) and run.rate_at(100) == pytest.approx(0.0)
    run = EncoderStepper(tiny_psp(), tiny_batches(), [], quick(100, lr=2.0), team=Processes())
    assert run.rate_at(99) == 2.0


# ---- frozen --------------------------------------------------------------------------------------------------------


def test_frozen_is_frozen(tmp_path):
    psp = tiny_psp()
    assert any(p.requires_grad for p in psp.decoder.parameters())
    before = {k: v.clone() for k, v in psp.decoder.state_dict().items()}
    average, terms = psp.latent_avg.clone(), all_terms(psp, LossWeights(id=0.1, l2=1.0, lpips=0.8))
    train(tmp_path, quick(3), psp, losses=terms)
    assert equal(before, psp.decoder.state_dict()) and torch.equal(psp.latent_avg, average)
    assert all(p.grad is None and not p.requires_grad for p in psp.decoder.parameters())
    assert all(p.grad is not None for p in psp.encoder.parameters())
    assert not psp.training and not any("batches" in thread.name for thread in threading.enumerate())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_device():
    for name in TASKS:
        psp = tiny_psp(in_channels=TASKS[name].in_channels).cuda()
        terms = all_terms(psp, TASKS[name].weights)
        nets = [cell.cell_contents for term in terms for cell in term.fn.__closure__ or ()]
        for net in nets:
            if isinstance(net, nn.Module):
                net.cuda()
        run = EncoderStepper(psp, tiny_batches(name), terms, quick(10), team=Processes("cuda"))
        run.train_step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                run.train_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


# ---- what is written -----------------------------------------------------------------------------------------------


def test_log_pictures_and_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = quick(6, log_every=2, picture_every=3, validate_every=4)
    validation = Batches(tiny_arrays(5, seed=1), TASKS["inversion"], batch=2)
    train(tmp_path, config, callbacks=[TensorBoard(tmp_path / "tb")], validation=validation)
    lines = read_journal(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 4, 6] and lines[0]["images"] == 8
    assert set(lines[0]) == {"step", "images", "loss_l2", "loss_w_norm", "loss", "lr", "images_per_s"}
    assert set(lines[2]) == {"step", "images", "val_loss_l2", "val_loss_w_norm", "val_loss"}
    assert lines[0]["loss"] == pytest.approx(lines[0]["loss_l2"] + 0.001 * lines[0]["loss_w_norm"], rel=1e-5)
    for step in (3, 6):
        with Image.open(tmp_path / "pictures" / f"{step:07d}.png") as sheet:
            assert sheet.size == (3 * (SIZE + 2) + 2, 4 * (SIZE + 2) + 2)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [2, 4, 6]
    assert events.Scalars("train/loss")[0].value == pytest.approx(lines[0]["loss"], rel=1e-6)
    assert events.Scalars("validation/loss")[0].value == pytest.approx(lines[2]["val_loss"], rel=1e-6)
    assert [e.step for e in events.Images("source, target, output")] == [3, 6]


def test_log_means_are_over_the_window(tmp_path):
    train(tmp_path / "each", quick(6, log_every=1))
    train(tmp_path / "window", quick(6, log_every=3))
    each = [line["loss"] for line in read_journal(tmp_path / "each" / "log.jsonl")]
    window = [line["loss"] for line in read_journal(tmp_path / "window" / "log.jsonl")]
    assert window == pytest.approx([sum(each[:3]) / 3, sum(each[3:]) / 3], rel=1e-5)


def test_validation_counts_every_image_once():
    psp = tiny_psp()
    run = EncoderStepper(psp, tiny_batches(), l2_terms(psp), quick(5, noise="const"), team=Processes())
    whole = run.losses_on(Batches(tiny_arrays(5), TASKS["inversion"], batch=5))
    parts = run.losses_on(Batches(tiny_arrays(5), TASKS["inversion"], batch=2))
    assert parts == pytest.approx(whole, rel=1e-5)
    before = {k: v.clone() for k, v in psp.state_dict().items()}
    run.losses_on(Batches(tiny_arrays(5), TASKS["inversion"], batch=2))
    assert equal(before, psp.state_dict()), "validation moved BatchNorm statistics"


def test_the_best_encoder_is_kept(tmp_path):
    """A huge step at the end makes the last encoder worse than the best."""
    validation = Batches(tiny_arrays(4), TASKS["inversion"], batch=4)
    psp = tiny_psp()

    def jolt():
        with torch.no_grad():
            for style in psp.encoder.styles:
                style.linear.bias.add_(10)

    config = quick(20, lr=0.02, validate_every=4, noise="const")
    _, outcome = train(tmp_path, config, psp, tiny_batches(n=4), callbacks=[At(19, jolt)], validation=validation)
    lines = [line for line in read_journal(tmp_path / "log.jsonl") if "val_loss" in line]
    best = min(lines, key=lambda line: line["val_loss"])
    assert lines[-1]["val_loss"] > best["val_loss"] == outcome.best
    kept = load_checkpoint(tmp_path / "best.pt")
    assert kept["step"] == best["step"] < 20
    fresh = tiny_psp()
    fresh.encoder.load_state_dict(kept["encoder"])
    run = EncoderStepper(fresh, tiny_batches(), l2_terms(fresh), config, team=Processes())
    assert run.losses_on(validation)["val_loss"] == pytest.approx(best["val_loss"], rel=1e-6)


def test_averaged_weights_are_validated_and_kept(tmp_path):
    validation = Batches(tiny_arrays(4), TASKS["inversion"], batch=4)
    states = []
    psp = tiny_psp()
    start = [p.detach().clone() for p in psp.encoder.parameters()]
    record = At(0, None)
    record.log = lambda step, _: states.append([p.detach().clone() for p in psp.encoder.parameters()])
    train(tmp_path, quick(6, average=0.35, validate_every=6), psp, callbacks=[record], validation=validation)
    average = start
    for step, weights in enumerate(states):
        decay = min(0.35, [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15][step])
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    kept = load_checkpoint(tmp_path / "best.pt")["encoder"]
    names = [name for name, _ in psp.encoder.named_parameters()]
    for name, expected in zip(names, average, strict=True):
        torch.testing.assert_close(kept[name], expected, rtol=1e-4, atol=1e-6)
    for weight, last in zip(psp.encoder.parameters(), states[-1], strict=True):
        assert torch.equal(weight, last), "validation left the averaged weights in the model"
    assert not torch.equal(kept[names[0]], states[-1][0])


def test_picture_rows_of_any_source():
    target = torch.zeros(2, 3, 8, 8)
    sketch = picture_rows(torch.full((2, 1, 8, 8), 0.25), target, target + 1)
    assert sketch.shape == (6, 3, 8, 8) and (sketch[0] == -0.5).all() and (sketch[2] == 1).all()
    planes = nn.functional.one_hot(torch.full((2, 4, 4), 1), 19).permute(0, 3, 1, 2).float()
    colours = picture_rows(planes, target, target)[0]
    torch.testing.assert_close(colours[:, 0, 0], torch.tensor([204.0, 0, 0]) / 127.5 - 1)
    assert torch.equal(picture_rows(target + 0.5, target, target)[3], target[0] + 0.5)


def test_pictures_need_a_step():
    run = EncoderStepper(tiny_psp(), tiny_batches(), [], quick(5), team=Processes())
    with pytest.raises(ValueError, match="expected at least one step"):
        run.pictures(2)


# ---- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, number):
    stop = At(3, lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background of a shell
    psp, outcome = train(tmp_path, quick(50), callbacks=[stop])
    assert outcome == Outcome(step=3, finished=False, best=None)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 3 and equal(state["encoder"], psp.encoder.state_dict())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loss_that_is_no_number_keeps_the_last_good_state(tmp_path):
    psp = tiny_psp()
    calls = []

    def poisoned(s):
        calls.append(1)
        return s.output.square().mean() * (float("nan") if len(calls) == 7 else 1.0)

    losses = [LossTerm("poisoned", 1.0, poisoned)]
    with pytest.raises(TrainingDiverged, match="loss_poisoned is not finite by step 8: stopped"):
        train(tmp_path, quick(50, log_every=4, checkpoint_every=5), psp, losses=losses)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 5 and all(t.isfinite().all() for t in state["encoder"].values())
    # the cause removed, the run goes on
    _, outcome = train(tmp_path, quick(10), losses=[LossTerm("poisoned", 1.0, poisoned)], resume=True)
    assert outcome.finished


def test_a_bad_state_is_not_saved_even_between_logs(tmp_path):
    psp = tiny_psp()
    calls = []

    def poisoned(s):
        calls.append(1)
        return s.output.square().mean() * (float("inf") if len(calls) == 7 else 1.0)

    with pytest.raises(TrainingDiverged, match=r"not finite at step 10: stopped, .*checkpoint.pt is the last good one"):
        train(tmp_path, quick(50, log_every=40), psp, losses=[LossTerm("poisoned", 1.0, poisoned)])
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 5


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """A limit on the size of files stands for the disk: writes beyond it fail half-way, as on a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        fill = At(7, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)))
        with pytest.raises(CheckpointError, match="disk full.*the last checkpoint is intact"):
            train(tmp_path, quick(50, checkpoint_every=5), callbacks=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.jsonl", "recipe.json"]


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    def break_log():
        (tmp_path / "log.jsonl").unlink()
        (tmp_path / "log.jsonl").mkdir()

    with pytest.raises(PspnbError, match="could not write into .* the last checkpoint is intact"):
        train(tmp_path, quick(50), callbacks=[At(7, break_log)])


def test_callbacks_end_however_the_run_ends(tmp_path):
    seen = []

    class Watch(Callback):
        def start(self, step):
            seen.append(("start", step))

        def log(self, step, record):
            if step == 2:
                raise RuntimeError("from a callback")

        def end(self, step):
            seen.append(("end", step))

    with pytest.raises(RuntimeError, match="from a callback"):
        train(tmp_path, quick(5), callbacks=[Watch()])
    assert seen == [("start", 0), ("end", 2)]


# ---- errors --------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    train(tmp_path, quick(5))
    with pytest.raises(
        PspnbError, match=r"checkpoint.pt exists: continue it with resume \(--resume\), or choose another"
    ):
        train(tmp_path, quick(5))


def test_a_run_goes_on_only_as_it_began(tmp_path):
    train(tmp_path, quick(5))
    train(tmp_path, quick(7, log_every=2, checkpoint_every=3), resume=True)  # these may change
    for changes in (
        {"config": quick(9, lr=0.5)},
        {"config": quick(9), "batches": tiny_batches(seed=1)},
        {"config": quick(9), "batches": tiny_batches(n=11)},
        {"config": quick(9), "psp": tiny_psp(seed=5)},
        {"config": quick(9), "losses": [LossTerm("l2", 0.5, lambda s: s.output.mean())]},
    ):
        with pytest.raises(PspnbError, match="expected the options that the run began with: "):
            train(tmp_path, resume=True, **changes)
    with pytest.raises(PspnbError, match="images was 12, is 11$"):
        train(tmp_path, quick(9), batches=tiny_batches(n=11), resume=True)
    torch.save({"step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(PspnbError, match="got one without its options"):
        train(tmp_path, quick(9), resume=True)


def test_fingerprint_tells_generators_apart():
    a, b, c = tiny_psp().decoder, tiny_psp().decoder, tiny_psp().decoder
    with torch.no_grad():
        c.conv1.conv.weight.view(-1)[0] += 1e-6
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "expected steps of at least 1, got 0"),
        ({"lr": 0.0}, "expected lr above 0, got 0.0"),
        ({"decay_from": 1.5}, "expected decay_from from 0 to 1, got 1.5"),
        ({"accumulate": 0}, "expected accumulate of at least 1, got 0"),
        ({"average": 1.0}, "expected average from 0 to below 1, got 1.0"),
        ({"log_every": 0}, "expected log_every of at least 1, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**{"steps": 5} | options)


def test_a_batch_must_divide_into_its_parts(tmp_path):
    with pytest.raises(ValueError, match="divides into 1 processes x 3 parts, got 4"):
        train(tmp_path, quick(5, accumulate=3))
    assert not (tmp_path / "log.jsonl").exists()


def test_the_log_is_json_lines(tmp_path):
    train(tmp_path, quick(3))
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
