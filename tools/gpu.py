"""Fifteen minutes of a GPU, prepared: `python tools/gpu.py check|bench|train|collect --out FOLDER`. `--needs` lists what to carry.

Runs on Linux with Python 3.11 or later, PyTorch with CUDA and no network. Every stage has a time budget and writes results to
FOLDER as it goes (at most eight files), so that a failing stage costs only itself. `--tiny` is the dry run that the tests do on
a CPU. `train` fills the package's own zoo on that machine, in the order in which the networks need one another: instruments,
generator, its gate, encoders, studies; what fits into --seconds is shipped in FOLDER/zoo_*.tar and goes on next time. Of the
repository only pspnb/ and tools/ are needed there.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NEEDS = ("einops", "jaxtyping", "numpy", "safetensors", "scipy", "torch", "torchmetrics", "tqdm")
STAGES = ("check", "bench", "train", "collect")


def needs() -> list[str]:
    """What is missing here of the packages that the stages import."""
    return [name for name in NEEDS if importlib.util.find_spec(name) is None]


@dataclass(frozen=True)
class Sizes:
    """How much of everything: `FULL` on a GPU, `TINY` for the dry run on a CPU."""

    train: int = 50_000  # images of the train split in memory
    instrument_seconds: float = 75.0
    generator_seconds: float = 250.0
    lessons: int = 600_000
    workers: int = 12  # processes that render lessons while the generator trains
    generator_batch: int = 32
    generator_steps: int = 200_000
    gate: int = 10_000
    encoder_seconds: float = 120.0
    study_steps: int = 2000
    lambda_steps: int = 500
    parallel: int = 11
    warm: bool = True  # the generator starts from what is shipped
    repeat: int = 30  # timed repetitions of the benchmarks


FULL = Sizes()
TINY = Sizes(
    train=256, instrument_seconds=2.0, generator_seconds=6.0, lessons=128, workers=1, warm=False, generator_batch=8,
    generator_steps=6, gate=64,
    encoder_seconds=1.0, study_steps=2, lambda_steps=1, parallel=2, repeat=1,
)  # fmt: skip


# Rows of the gate without which no encoder is trained; the others are noisy with a few thousand images.
ESSENTIAL = {
    "perceptual_whole",
    "perceptual_head",
    "mse_head",
    "parsing",
    "yaw_slope",
    "glasses_where_worn",
    "hat_where_worn",
}


class Report:
    """result.json of a stage, written anew after every entry."""

    def __init__(self, path: Path):
        self.path, self.entries, self.began = path, {}, time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, value: Any) -> None:
        """One entry; also said."""
        self.entries[name] = value
        aside = self.path.with_suffix(".tmp")
        aside.write_text(json.dumps(self.entries, indent=1) + "\n")
        aside.replace(self.path)
        print(f"[{time.monotonic() - self.began:6.1f} s] {name}: {json.dumps(value)}", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[dict[str, Any]]:
        """A part of a stage: its entry holds what it notes, its seconds, and the error that ended it, if one did."""
        started, note = time.monotonic(), {}
        try:
            yield note
        except Exception as error:  # the other parts still run
            note["error"] = f"{type(error).__name__}: {error}"[:600]
        note["seconds"] = round(time.monotonic() - started, 2)
        self.add(name, note)


# ---- check ---------------------------------------------------------------------------------------------------------


def check(out: Path, device: str, sizes: Sizes) -> None:
    """CPU and device agree on renderer, generator, encoder and losses; a replayed step runs."""
    import torch

    from pspnb.models.zoo import build
    from pspnb.training.imitation import ImitationConfig, build_generator
    from pspnb.world2 import render, sample_factors

    report = Report(out / "check.json")
    report.add("device", {"name": _device_name(device), "torch": torch.__version__, "missing": needs()})
    torch.manual_seed(0)
    n = 4 if sizes.train < 1000 else 64
    with report.part("renderer") as note:
        f = sample_factors("test", range(n))
        a, b = render(f, 64), render(f, 64, device=device)
        note["largest difference"] = float((a.image - b.image.cpu()).abs().max())
        note["labels that differ"] = float((a.labels != b.labels.cpu()).double().mean())
    generator = build_generator(ImitationConfig()).eval()
    with report.part("generator") as note, torch.no_grad():
        z = torch.randn(n, generator.z_dim)
        note["largest difference"] = _apart(generator, z, device)
    with report.part("encoder") as note, torch.no_grad():
        from pspnb.recipes.variants import encoder_architecture, variant_named
        from pspnb.tasks import task_named

        encoder = build(encoder_architecture(task_named("inversion"), variant_named("psp"), generator=generator)).eval()
        note["largest difference"] = _apart(encoder, a.image, device)
    with report.part("losses") as note, torch.no_grad():
        from pspnb.models.zoo import load_shipped

        net = load_shipped("world2/perceptual").eval()
        there = net.to(device)(a.image.to(device), a.image.flip(0).to(device)).cpu()
        note["largest difference"] = float((net.cpu()(a.image, a.image.flip(0)) - there).abs().max())
    with report.part("replayed step of the generator") as note:
        trainer = _imitation(sizes, device, images=256 if n > 4 else 32)
        note["losses"] = [{k: round(float(v), 4) for k, v in trainer.train_step().items()} for _ in range(3)]
        trainer.step = trainer.config.steps // 2
        note["critical"] = [{k: round(float(v), 4) for k, v in trainer.train_step().items()} for _ in range(2)]
        note["finite"] = trainer.is_finite()


def _apart(network: Any, x: Any, device: str) -> float:
    """Largest difference between CPU and device, over the largest value."""
    here, there = network.cpu()(x), network.to(device)(x.to(device)).cpu()
    network.cpu()
    return float((here - there).abs().max() / here.abs().max())


def _device_name(device: str) -> str:
    from pspnb.files.provenance import hardware

    return hardware(device)


def _imitation_config(sizes: Sizes, *, images: int, seconds: float | None) -> Any:
    from pspnb.recipes.generators import imitation_config

    config = replace(imitation_config("facets64", "gpu"), n_images=images, batch=sizes.generator_batch, seconds=seconds)
    return replace(config, steps=sizes.generator_steps)


def _imitation(sizes: Sizes, device: str, *, images: int) -> Any:
    """A trainer of the generator with `images` lessons."""
    from pspnb.models.zoo import load_shipped
    from pspnb.training.imitation import ImitationStepper
    from pspnb.training.lessons import draw_lessons

    config = _imitation_config(sizes, images=images, seconds=None)
    lessons = draw_lessons(images, even=config.even, device=device)
    return ImitationStepper(config, lessons, load_shipped("world2/perceptual"), device=device)


def _encoder_rate(device: str, out: Path, *, batch: int, steps: int, **options: Any) -> dict[str, float]:
    from pspnb.models.runs import RunFolder
    from pspnb.recipes.encoders import train_encoder
    from pspnb.recipes.recipe import EncoderRecipe
    from pspnb.training.journal import read_journal

    images = max(2 * batch, 64)
    recipe = EncoderRecipe(task="inversion", preset="gpu", steps=steps, batch=batch, images=images, **options)
    train_encoder(recipe, out=out, device=device, progress=False)
    rates = [r["images_per_s"] for r in read_journal(RunFolder(out).log) if r.get("images_per_s")]
    return {"batch": batch, "images_per_s": rates[-1] if rates else float("nan")}


# ---- bench ---------------------------------------------------------------------------------------------------------


def bench(out: Path, device: str, sizes: Sizes) -> None:
    """Images per second: the renderer, the generator's and the encoder's step at 64 px."""
    import torch

    from pspnb.world2 import render, sample_factors

    report = Report(out / "bench.json")
    report.add("device", {"name": _device_name(device), "torch": torch.__version__})
    for n in (256, 1024, 4096) if sizes.repeat > 1 else (8,):
        with report.part(f"renderer, {n} at once") as note:
            f = sample_factors("train", range(n))
            render(f, 64, device=device)
            seconds = _seconds(lambda f=f: render(f, 64, device=device), device, 3)
            note["images_per_s"] = round(n / seconds, 1)
    for batch in (32, 128, 256) if sizes.repeat > 1 else (4,):
        with report.part(f"generator step, batch {batch}") as note:
            trainer = _imitation(replace(sizes, generator_batch=batch), device, images=max(512, batch))
            for name, step in (("imitate", 0), ("critical", trainer.config.steps // 2)):
                trainer.step = step + 1
                trainer.train_step()
                note[f"{name}, images_per_s"] = round(batch / _seconds(trainer.train_step, device, sizes.repeat), 1)
    for batch in (8, 64) if sizes.repeat > 1 else (4,):
        for replay in (True, False):
            with report.part(f"encoder step, batch {batch}, replay {replay}") as note:
                folder = out.parent / "bench_runs" / f"{batch}_{replay}"
                note |= _encoder_rate(device, folder, batch=batch, steps=200 if sizes.repeat > 1 else 2, replay=replay)


def _seconds(run: Any, device: str, times: int) -> float:
    import torch

    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    wait()
    started = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return (time.perf_counter() - started) / times


# ---- train ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A training in a process of its own. `kind` and `name` say which; `options` go into its `EncoderRecipe`."""

    kind: str
    name: str
    variant: str = "psp"
    ship_as: str | None = None
    options: tuple[tuple[str, Any], ...] = ()


# A few replayed steps of an encoder on what the zoo holds: whether the encoders will run, known before their turn comes.
SMOKE = Job("study", "smoke", options=(("steps", 120), ("replay", True), ("images", 512)))


def shipped_jobs(sizes: Sizes) -> list[Job]:
    """The encoders of Table 1, and one that stopped early for the chapter on training."""
    long = (("seconds", sizes.encoder_seconds), ("preset", "gpu"))
    rows = [("psp", "inversion")] + [(v, f"inversion_{v}") for v in ("naive_wplus", "w", "no_id", "no_lpips")]
    jobs = [Job("encoder", name, variant, f"facets64/{name}", long) for variant, name in rows]
    early = (("steps", max(sizes.study_steps // 2, 1)), ("replay", True))
    return [*jobs, Job("encoder", "inversion_midway", "psp", "facets64/inversion_midway", early)]


def study_jobs(sizes: Sizes) -> list[Job]:
    """The conditions of the chapter on ablations: three seeds of the three rows, other encoders, other loss weights."""
    short = (("steps", sizes.study_steps), ("replay", True))
    jobs = [
        Job("study", f"table1/{v}-seed_{seed}", v, None, (*short, ("seed", seed)))
        for seed in (0, 1, 2)
        for v in ("psp", "naive_wplus", "w")
    ]
    others = (
        "largest_map",
        "smallest_map",
        "from_zero",
        "narrow_wplus",
        "tight_wplus",
        "wide_wplus",
        "narrow_heads",
        "wide_heads",
    )
    jobs += [Job("study", f"table1/{v}", v, None, short) for v in others]
    weights: dict[str, dict[str, float]] = {
        "unchanged": {}, "id-0": {"id": 0.0}, "id-0.5": {"id": 0.5}, "lpips-0.2": {"lpips": 0.2}, "lpips-2": {"lpips": 2.0},
        "w_norm-0.0005": {"w_norm": 0.0005}, "w_norm-0.005": {"w_norm": 0.005},
    }  # fmt: skip
    few = (("steps", sizes.lambda_steps), ("replay", True), ("seed", 1))
    return jobs + [Job("study", f"lambdas/psp-{k}", "psp", None, (*few, ("lambdas", v))) for k, v in weights.items()]


def train(out: Path, device: str, sizes: Sizes, *, seconds: float, parts: Sequence[str], runs: Path) -> None:
    """Data, instruments, generator, gate, encoders, studies: those of `parts`, in that order, within `seconds`.

    What lies in `runs` already is used again, so a second call goes on where the first one stopped.
    """
    deadline, began = time.monotonic() + seconds, time.time()
    runs.mkdir(parents=True, exist_ok=True)
    report = Report(out / "train.json")
    report.add("plan", {"parts": list(parts), "seconds": seconds, "device": _device_name(device), **asdict(sizes)})
    team = Team(out, device, sizes, runs, deadline=deadline)
    early = [team.start(Job("cache", "cache"))] + ([team.start(SMOKE)] if "encoders" in parts else [])
    if "instruments" in parts:
        with report.part("data") as note:
            note |= team.run([Job("lookalikes", "lookalikes")], at_once=1) | team.wait(early)
        from pspnb.training.instruments import INSTRUMENTS

        with report.part("instruments") as note:
            note |= team.run([Job("instrument", name) for name in INSTRUMENTS], at_once=len(INSTRUMENTS))
            pack_zoo(out, newer_than=began)
    passed = True
    if "generator" in parts:
        with report.part("generator") as note:
            note |= team.run([Job("generator", "generator")], at_once=1)
            pack_zoo(out, newer_than=began)
        with report.part("gate") as note:
            note |= team.run([Job("gate", "gate")], at_once=1)
            verdict = json.loads((runs / "gate" / "verdict.json").read_text())
            note |= verdict
            passed = bool(verdict["train encoders"])
    jobs = [*(shipped_jobs(sizes) if "encoders" in parts else []), *(study_jobs(sizes) if "studies" in parts else [])]
    if jobs and passed:
        with report.part("cache and smoke test") as note:
            note |= team.wait(early)
        with report.part("encoders and studies") as note:
            note |= team.run(jobs, at_once=sizes.parallel)
    with report.part("pack") as note:
        pack_zoo(out, newer_than=began)
        pack_runs(out, runs)
        note["files"] = {p.name: p.stat().st_size for p in sorted(out.iterdir()) if p.is_file()}


class Team:
    """Jobs as processes. At the deadline those that run are told to stop, then killed; the others are left out."""

    def __init__(self, out: Path, device: str, sizes: Sizes, runs: Path, *, deadline: float):
        self.out, self.device, self.sizes, self.runs, self.deadline = out, device, sizes, runs, deadline

    def start(self, job: Job) -> "Running":
        """One job, in a process of its own; what it says goes to a log in `runs`."""
        log = self.runs / f"{job.name.replace('/', '_')}.log"
        spec = {"job": asdict(job), "sizes": asdict(self.sizes), "runs": str(self.runs), "device": self.device}
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "_job",
            "--out",
            str(self.out),
            "--spec",
            json.dumps(spec),
        ]
        with log.open("w") as file:
            return Running(job.name, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT), log)

    def run(self, jobs: Sequence[Job], *, at_once: int) -> dict[str, Any]:
        """All jobs, `at_once` of them side by side; name -> how it ended."""
        waiting, running, ended = list(jobs), [], {}
        while waiting or running:
            while waiting and len(running) < at_once and time.monotonic() < self.deadline:
                running.append(self.start(waiting.pop(0)))
            if waiting and not running:
                return ended | {job.name: {"left out": "no time"} for job in waiting}
            self._look(running, ended)
            time.sleep(0.1)
        return ended

    def wait(self, running: Sequence["Running"]) -> dict[str, Any]:
        """Until these have ended."""
        left, ended = list(running), {}
        while left:
            self._look(left, ended)
            time.sleep(0.1)
        return ended

    def _look(self, running: list["Running"], ended: dict[str, Any]) -> None:
        for one in list(running):
            late = time.monotonic() - self.deadline
            if one.process.poll() is None and late > 0:
                one.process.send_signal(signal.SIGKILL if late > 10 else signal.SIGTERM)
            if one.process.poll() is not None:
                ended[one.name] = one.outcome()
                running.remove(one)


class Running:
    """A process that was started, and its log."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path):
        self.name, self.process, self.log, self.started = name, process, log, time.monotonic()

    def outcome(self) -> dict[str, Any]:
        """Return code and seconds; of a failure the end of its log."""
        note = {"rc": self.process.returncode, "seconds": round(time.monotonic() - self.started, 1)}
        return note | ({"log": self.log.read_text()[-700:]} if self.process.returncode else {})


def run_job(spec: str, out: Path) -> None:
    """One job, in this process."""
    told = json.loads(spec)
    job, sizes, runs, device = told["job"], Sizes(**told["sizes"]), Path(told["runs"]), told["device"]
    options = {name: value for name, value in job["options"]}
    kinds = {
        "cache": lambda: _fill_cache(sizes),
        "lookalikes": lambda: _draw_lookalikes(runs, device, sizes),
        "instrument": lambda: _train_instrument(job["name"], runs, device, sizes),
        "generator": lambda: _train_generator(runs, out, device, sizes),
        "gate": lambda: _measure_gate(runs / "gate", out, device, sizes),
        "encoder": lambda: _train_encoder(job, options, runs, device, sizes),
        "study": lambda: _train_encoder(job, options, runs, device, sizes),
    }
    kinds[job["kind"]]()


def _tiny(sizes: Sizes) -> bool:
    return sizes.train < 1000


def _fill_cache(sizes: Sizes) -> None:
    from pspnb.world2 import Facets

    for split, n in (("test", None), ("validation", None), ("train", None)):
        # A GPU is slower at this than many cores: the renderer asks it for too many small things.
        Facets(split, 64, n=min(sizes.train, 64) if _tiny(sizes) else n, progress=False)


def _draw_lookalikes(runs: Path, device: str, sizes: Sizes) -> None:
    from pspnb.training.arrays import save_arrays
    from pspnb.training.lookalikes import lookalike_arrays

    path = runs / "lookalikes.safetensors"
    if not path.exists():
        save_arrays(path, lookalike_arrays(max(sizes.train // 4, 20), 4, device=device, batch=1024))


def _train_encoder(job: dict[str, Any], options: dict[str, Any], runs: Path, device: str, sizes: Sizes) -> None:
    from pspnb.models.runs import RunFolder
    from pspnb.recipes.encoders import train_encoder
    from pspnb.recipes.recipe import EncoderRecipe
    from pspnb.shipping.encoders import add_history, ship_encoder
    from pspnb.training.journal import read_journal

    folder = runs / job["name"]
    options = {"variant": job["variant"]} | options
    if _tiny(sizes):
        options |= {"batch": 4, "images": 64} | ({"steps": 4} if "images" in options else {})
    if seconds := options.pop("seconds", None):
        rate = _steps_per_second(folder.with_name(folder.name + "_rate"), options, device, sizes)
        options["steps"] = max(int(rate * seconds) // 250 * 250, 4 if _tiny(sizes) else 250)
        print(f"{rate:.1f} steps a second: {options['steps']} steps", flush=True)
    recipe = EncoderRecipe(task="inversion", **options)
    train_encoder(recipe, out=folder, resume=True, device=device, progress=False)
    if job["ship_as"]:
        ship_encoder(folder, variant=job["variant"], name=job["ship_as"])
        if any("val_loss" in r for r in read_journal(RunFolder(folder).log)):
            add_history(folder, job["name"], folder / "history.json")


def _steps_per_second(folder: Path, options: dict[str, Any], device: str, sizes: Sizes) -> float:
    """Measured on the first steps of a run that is thrown away, beside whatever else this machine does."""
    from pspnb.models.runs import RunFolder
    from pspnb.recipes.encoders import train_encoder
    from pspnb.recipes.recipe import EncoderRecipe
    from pspnb.training.journal import read_journal

    steps = 4 if _tiny(sizes) else 300
    recipe = EncoderRecipe(task="inversion", **options | {"steps": steps})
    train_encoder(recipe, out=folder, device=device, progress=False)
    last = [r for r in read_journal(RunFolder(folder).log) if r.get("images_per_s")][-1:]
    return last[0]["images_per_s"] / (last[0]["images"] / last[0]["step"]) if last else 4.0


def _train_instrument(name: str, runs: Path, device: str, sizes: Sizes) -> None:
    from pspnb.recipes.instruments import train_instrument
    from pspnb.shipping.instruments import export_instrument
    from pspnb.training.arrays import concat_arrays, load_arrays, split_arrays

    folder = runs / name
    arrays = split_arrays("train", 64, n=min(sizes.train, 64) if _tiny(sizes) else None)
    if name.startswith("identity"):
        arrays = concat_arrays([arrays, load_arrays(runs / "lookalikes.safetensors")])
    train_instrument(
        name,
        out=folder,
        device=device,
        preset="gpu",
        seconds=sizes.instrument_seconds,
        arrays=arrays,
        progress=False,
        resume=True,
    )
    export_instrument(folder, folder.parent / "exports" / f"{name}.safetensors")
    ship_quickly(name, folder)


def ship_quickly(name: str, folder: Path) -> None:
    """An instrument into this machine's zoo without its report, which takes longer than its training; `collect` adds that."""
    from pspnb.shipping.instruments import card_of, read_run
    from pspnb.shipping.zoo_file import ship

    weights, about = read_run(folder)
    ship(f"world2/{name}", weights, card_of(name, about, metrics={}))


def collect(out: Path) -> None:
    """On the machine where the results came back to: zoo_*.tar of FOLDER into this package's zoo, reports of instruments added."""
    import pspnb
    from pspnb.models.zoo import ZOO
    from pspnb.shipping.instruments import report
    from pspnb.shipping.zoo_file import add_metrics

    for path in sorted(out.glob("zoo_*.tar")):
        with tarfile.open(path) as tar:
            tar.extractall(ZOO, filter="data")
            names = [Path(member).stem.replace("_", "/", 1) for member in tar.getnames() if member.endswith(".json")]
        for name in names:
            short = name.split("/")[1]
            if name.startswith("world2/") and short != "generator":
                numbers = report(short, pspnb.load(name))
                add_metrics(name, {key: round(value, 5) for key, value in numbers.items()})
            print(name, flush=True)


def _train_generator(runs: Path, out: Path, device: str, sizes: Sizes) -> None:
    import torch

    from pspnb.files.pictures import grid, write_png
    from pspnb.models.runs import RunFolder
    from pspnb.models.zoo import load_shipped
    from pspnb.recipes.generators import about_generator
    from pspnb.shipping.generators import ship_generator
    from pspnb.shipping.zoo_file import half
    from pspnb.training.imitation import ImitationStepper, shipped_state
    from pspnb.training.lessons import GrowingLessons
    from pspnb.training.loop import Every, fit

    folder = runs / "generator"
    config = _imitation_config(sizes, images=sizes.lessons, seconds=sizes.generator_seconds)
    with GrowingLessons(
        sizes.lessons, even=config.even, seed=config.seed, device=device, workers=sizes.workers
    ) as lessons:
        trainer = ImitationStepper(config, lessons, load_shipped("world2/perceptual"), device=device)
        if not RunFolder(folder).begun() and sizes.warm:
            trainer.start_from(shipped_state())
        every = Every(log=100, pictures=max(config.steps // 40, 1) if _tiny(sizes) else 10_000, checkpoint=5000)
        about = about_generator(config, device)
        done = fit(trainer, folder, about=about, every=every, resume=True, progress=False).finished
        print("lessons", lessons.ready(), flush=True)
    print("finished" if done else "stopped", trainer.step, flush=True)
    write_png(out / "generator.png", grid(trainer.samples(64)))
    ship_generator(folder)
    state = {name: half(getattr(trainer, name).state_dict()) for name in ("generator", "average", "discriminator")}
    torch.save(
        {**state, "w_mean": trainer.w_mean.cpu(), "step": trainer.step, "config": asdict(config)}, out / "generator.pt"
    )


def _measure_gate(folder: Path, out: Path, device: str, sizes: Sizes) -> None:
    import torch

    import pspnb
    from pspnb.measure.gate import judge, quick_gate
    from pspnb.measure.pairs import shipped_instruments

    with torch.no_grad():
        generator = pspnb.load_generator("world2/generator", device=device)
        rows = quick_gate(generator, shipped_instruments(device=device), n=min(sizes.gate, 4000), device=device)
    judged = judge(rows)
    missed = [v.row for v in judged if not v.passed]
    verdict = {
        "rows": [f"{v.row} {v.value:.4f} ({v.limit}){'' if v.passed else ' MISSED'}" for v in judged],
        "missed": missed,
        "train encoders": not set(missed) & ESSENTIAL,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1) + "\n")
    (out / "gate.json").write_text(json.dumps(verdict, indent=1) + "\n")


def pack_zoo(out: Path, *, newer_than: float) -> None:
    """What was shipped on this machine since a time, cards and weights, as FOLDER/zoo_*.tar of at most 15 MB each."""
    from pspnb.models.zoo import ZOO

    parts: list[list[Path]] = [[]]
    size = 0
    for path in sorted(p for p in ZOO.iterdir() if p.stat().st_mtime > newer_than):
        if size + path.stat().st_size > 15_000_000:
            parts.append([])
            size = 0
        parts[-1].append(path)
        size += path.stat().st_size
    for k, paths in enumerate(parts):
        with tarfile.open(out / f"zoo_{k}.tar", "w") as tar:
            for path in paths:
                tar.add(path, arcname=path.name)


def pack_runs(out: Path, runs: Path) -> None:
    """Logs, recipes, curves and small pictures of the runs as FOLDER/runs.tar.gz; no weights."""
    with tarfile.open(out / "runs.tar.gz", "w:gz") as tar:
        for path in sorted(runs.rglob("*")):
            if path.suffix in (".jsonl", ".json", ".log", ".png") and path.stat().st_size < 1_500_000:
                tar.add(path, arcname=str(path.relative_to(runs)))


def sizes_of(pairs: Sequence[str], *, tiny: bool) -> Sizes:
    """`FULL` or `TINY` with NAME=VALUE pairs in their places. SystemExit for a name that there is not."""
    sizes = TINY if tiny else FULL
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not hasattr(sizes, name):
            raise SystemExit(f"expected sizes of {', '.join(asdict(sizes))}, got {name!r}")
        sizes = replace(sizes, **{name: type(getattr(sizes, name))(float(value))})
    return sizes


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python tools/gpu.py", description=__doc__)
    parser.add_argument("stage", nargs="?", choices=(*STAGES, "_job"))
    parser.add_argument("--needs", action="store_true", help="list the packages that are missing here, and stop")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"), help="folder for results")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="folder for run folders")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=500.0, help="time budget of train")
    parser.add_argument("--parts", default="instruments,generator,encoders,studies", help="parts of train, with commas")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other sizes, see Sizes")
    parser.add_argument("--tiny", action="store_true", help="a dry run at tiny sizes")
    parser.add_argument("--spec", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.needs:
        print("\n".join(needs()))
        return 0
    if options.stage is None:
        parser.error(f"expected a stage of {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage == "_job":
        run_job(options.spec, options.out)
        return 0
    sizes = sizes_of(options.set, tiny=options.tiny)
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    if options.stage == "collect":
        collect(options.out)
    elif options.stage == "train":
        parts = options.parts.split(",")
        train(options.out, options.device, sizes, seconds=options.seconds, parts=parts, runs=options.runs)
    else:
        {"check": check, "bench": bench}[options.stage](options.out, options.device, sizes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
