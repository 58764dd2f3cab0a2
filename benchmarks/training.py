"""How fast is a training step of the encoder, against the published form, on this machine? Ratios, measured in turns.

    python benchmarks/training.py [--device cpu|cuda] [--threads 1] [--out benchmarks/results/training.json]

A step is what `pspnb.training` repeats for `pspnb train inversion`: read a batch, encode, generate, three losses, gradients,
Ranger. At facets64 with the shipped generator and instruments (the recipe's batch, and 16); with a GPU also at the paper's
sizes with random weights: 256 px in, 1024 px generator, IR-SE50, ArcFace shape, AlexNet LPIPS (batch 8 and 32). Compared:
  published   the published form, in float32, see _published.py
  ours, fp32  `pspnb.training.encoder.EncoderStepper` without autocast: what the form alone gains
  ours        the same with the recipe's options (bf16 autocast, where the device computes in it)
  compiled    the same under torch.compile (on a CPU at the largest batch only: compiling takes minutes)
Each form lives in a process of its own, so that its memory is its own; the processes work in turns, so that a busy machine is
busy for all of them. On a CPU with one thread the ratio is of processor time (what others take doesn't count), on a GPU of
the time between CUDA events. Before anything is timed, both forms must give the same loss and the same gradients in float32.
The pictures are random numbers: no form's time depends on them. Takes about six minutes on a CPU that does nothing else.
"""

import argparse
import json
import math
import multiprocessing as mp
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from _published import PublishedForm

from pspnb.files.provenance import commit, hardware
from pspnb.losses import IdentityLoss, LPIPSLoss, build_terms, l2
from pspnb.models.psp import PSP
from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.instruments import PerceptualNet
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes.encoders import TRAINING, facets_losses
from pspnb.recipes.scales import FACETS64, FFHQ1024
from pspnb.recipes.variants import VARIANTS, build_psp
from pspnb.tasks import TASKS
from pspnb.training.data import Batches, Pair, PairArrays
from pspnb.training.encoder import EncoderStepper
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.processes import processes

TASK = TASKS["inversion"]
NOTE = (
    "cpu_s is processor time of the form's process, wall_s what a clock on the wall shows: where load_before is near or above "
    "cpus, others were working on this machine, and wall_s measures them too"
)
# The recipe's own batch and larger ones: 8 at both scales when this was written.
CPU_BATCHES = tuple(sorted({TRAINING[FACETS64.name, "cpu"].batch, 16}))
GPU_BATCHES = {FACETS64.name: (*CPU_BATCHES, 64), FFHQ1024.name: (8, 32)}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured: sizes and networks ("facets64", "ffhq1024", and two tiny ones for tests), batch, where."""

    scale: str
    batch: int
    device: str = "cpu"
    threads: int = 1

    @property
    def clock(self) -> str:
        """The clock of the ratios: processor time means nothing where several threads or a GPU work."""
        return "device" if self.device != "cpu" else "cpu" if self.threads == 1 else "wall"


# ---- networks and the two forms --------------------------------------------------------------------------------------


def networks(scale: str) -> tuple[PSP, nn.Module, IdentityLoss, EncoderConfig, int]:
    """Model, distance, identity loss, recipe and image size of a scale; what is not shipped has random weights."""
    torch.manual_seed(0)
    if scale == FACETS64.name:
        from pspnb.models.zoo import load_shipped

        generator = load_shipped(FACETS64.shipped("generator"))
        assert isinstance(generator, Generator)
        return (
            build_psp(TASK, VARIANTS["psp"], generator=generator),
            *facets_losses(),
            TRAINING[scale, "cpu"].config,
            64,
        )
    if scale == FFHQ1024.name:
        model = build_psp(TASK, VARIANTS["psp"], generator=Generator(FFHQ1024.size), scale=FFHQ1024)
        return model, LPIPSLoss(random_trunk=True), IdentityLoss(FaceEmbedder()), TRAINING[scale, "cpu"].config, 256
    small: dict[str, Any] = {"style_dim": 8, "input_size": 32, "units": (1, 1, 1, 1), "widths": (8, 8, 8, 16, 16)}
    face = FaceEmbedder(input_size=16, units=(1, 1, 1, 1), widths=(8, 8, 8, 16, 16), embedding_dim=8)
    if scale == "tiny facets":
        generator = Generator(32, style_dim=8, n_mlp=1, channels=dict.fromkeys((4, 8, 16, 32), 8), noise=False)
        distance: nn.Module = PerceptualNet(widths=(4, 8)).eval().requires_grad_(False)
        identity = IdentityLoss(face, box=None)
    elif scale == "tiny paper":
        generator = Generator(64, style_dim=8, n_mlp=1, channels=dict.fromkeys((4, 8, 16, 32, 64), 8))
        for name, parameter in generator.named_parameters():
            if name.endswith("noise.weight"):
                nn.init.constant_(parameter, 0.1)
        distance, identity = LPIPSLoss(random_trunk=True), IdentityLoss(face)
    else:
        raise ValueError(f"expected scale facets64, ffhq1024, 'tiny facets' or 'tiny paper', got {scale!r}")
    model = PSP(GradualStyleEncoder(generator.n_styles, **small), generator)
    return model, distance, identity, EncoderConfig(steps=1000, bf16=True), 32


class OurForm:
    """`EncoderStepper`, and the pieces of its step for the profile."""

    def __init__(self, run: EncoderStepper, distance: nn.Module, identity: IdentityLoss) -> None:
        self.run, self.distance, self.identity = run, distance, identity
        self.model, self.optimizer = run.model, run.optimizers[0]
        self.losses: Mapping[str, Tensor] = {}

    def close(self) -> None:
        self.run.close()

    def step(self) -> float:
        """One step; its losses stay on the device."""
        self.losses = self.run.train_step()
        return math.nan

    def autocast(self) -> Any:
        return self.run._autocast()

    def next_pair(self) -> Pair:
        if self.run._pairs is None:
            self.run._pairs = self.run.batches.endless(device=self.run.team.device)
        self.model.train()
        return next(self.run._pairs)

    def encode(self, source: Tensor) -> Tensor:
        return self.model.encode(source)

    def decode(self, codes: Tensor, size: int) -> Tensor:
        resize = None if size == self.model.decoder.size else size
        return self.model.decode(codes, noise=self.run.config.noise, resize=resize)

    def terms(self, pair: Pair, output: Tensor) -> Iterator[tuple[str, float, Tensor]]:
        yield "identity", TASK.weights.id, self.identity(output, pair.target).loss
        yield "pixels", TASK.weights.l2, l2(output, pair.target)
        yield "perceptual", TASK.weights.lpips, self.distance(output, pair.target).mean()

    def update(self) -> None:
        self.optimizer.step()
        if self.run.average is not None:
            weights = [w.detach() for w in self.run.weights]
            torch._foreach_lerp_(self.run.average, weights, 1 - self.run.config.average)


Form = OurForm | PublishedForm


def build(setting: Setting, form: str, **changes: Any) -> Form:
    """A form by its name, on the setting's device; `changes` go into the recipe."""
    model, distance, identity, config, size = networks(setting.scale)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4 * setting.batch, 3, size, size), dtype=torch.uint8, generator=draw)
    batches = Batches(PairArrays(images), TASK, batch=setting.batch, seed=0)
    config = replace(config, **{"ours, fp32": {"bf16": False}, "compiled": {"compile": True}}.get(form, {}) | changes)
    device = torch.device(setting.device)
    if form == "published":
        options = {"lr": config.lr, "noise": config.noise, "device": device}
        return PublishedForm(model, batches, distance, identity, TASK.weights, **options)
    distance, identity = distance.to(device), identity.to(device)
    terms = build_terms(TASK.weights, lpips=lambda a, b: distance(a, b).mean(), identity=identity)
    return OurForm(EncoderStepper(model.to(device), batches, terms, config, team=processes(device)), distance, identity)


def assert_same_loss(setting: Setting, *, steps: int = 2) -> dict[str, float]:
    """Both forms in float32 on the same batches: the largest difference of loss, and of gradient, relative to its length.

    AssertionError above 1e-4 (loss) and 1e-3 (gradient), both relative.
    """
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        ours = build(setting, "ours, fp32", noise="const", lr=1e-5)
        published = build(setting, "published", noise="const", lr=1e-5)
        assert isinstance(ours, OurForm) and isinstance(published, PublishedForm)
        seen = {"loss": 0.0, "gradient": 0.0}
        with closing(ours), closing(published):
            for step in range(steps):
                ours.step()
                theirs, mine = published.step(), float(ours.losses["loss"])
                seen["loss"] = max(seen["loss"], abs(mine - theirs) / abs(theirs))
                if step == 0:
                    seen["gradient"] = _gradient_difference(ours.model.encoder, published.model.encoder)
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    assert seen["loss"] < 1e-4 and seen["gradient"] < 1e-3, f"expected two forms of one step, they differ by {seen}"
    return seen


def _gradient_difference(ours: nn.Module, published: nn.Module) -> float:
    """|g - h| / |h| over all parameters. The published optimiser leaves centralised gradients behind."""
    apart = length = 0.0
    for p, q in zip(ours.parameters(), published.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        g = p.grad - p.grad.mean(dim=tuple(range(1, p.ndim)), keepdim=True) if p.ndim > 1 else p.grad
        apart += float((g - q.grad).double().square().sum())
        length += float(q.grad.double().square().sum())
    return math.sqrt(apart / length)


# ---- what is measured, in the process of a form ----------------------------------------------------------------------


def turn(form: Form, device: torch.device, steps: int) -> dict[str, float]:
    """Seconds per step of some steps, by three clocks; one more step is taken before them."""
    form.step()
    cuda = device.type == "cuda"
    if cuda:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        begin.record()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        form.step()
    if cuda:
        end.record()
        torch.cuda.synchronize(device)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if cuda:
        seconds["device"] = begin.elapsed_time(end) / 1000
        torch.cuda.empty_cache()  # the next form's process needs it
    return {clock: value / steps for clock, value in seconds.items()}


def flops(form: Form) -> int:
    """Floating-point operations of one step: those of convolutions and matrix products, an addition and a product as two."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward_flops}) as count:
        form.step()
    return count.get_total_flops()


def _backward_flops(grad, x, w, _bias, _stride, _padding, _dilation, transposed, _out, groups, mask, **kwargs) -> int:
    """torch's own count takes the weight gradient of a grouped convolution for that of a dense one, `groups` times as much."""
    one = (
        2 * x[0] * math.prod((x if transposed else grad)[2:]) * math.prod(w)
    )  # shapes; what the forward pass costs, and each gradient
    return one * (int(mask[0]) + int(mask[1]))


def parts(form: Form, device: torch.device, steps: int) -> dict[str, float]:
    """Share of a step's time in each part, the graph cut between encoder, generator and losses. Shares sum to 1."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = _now(device)
        yield
        seconds[name] = seconds.get(name, 0.0) + _now(device) - start

    for _ in range(steps):
        pair = form.next_pair()
        for group in form.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        with timed("encoder, forward"), form.autocast():
            codes = form.encode(pair.source)
        cut = codes.detach().requires_grad_()
        with timed("generator, forward"), form.autocast():
            image = form.decode(cut, pair.target.shape[-1])
        seen = image.detach().requires_grad_()
        terms, done = form.terms(pair, seen), False
        while not done:  # a generator computes a term when it is asked for the next
            start = _now(device)
            with form.autocast():
                term = next(terms, None)
            if done := term is None:
                break
            name, weight, value = term
            (weight * value).backward()
            seconds[name] = seconds.get(name, 0.0) + _now(device) - start
        with timed("generator, backward"):
            image.backward(seen.grad)
        with timed("encoder, backward"):
            codes.backward(cut.grad)
        with timed("optimiser"):
            form.update()
    total = sum(seconds.values())
    return {name: round(value / total, 3) for name, value in sorted(seconds.items(), key=lambda kv: -kv[1])}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def resident_gb() -> float:
    """The largest memory this process has had so far. Not ru_maxrss where it can be helped: a child inherits its parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6
    except (OSError, StopIteration):
        scale = 1e9 if sys.platform == "darwin" else 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def memory(device: torch.device, networks_gb: float) -> dict[str, float]:
    """Peak in GB of the process (CPU) or of PyTorch's allocations on the device, and of that the step's own."""
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else resident_gb()
    return {"peak_gb": round(peak, 3), "peak_gb_of_the_step": round(peak - networks_gb, 3)}


def serve(pipe: Connection, setting: Setting, name: str) -> None:
    """A form's process: builds it, then does what it is told until it is told nothing."""
    torch.set_num_threads(setting.threads)
    device = torch.device(setting.device)
    try:
        if name == "check":
            pipe.send(assert_same_loss(setting))
            return
        form = build(setting, name)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            before = torch.cuda.memory_allocated(device) / 1e9
            torch.cuda.reset_peak_memory_stats(device)
        else:
            before = resident_gb()
        jobs: dict[str, Callable[..., Any]] = {
            "turn": lambda steps: turn(form, device, steps),
            "memory": lambda: memory(device, before),
            "flops": lambda: flops(form),
            "parts": lambda steps: parts(form, device, steps),
        }
        with closing(form):
            while (job := pipe.recv()) is not None:
                pipe.send(jobs[job[0]](*job[1:]))
    except (AssertionError, RuntimeError) as error:  # torch.cuda.OutOfMemoryError is a RuntimeError
        pipe.send(error)


class Worker:
    """The other end of `serve`."""

    def __init__(self, setting: Setting, name: str) -> None:
        context = mp.get_context("spawn")  # a forked process cannot use CUDA
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setting, name), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, *job: Any) -> Any:
        if job:
            self.pipe.send(job)
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        if self.process.is_alive():
            with suppress(OSError):
                self.pipe.send(None)
            self.process.join(30)
        self.process.terminate()


# ---- the comparison --------------------------------------------------------------------------------------------------


def measure(setting: Setting, forms: tuple[str, ...], *, rounds: int, steps: int) -> dict[str, Any]:
    """All forms of a setting: check, turns, memory, operations, parts."""
    with closing(Worker(replace(setting, batch=min(setting.batch, 4)), "check")) as checker:
        difference = checker.ask()
    workers, failed = {name: Worker(setting, name) for name in forms}, {}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in forms}
    rows: dict[str, Any] = {}

    def ask(name: str, *job: Any) -> Any:
        """None once a form has failed (out of memory, or a compiler is missing): the others go on."""
        if name in failed:
            return None
        try:
            return workers[name].ask(*job)
        except (RuntimeError, OSError, EOFError) as error:
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]

    try:
        for name in forms:
            ask(name, "turn", 2)  # warms up
        for _ in range(rounds):
            for name in forms:
                if (seconds := ask(name, "turn", steps)) is not None:
                    times[name].append(seconds)
        for name in forms:
            used = ask(name, "memory")
            if used is not None:
                rows[name] = row(times[name], setting, used)
        for name in forms:
            if name in rows and name != "compiled":
                rows[name] |= {
                    "parts": ask(name, "parts", steps),
                    "gflop_per_image": ask(name, "flops") / setting.batch / 1e9,
                }
    finally:
        for worker in workers.values():
            worker.close()
    for r in rows.values():
        r["gflop_per_image"] = round(r.get("gflop_per_image", rows.get("ours", r).get("gflop_per_image", math.nan)), 3)
        r["gflop_per_s"] = round(r["gflop_per_image"] * r["images_per_s"], 1)
    ratios = {
        n: ratio(times["published"], times[n], setting.clock) for n in rows if n != "published" and "published" in rows
    }
    return {
        **asdict(setting),
        "clock": setting.clock,
        "rounds": rounds,
        "steps_per_turn": steps,
        "difference_in_fp32": difference,
        "forms": rows,
        "speed_up": ratios,
        "failed": failed,
    }


def row(times: list[dict[str, float]], setting: Setting, used: dict[str, float]) -> dict[str, Any]:
    """Medians over the turns."""
    seconds = {f"{clock}_s": round(statistics.median(t[clock] for t in times), 5) for clock in times[0]}
    return {**seconds, "images_per_s": round(setting.batch / seconds[f"{setting.clock}_s"], 2), **used}


def ratio(slow: list[dict[str, float]], fast: list[dict[str, float]], clock: str) -> dict[str, float]:
    """Of neighbouring turns: their median, and the smallest and the largest."""
    values = [a[clock] / b[clock] for a, b in zip(slow, fast, strict=True)]
    return {
        "median": round(statistics.median(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }


def settings(device: str, threads: int) -> list[tuple[Setting, tuple[str, ...]]]:
    """What is measured on a device, and in which forms."""
    three = ("published", "ours, fp32", "ours")
    if device == "cpu":
        return [
            (
                Setting(scale="facets64", batch=batch, threads=threads),
                (*three, "compiled") if batch == max(CPU_BATCHES) else three,
            )
            for batch in CPU_BATCHES
        ]
    return [
        (Setting(scale=scale, batch=batch, device=device, threads=threads), (*three, "compiled"))
        for scale, batches in GPU_BATCHES.items()
        for batch in batches
    ]


def report(result: dict[str, Any]) -> str:
    """A setting's result as lines of text."""
    lines = [f"{result['scale']}, batch {result['batch']}, {result['device']} (clock: {result['clock']})"]
    for name, r in result["forms"].items():
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in r.items() if key != "parts")
        up = result["speed_up"].get(name)
        against = f"  {up['median']} x published ({up['lowest']} ... {up['highest']})" if up else ""
        lines.append(f"  {name:11s} {numbers}{against}")
    for name, r in result["forms"].items():
        if r.get("parts"):
            lines.append(f"  time of {name}: " + ", ".join(f"{part} {share:.0%}" for part, share in r["parts"].items()))
    return "\n".join(lines + [f"  {name} failed: {why}" for name, why in result["failed"].items()])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=None, help="default: cpu, and cuda where there is one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=None, help="in each turn (default: 3 on a CPU, 20 on a GPU)")
    parser.add_argument("--scale", default=None, help="one scale only; the tiny ones are for tests")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    devices = [args.device] if args.device else ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    chosen = [s for device in devices for s in settings(device, args.threads) if args.scale in (None, s[0].scale)]
    if not chosen:
        forms = ("published", "ours, fp32", "ours")
        chosen = [(Setting(scale=args.scale, batch=4, device=device), forms) for device in devices]
    load, state = os.getloadavg()[0], commit()
    results = []
    for setting, forms in chosen:
        steps = args.steps or (3 if setting.device == "cpu" else 20)
        results.append(measure(setting, forms, rounds=args.rounds, steps=steps))
        print(report(results[-1]), flush=True)
    record = {
        "torch": torch.__version__,
        "machine": hardware(),
        "gpu": hardware("cuda") if "cuda" in devices else None,
        "cpus": os.cpu_count(),
        "load_before": round(load, 2),
        "note": NOTE,
        "commit": state,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seed": 0,
        "settings": results,
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
