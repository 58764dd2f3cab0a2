"""How fast is one 1024 px inversion, against the published form, on this machine? Ratios, measured side by side.

    python benchmarks/inference.py [--size 1024] [--threads 1] [--compile] [--keep-memory] [--cpu-time] [--out FILE.json]

Compared are, with the same random weights and the same codes:
  published        per-sample weights in a grouped convolution, separate zero-insertion and two-dimensional blur
                   (tests/_second.py, the form of the published code without its CUDA kernels)
  ours             scaled activations, shared weights, channels_last (pspnb.nn.stylegan2)
  ours, prepared   the same networks after pspnb.nn.inference.for_inference
  ours, compiled   with --compile: torch.compile of ours (minutes to start; needs a C++ compiler)
  ours, bf16       ours under torch.autocast(..., torch.bfloat16), where the CPU computes in it
With --keep-memory, freed memory is kept (pspnb.files.memory) in all of them. --cpu-time counts the seconds of the process
instead of those of the clock, for a machine that is busy with something else. Takes about a minute; needs 6 GB.
  published   per-sample weights in a grouped convolution, separate zero-insertion and two-dimensional blur
              (benchmarks/_second.py, the form of the published code without its CUDA kernels)
  ours        scaled activations, shared weights, channels_last (pspnb.nn.stylegan2)
  ours, bf16  the same under torch.autocast(..., torch.bfloat16), where the CPU computes in it
The encoder is the same convolutions in both forms; what differs is the memory format. Takes about a minute; needs 4 GB.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from _second import synthesize_per_sample

from pspnb.files.memory import keep_freed_memory
from pspnb.files.provenance import commit, hardware
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.inference import for_inference
from pspnb.nn.stylegan2 import Generator
from pspnb.training.precision import computes_in_bf16

GROUPS = {
    "convolutions": ("conv",),
    "element-wise": ("mul", "add", "leaky_relu", "sigmoid", "prelu"),
    "copies and layout": ("copy_", "clone", "contiguous", "cat"),
}


def side_by_side(forms: dict, repeats: int, clock: Callable[[], float]) -> tuple[dict, dict]:
    """Best time of each form, taken in turns so that a busy machine is busy for all of them; and what each returns."""
    outputs = {name: f() for name, f in forms.items()}
    seconds = dict.fromkeys(forms, float("inf"))
    for _ in range(repeats):
        for name, f in forms.items():
            start = clock()
            f()
            seconds[name] = min(seconds[name], clock() - start)
    return seconds, outputs


def in_bf16(f):
    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return f()

    return run


def where_time_goes(f) -> dict[str, float]:
    """Share of the CPU time in groups of operations."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        f()
    shares: dict[str, float] = {}
    for event in profile.key_averages():
        name = next((g for g, words in GROUPS.items() if any(w in event.key for w in words)), "everything else")
        shares[name] = shares.get(name, 0.0) + event.self_cpu_time_total
    total = sum(shares.values())
    return {k: round(v / total, 3) for k, v in sorted(shares.items(), key=lambda kv: -kv[1])}


def published_encoder(encoder: GradualStyleEncoder, x: Tensor) -> Tensor:
    """The same encoder in PyTorch's default memory format, as the published code runs it."""
    taps, h = [], encoder.input_layer(x)
    for i, unit in enumerate(encoder.body):
        h = unit(h)
        if i in (6, 20, 23):
            taps.append(h)
    c1, c2, c3 = taps
    p2 = F.interpolate(c3, c2.shape[-2:], mode="bilinear", align_corners=True) + encoder.latlayer1(c2)
    p1 = F.interpolate(p2, c1.shape[-2:], mode="bilinear", align_corners=True) + encoder.latlayer2(c1)
    levels = [c3] * 3 + [p2] * 4 + [p1] * (encoder.n_styles - 7)
    return torch.stack([head(level) for head, level in zip(encoder.styles, levels, strict=True)], dim=1)


@torch.no_grad()
def measure(size: int, repeats: int, *, compiled: bool, clock: Callable[[], float]) -> dict:
    torch.manual_seed(0)
    generator = Generator(size).eval()
    encoder = GradualStyleEncoder(generator.n_styles).eval()
    x, w = torch.rand(1, 3, 256, 256) * 2 - 1, torch.randn(1, generator.n_styles, 512)
    state = generator.state_dict()

    encode, decode = lambda: encoder(x), lambda: generator.synthesize(w)
    encode(), decode()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # before the published form allocates
    shares = {"encoder": where_time_goes(encode), "generator": where_time_goes(decode)}
    start = clock()
    fast_encoder, fast_generator = for_inference(encoder), for_inference(generator)
    prepare_s = clock() - start
    encoder_forms = {
        "published": lambda: published_encoder(encoder, x),
        "ours": encode,
        "ours, prepared": lambda: fast_encoder(x),
    }
    fast_encoder(x)
    start = clock()
    fast_encoder(x)  # lays out the weights
    second_call_s = clock() - start
    generator_forms = {
        "published": lambda: synthesize_per_sample(state, w),
        "ours": decode,
        "ours, prepared": lambda: fast_generator.synthesize(w),
    }
    if compiled:
        faster_encoder, faster_synthesis = torch.compile(encoder), torch.compile(generator.synthesize)
        encoder_forms["ours, compiled"] = lambda: faster_encoder(x)
        generator_forms["ours, compiled"] = lambda: faster_synthesis(w)
    if computes_in_bf16("cpu"):
        encoder_forms["ours, bf16"], generator_forms["ours, bf16"] = in_bf16(encode), in_bf16(decode)
    encoder_s, codes = side_by_side(encoder_forms, repeats, clock)
    generator_s, outputs = side_by_side(generator_forms, repeats, clock)
    for name in ("ours", "ours, prepared"):
        torch.testing.assert_close(codes[name], codes["published"], rtol=1e-3, atol=1e-3)
    reference = outputs["published"]
    rows = {}
    for name in generator_forms:
        total = encoder_s[name] + generator_s[name]
        rows[name] = {
            "encoder_s": round(encoder_s[name], 3),
            "generator_s": round(generator_s[name], 3),
            "total_s": round(total, 3),
            "max_difference": float((outputs[name] - reference).abs().max()),
            "rms_difference_over_std": float((outputs[name] - reference).square().mean().sqrt() / reference.std()),
        }
    for row in rows.values():
        row["speed_up"] = round(rows["published"]["total_s"] / row["total_s"], 2)
        row["generator_speed_up"] = round(rows["published"]["generator_s"] / row["generator_s"], 2)
    return {
        "rows": rows,
        "prepare_s": round(prepare_s, 3),
        "second_call_of_the_encoder_s": round(second_call_s, 3),
        "time_shares_of_ours": shares,
        "peak_memory_gb_of_ours": round(peak_gb, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--keep-memory", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.keep_memory and not keep_freed_memory():
        parser.error("--keep-memory: needs glibc on Linux")
    torch.set_num_threads(args.threads)
    result = {
        "size": args.size,
        "threads": args.threads,
        "freed_memory_kept": args.keep_memory,
        "seconds_of": "the process" if args.cpu_time else "the clock",
        "torch": torch.__version__,
        "machine": hardware(),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seed": 0,
        **measure(
            args.size,
            args.repeats,
            compiled=args.compile,
            clock=time.process_time if args.cpu_time else time.perf_counter,
        ),
    }
    for name, row in result["rows"].items():
        print(f"{name:15s} " + "  ".join(f"{k} {v:.3g}" for k, v in row.items()))
    for net, shares in result["time_shares_of_ours"].items():
        print(f"time of our {net}: " + ", ".join(f"{k} {v:.0%}" for k, v in shares.items()))
    second = result["second_call_of_the_encoder_s"]
    print(f"preparing takes {result['prepare_s']:.1f} s, the encoder's second call {second:.1f} s")
    print(f"peak memory of ours, batch 1: {result['peak_memory_gb_of_ours']} GB")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
