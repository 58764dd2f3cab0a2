"""What Table 1 says: its rows, the paper's own numbers, the paper's claims decided by intervals, and the table as Markdown.

Source: pSp, Table 1 and section 4.1. `pspnb.measure.ablate` measures. Chapter: "Ablations".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pspnb.measure.reconstruction import METRICS, Interval
from pspnb.recipes.variants import model_name

PSP_ROW, W_ROW, NAIVE_ROW, NO_ID, NO_LPIPS = (
    model_name("inversion", variant) for variant in ("psp", "w", "naive_wplus", "no_id", "no_lpips")
)
OPTIMISATION, HYBRID = "optimisation", "hybrid"
# Name -> title, in the paper's order.
ROWS: Mapping[str, str] = MappingProxyType(
    {
        W_ROW: "W encoder",
        NAIVE_ROW: "naive W+",
        PSP_ROW: "pSp",
        NO_ID: "pSp without identity loss",
        NO_LPIPS: "pSp without LPIPS loss",
        OPTIMISATION: "optimisation, 500 steps",
        HYBRID: "pSp, then 100 steps",
    }
)

PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "about": "Another domain: CelebA-HQ photographs, generator of 1024 px, CurricularFace, LPIPS, a GPU. "
        "Richardson et al. 2021, Table 1. Compare orders, not values.",
        "rows": {
            "ALAE": {"similarity": 0.06, "lpips": 0.32, "mse": 0.15, "seconds": 0.207},
            "IDInvert": {"similarity": 0.18, "lpips": 0.22, "mse": 0.06, "seconds": 0.032},
            W_ROW: {"similarity": 0.09, "lpips": 0.31, "mse": 0.11, "seconds": 0.063},
            NAIVE_ROW: {"similarity": 0.48, "lpips": 0.23, "mse": 0.06, "seconds": 0.063},
            PSP_ROW: {"similarity": 0.58, "lpips": 0.19, "mse": 0.04, "seconds": 0.106},
        },
    }
)


# ---- the paper's claims ---------------------------------------------------------------------------------------------

Verdict = Literal["holds", "reversed", "open", "not measured"]


@dataclass(frozen=True)
class Claim:
    """`row` is better than `base` in `metric`. `difference`: row - base, paired; for seconds base / row.

    holds or reversed: the 95 % interval excludes no difference. open: it doesn't.
    """

    text: str
    row: str
    base: str
    metric: str
    difference: Interval | None
    verdict: Verdict


_CLAIMS = (
    ("pSp is better than the W encoder", PSP_ROW, W_ROW, ("similarity", "lpips", "mse")),
    ("naive W+ is better than the W encoder", NAIVE_ROW, W_ROW, ("similarity", "lpips", "mse")),
    ("pSp is better than naive W+", PSP_ROW, NAIVE_ROW, ("similarity", "lpips", "mse")),
    ("the identity loss raises similarity", PSP_ROW, NO_ID, ("similarity",)),
    ("encoding is orders of magnitude faster than optimising", PSP_ROW, OPTIMISATION, ("seconds",)),
)
ORDERS_OF_MAGNITUDE = 100.0  # the plural


def claims(result: Mapping[str, Any]) -> list[Claim]:
    """What the paper claims of Table 1, each decided by the intervals in `result` (of `table1`, or its file)."""
    return [_decide(result, text, row, base, m) for text, row, base, metrics in _CLAIMS for m in metrics]


def _decide(result: Mapping[str, Any], text: str, row: str, base: str, metric: str) -> Claim:
    if row not in result["rows"] or base not in result["rows"]:
        return Claim(text, row, base, metric, None, "not measured")
    if metric == "seconds":
        fast, slow = (result["rows"][name]["seconds"] for name in (row, base))
        ratio = {"value": slow["value"] / fast["value"], "lo": slow["lo"] / fast["hi"], "hi": slow["hi"] / fast["lo"]}
        verdict: Verdict = "holds" if ratio["lo"] > ORDERS_OF_MAGNITUDE else "reversed" if ratio["hi"] < 1 else "open"
        return Claim(text, row, base, metric, ratio, verdict)
    difference = _difference(result["paired"], row, base, metric)
    if difference is None:
        return Claim(text, row, base, metric, None, "not measured")
    low, high = sorted(METRICS[metric].better * difference[end] for end in ("lo", "hi"))
    return Claim(text, row, base, metric, difference, "holds" if low > 0 else "reversed" if high < 0 else "open")


def _difference(pairs: Mapping[str, Any], row: str, base: str, metric: str) -> Interval | None:
    """row - base, stored in one direction or the other."""
    if row in pairs.get(base, {}):
        return pairs[base][row].get(metric)
    other = pairs.get(row, {}).get(base, {}).get(metric)
    return None if other is None else {**other, "value": -other["value"], "lo": -other["hi"], "hi": -other["lo"]}


# ---- Markdown -------------------------------------------------------------------------------------------------------


def markdown(result: Mapping[str, Any]) -> str:
    """The table as Markdown: ours with intervals, the paper's numbers beside them, the differences to pSp below."""
    rows, paper = result["rows"], result["paper"]["rows"]
    columns = [name for name in METRICS if any(name in row for row in rows.values())]
    shown = ("similarity", "lpips", "mse", "seconds")
    lines = [
        _line("", *(f"{METRICS[c].title} {'↑' if METRICS[c].better > 0 else '↓'}" for c in columns), "n",
              *(f"*paper: {c}*" for c in shown)),
        _line("---", *["---:"] * (len(columns) + 1 + len(shown))),
    ]  # fmt: skip
    for name, row in rows.items():
        ours = [_cell(row.get(c), METRICS[c].digits) for c in columns]
        theirs = [f"*{paper[name][c]}*" if name in paper else "" for c in shown]
        lines.append(_line(ROWS.get(name, name), *ours, str(row["mse"]["n"]), *theirs))
    text = [
        "# Table 1", "", f"Facets, {result['n']} test identities; mean [95 % bootstrap interval].",
        f"*In italics, the paper. {result['paper']['about']}*", "", *lines,
    ]  # fmt: skip
    if differences := result["paired"].get(PSP_ROW):
        quality = [c for c in columns if not c.startswith("seconds")]
        text += ["", "## Difference to pSp, image by image", "", _line("", *(METRICS[c].title for c in quality), "n")]
        text.append(_line("---", *["---:"] * (len(quality) + 1)))
        for name, row in differences.items():
            text.append(
                _line(
                    ROWS.get(name, name),
                    *(_cell(row.get(c), METRICS[c].digits, sign="+") for c in quality),
                    str(row["mse"]["n"]),
                )
            )
    text += ["", *_footnotes(result)]
    return "\n".join(text) + "\n"


def _footnotes(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if context := result.get("reference"):
        same, different = (context[k]["value"] for k in ("same_identity", "different_identity"))
        lines.append(f"Similarity of two pictures of one person: {same:.3f}; of two people: {different:.3f}.")
    if about := result.get("provenance"):
        lines += [f"Left out: {line}." for line in about["left_out"]]
        lines.append(
            f"Commit {about['commit']}, seed {about['seed']}, {about['device']}, {about['date']}, {about['seconds']} s."
        )
    return lines


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Interval | None, digits: int, *, sign: str = "") -> str:
    if value is None:
        return ""
    middle, lo, hi = (f"{value[k]:{sign}.{digits}f}" for k in ("value", "lo", "hi"))
    return f"{middle} [{lo}, {hi}]"
