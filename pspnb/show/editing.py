"""Figures of edits: the leakage matrix, reconstruction against editability, curves of strength. Chapter: "Directions".

They draw from what `python -m pspnb.measure.leakage` wrote, and measure nothing themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pspnb.show.figures import CYCLE, PALETTE, STYLE, Chart, heat_table

METHOD_NAMES: Mapping[str, str] = {
    "none": "no edit",
    "own": "own difference",
    "render": "rendered",
    "truth": "mean difference",
    "interfacegan": "InterFaceGAN",
    "ganspace": "GANSpace",
    "sefa": "SeFa",
}


def leakage_matrix(
    result: Mapping[str, Any],
    *,
    method: str,
    subjects: str = "generated",
    factors: Sequence[str] | None = None,
    vmax: float = 1.0,
) -> Chart:
    """Rows: edits by `method`; columns: how much each factor moved, 1 = as between two random people.

    `factors`: columns to show, by default all legible ones that some edit moves by a twentieth. ValueError for a method or subjects
    that were not measured.
    """
    edits = _edits(result, subjects)
    if wrong := [name for name, row in edits.items() if method not in row["methods"]]:
        raise ValueError(f"expected a method that was measured, got {method!r} (missing for {wrong[0]})")
    moved = {name: row["methods"][method]["matrix"] for name, row in edits.items()}
    columns = list(factors) if factors is not None else _moving(moved)
    values = torch.tensor(
        [[_value(cells, factor) for factor in columns] for cells in moved.values()], dtype=torch.float32
    ).view(len(moved), len(columns))
    return heat_table(
        values,
        rows=[_readable(name) for name in moved],
        columns=[_readable(name) for name in columns],
        label="change (1: another person)",
        xlabel="factor that moved",
        ylabel=f"edit ({METHOD_NAMES.get(method, method)})",
        vmax=vmax,
    )


def tradeoff_chart(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Reconstruction against editability, a point for each row of `tradeoff`: below and to the left is better."""
    fig = Chart(figsize=(5.2, 3.6), dpi=STYLE["figure.dpi"], layout="constrained")
    FigureCanvasAgg(fig)
    axis = fig.subplots()
    for row, colour in zip(rows, CYCLE * len(rows), strict=False):
        x, y = row["reconstruction_lpips"], row["edit_distance"]
        axis.plot(x, y, "o", color=colour)
        axis.annotate(str(row["subjects"]), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axis.set(xlabel="reconstruction: distance to the picture", ylabel="edit: distance to the true edit")
    axis.grid(color="#e3e6e9", linewidth=0.8)
    axis.margins(0.2)
    return fig


def reach_curves(result: Mapping[str, Any], attribute: str, *, subjects: str = "generated") -> Chart:
    """How far an edit got, against how far its direction was followed, for every method; dashed: what was asked."""
    row = _edits(result, subjects)[attribute]
    fig = Chart(figsize=(5.2, 3.2), dpi=STYLE["figure.dpi"], layout="constrained")
    FigureCanvasAgg(fig)
    axis = fig.subplots()
    curves = {name: found["curve"] for name, found in row["methods"].items() if "curve" in found}
    for (name, curve), colour in zip(curves.items(), CYCLE, strict=False):
        longest = curve[-1][0] or 1.0
        axis.plot(
            [s / longest for s, _ in curve],
            [r for _, r in curve],
            "o-",
            color=colour,
            label=METHOD_NAMES.get(name, name),
        )
    axis.axhline(row["target"], color=PALETTE["grey"], linestyle="--", linewidth=1)
    axis.set(xlabel="strength, of the largest tried", ylabel=f"{_readable(attribute)}: reached ({row['unit']})")
    axis.legend(fontsize=8, frameon=False)
    return fig


def _edits(result: Mapping[str, Any], subjects: str) -> Mapping[str, Any]:
    if subjects not in result["subjects"]:
        raise ValueError(f"expected subjects that were measured ({', '.join(result['subjects'])}), got {subjects!r}")
    return result["subjects"][subjects]["attributes"]


def _moving(moved: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seen = dict.fromkeys(factor for cells in moved.values() for factor in cells)
    return [factor for factor in seen if any(_value(cells, factor) >= 0.05 for cells in moved.values())]


def _value(cells: Mapping[str, Any], factor: str) -> float:
    """nan (an empty cell) where the factor could not be read."""
    value = cells[factor]["value"] if factor in cells else None
    return float("nan") if value is None else float(value)


def _readable(name: str) -> str:
    return name.replace("_", " ").replace(":", ": ")
