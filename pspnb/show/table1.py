"""The pictures of Table 1: people by rows (pSp figures 5 and 6), worst cases by metric (figure 14), the table as a chart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pspnb.files.atomic import write_bytes
from pspnb.measure.ablate import Measured
from pspnb.measure.ablate_table import HYBRID, NAIVE_ROW, NO_ID, NO_LPIPS, OPTIMISATION, PSP_ROW, ROWS, W_ROW
from pspnb.measure.evaluate_encoder import Evaluation
from pspnb.measure.reconstruction import METRICS, as_unit
from pspnb.show import figures

SHORT = {
    W_ROW: "W", NAIVE_ROW: "naive W+", PSP_ROW: "pSp", NO_ID: "no identity loss", NO_LPIPS: "no LPIPS loss",
    OPTIMISATION: "optimised", HYBRID: "hybrid",
}  # fmt: skip
FIGURE5 = (W_ROW, NAIVE_ROW, PSP_ROW, OPTIMISATION)
FIGURE6 = (NO_ID, NO_LPIPS, PSP_ROW)
# PSNR orders the images as MSE does.
JUDGED_BY = ("similarity", "lpips", "mse", "ssim")
WORST = 16


def people_figure(
    targets: Float[Tensor, " n 3 s s"], outputs: Mapping[str, Tensor], rows: Sequence[str], *, people: Sequence[int]
) -> figures.Figure:
    """A row per person: the input, then what each of `rows` makes of it. Rows that were not measured are left out."""
    there = [row for row in rows if row in outputs]
    shown = [i for i in people if all(i < len(outputs[row]) for row in there)]
    grid = [[targets[i], *(outputs[row][i] for row in there)] for i in shown]
    return figures.image_grid(grid, column_titles=["input", *(SHORT.get(row, row) for row in there)], cell=1.1)


def worst(columns: Mapping[str, Tensor], metric: str, *, n: int = WORST) -> Int[Tensor, " m"]:
    """Indices of the `n` images that are worst by a metric, the worst first."""
    return (METRICS[metric].better * columns[metric]).argsort(stable=True)[:n]


def worst_figure(targets: Tensor, outputs: Tensor, columns: Mapping[str, Tensor], *, n: int = WORST) -> figures.Figure:
    """Two rows for each metric: the `n` worst images (8-bit or in [-1, 1]) and, below each, its reconstruction."""
    targets, outputs = as_unit(targets), as_unit(outputs)
    grid, titles = [], []
    for metric in (name for name in JUDGED_BY if name in columns):
        index = worst(columns, metric, n=n)
        grid += [list(targets[index]), list(outputs[index])]
        titles += [f"worst {METRICS[metric].title}", "reconstructed"]
    return figures.image_grid(grid, row_titles=titles, cell=0.62, gap=0.04)


def table_figure(result: Mapping[str, Any]) -> figures.Figure:
    """The table as a chart: a panel for each metric, a dot with its interval for each row, the paper's value as a hollow
    mark, an arrow towards the better end."""
    rows = [row for row in ROWS if row in result["rows"]] + [row for row in result["rows"] if row not in ROWS]
    metrics = [m for m in METRICS if m != "seconds_all_threads" and any(m in result["rows"][r] for r in rows)]
    with figures.plt.rc_context(figures.STYLE):
        fig, axes = figures.plt.subplots(
            2, -(-len(metrics) // 2), figsize=(8.2, 1.0 + 0.62 * max(len(rows), 3)), sharey=True, layout="constrained"
        )
        for axis, metric in zip(axes.flat, metrics, strict=False):
            _panel(axis, result, rows, metric)
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        handles, labels = axes.flat[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
        figures.plt.close(fig)
    return fig


def _panel(axis: Any, result: Mapping[str, Any], rows: Sequence[str], metric: str) -> None:
    y = {row: len(rows) - 1 - i for i, row in enumerate(rows)}
    ours = {row: result["rows"][row][metric] for row in rows if metric in result["rows"][row]}
    values = torch.tensor([v["value"] for v in ours.values()])
    errors = torch.tensor([[v["value"] - v["lo"], v["hi"] - v["value"]] for v in ours.values()]).T.clamp(min=0)
    axis.errorbar(values, [y[r] for r in ours], xerr=errors, fmt="o", ms=4, color=figures.PALETTE["blue"],
                  label="Facets, with 95 % interval")  # fmt: skip
    theirs = {r: v[metric] for r, v in result["paper"]["rows"].items() if r in y and metric in v}
    axis.plot(list(theirs.values()), [y[r] for r in theirs], "D", ms=5, mfc="none", color=figures.PALETTE["vermilion"],
              label="the paper, CelebA-HQ: another domain")  # fmt: skip
    axis.set_yticks(list(y.values()), [ROWS.get(row, row) for row in y])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_title(f"{METRICS[metric].title} {'→' if METRICS[metric].better > 0 else '←'}", fontsize=9)
    axis.tick_params(labelsize=8)
    if metric == "seconds":
        axis.set_xscale("log")
    else:
        axis.margins(x=0.15)


def write_figure(figure: figures.Figure, path: str | Path) -> None:
    """A figure as PNG; all of the file, or nothing of it."""
    write_bytes(path, figures.figure_png(figure))


def write_pictures(result: Mapping[str, Any], measured: Measured, images: Tensor, out: Path) -> None:
    """table1.png, figure5.png, figure6.png and worst.png (of pSp, or of the first row)."""
    row = PSP_ROW if PSP_ROW in measured.outputs else next(iter(measured.outputs))
    people = range(min(8, len(images)))
    write_figure(table_figure(result), out / "table1.png")
    write_figure(people_figure(images, measured.outputs, FIGURE5, people=people), out / "figure5.png")
    write_figure(people_figure(images, measured.outputs, FIGURE6, people=people), out / "figure6.png")
    write_figure(worst_figure(images, measured.outputs[row], measured.columns[row]), out / "worst.png")


def write_worst(found: Evaluation, out: Path) -> None:
    """worst.png of an evaluation: its worst pictures by each metric."""
    write_figure(worst_figure(found.targets, found.outputs, found.columns), out / "worst.png")
