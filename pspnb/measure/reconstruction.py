"""How near a reconstruction comes to its target: five numbers for each image, intervals, paired differences, and seconds.

The columns of pSp's Table 1 (similarity, LPIPS, MSE, runtime), and PSNR and SSIM beside them. Chapter: "Ablations".
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pspnb.files.pictures import from_levels
from pspnb.measure.metrics import bootstrap_interval, psnr, ssim

Images = Callable[[Tensor], Tensor]
"""Images to images, or, of a judge, to embeddings (b, e)."""
Interval = dict[str, float]
"""{"value": mean, "lo", "hi": 95 % bootstrap interval, "n": values}."""


@dataclass(frozen=True)
class Metric:
    """How a column is shown; `better` is 1 where higher is better, else -1."""

    title: str
    better: int
    digits: int


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "similarity": Metric("similarity", 1, 3),
        "lpips": Metric("LPIPS form", -1, 3),
        "mse": Metric("MSE", -1, 4),
        "psnr": Metric("PSNR, dB", 1, 2),
        "ssim": Metric("SSIM", 1, 3),
        "seconds": Metric("seconds, 1 thread", -1, 4),
        "seconds_all_threads": Metric("seconds, all threads", -1, 4),
    }
)


def compare(
    output: Float[Tensor, " b 3 h w"],
    target: Float[Tensor, " b 3 h2 w2"],
    *,
    judge: Images | None,
    distance: Images | None,
) -> dict[str, Float[Tensor, " b"]]:
    """Similarity, lpips, mse, psnr and ssim of each pair of images in [-1, 1], at the size of the smaller one.

    `output` is clamped first, as a stored picture is. `judge` gives embeddings (b, e), of which the cosine is taken;
    `distance(output, target)` one number a pair. Without one of them its column is missing.
    """
    size = min(output.shape[-1], target.shape[-1])
    output, target = (_pooled(x, size) for x in (output.float().clamp(-1, 1), target.float()))
    columns = {}
    if judge is not None:
        columns["similarity"] = F.cosine_similarity(judge(output), judge(target))
    if distance is not None:
        columns["lpips"] = distance(output, target)  # type: ignore[call-arg]
    columns["mse"] = (output - target).square().mean(dim=(1, 2, 3))
    return columns | {"psnr": psnr(output, target), "ssim": ssim(output, target)}


def _pooled(x: Tensor, size: int) -> Tensor:
    return x if x.shape[-1] == size else F.adaptive_avg_pool2d(x, size)


@torch.no_grad()
def compare_all(
    pairs: Iterable[tuple[Tensor, Tensor]], *, judge: Images | None, distance: Images | None
) -> dict[str, Float[Tensor, " n"]]:
    """`compare` for batches of (output, target), joined, on the CPU."""
    parts = [compare(output, target, judge=judge, distance=distance) for output, target in pairs]
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}


def measure(
    model: nn.Module | Images,
    images: Float[Tensor, " n 3 s s"] | UInt8[Tensor, " n 3 s s"],
    *,
    judge: Images | None,
    distance: Images | None,
    batch: int = 50,
) -> dict[str, Float[Tensor, " n"]]:
    """similarity, lpips, mse, psnr, ssim of each image and what `model` (a PSP, or a function) makes of it.

    `images` are in [-1, 1], or 0 ... 255 if 8-bit, where the model is. A PSP is used as it is: call `.eval()` before.
    """
    parts = (as_unit(part) for part in images.split(batch))
    with torch.no_grad():
        return compare_all(((model(part), part) for part in parts), judge=judge, distance=distance)


def as_unit(images: Tensor) -> Tensor:
    """8-bit images to [-1, 1]; others as they are."""
    return from_levels(images) if images.dtype == torch.uint8 else images


# ---- intervals -----------------------------------------------------------------------------------------------------


def interval(values: Float[Tensor, " n"], *, seed: int = 0) -> Interval:
    """Mean and 95 % bootstrap interval."""
    value, lo, hi = bootstrap_interval(values, seed=seed)
    return {"value": value, "lo": lo, "hi": hi, "n": len(values)}


def intervals(columns: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, Interval]:
    """`interval` of every column."""
    return {name: interval(values, seed=seed) for name, values in columns.items()}


def paired(a: Mapping[str, Tensor], b: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, Interval]:
    """a - b for every column that both have, over the images that both have (the first ones).

    The same images are drawn again in both, which is what makes it a paired bootstrap: what makes an image hard for both
    cancels, so these intervals are far narrower than those of the two rows suggest.
    """
    out = {}
    for name in (name for name in a if name in b and name in METRICS and not name.startswith("seconds")):
        n = min(len(a[name]), len(b[name]))
        out[name] = interval(a[name][:n] - b[name][:n], seed=seed)
    return out


def quotient(a: Float[Tensor, " n"], b: Float[Tensor, " m"], *, seed: int = 0, rounds: int = 1000) -> Interval:
    """mean(a) / mean(b), with an interval from drawing both anew, independently."""
    generator = torch.Generator().manual_seed(seed)

    def mean(values: Tensor) -> Tensor:
        return values[torch.randint(len(values), (len(values),), generator=generator)].mean()

    drawn = torch.stack([mean(a.double()) / mean(b.double()) for _ in range(rounds)])
    lo, hi = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"value": float(a.double().mean() / b.double().mean()), "lo": lo, "hi": hi, "n": min(len(a), len(b))}


# ---- seconds -------------------------------------------------------------------------------------------------------


def seconds_in_turns(
    rows: Mapping[str, Images], images: Float[Tensor, " n 3 s s"], *, turns: Mapping[str, int], threads: int
) -> dict[str, Float[Tensor, " t"]]:
    """Seconds per image at batch 1 for every row, `turns[row]` images each, with `threads` CPU threads.

    The rows take turns image by image, so that a machine that slows down for a while slows all of them. A row's first
    image is drawn once before, unmeasured, unless the row has few turns (an optimisation needs no warming up).
    """
    out: dict[str, list[float]] = {name: [] for name in rows}
    with _threads(threads):
        for name, draw in rows.items():
            if turns[name] > 5:
                draw(images[:1])
        for turn in range(max(turns.values(), default=0)):
            image = images[turn % len(images)][None]
            for name in (name for name in rows if turn < turns[name]):
                out[name].append(_seconds(rows[name], image))
    return {name: torch.tensor(values) for name, values in out.items()}


def _seconds(draw: Images, image: Tensor) -> float:
    if image.is_cuda:
        torch.cuda.synchronize()
    begin = time.perf_counter()
    draw(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def all_threads() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
