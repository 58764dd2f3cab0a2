"""Reconstruction against editability, over inversion methods: rows that a figure can be drawn from. Chapter: "Directions"."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pspnb.measure.edit_subjects import Subjects
from pspnb.measure.pairs import Instruments
from pspnb.measure.reconstruction import compare_all, intervals


def reconstruction(subjects: Subjects, truth: Tensor, instruments: Instruments) -> dict[str, Any]:
    """How near unedited pictures come to the rendered ones: similarity, lpips (perceptual_eval), mse, psnr, ssim."""
    judge = instruments.perceptual_eval or instruments.perceptual
    pairs = zip(subjects.images.split(64), truth.split(64), strict=True)
    return intervals(compare_all(pairs, judge=instruments.identity_eval, distance=judge))


def tradeoff(groups: Mapping[str, Any], *, method: str = "truth") -> list[dict[str, float | str]]:
    """Reconstruction against editability, one row for each group of subjects: what a figure is drawn from.

    Means over legible attributes, of edits by `method`: distance to the true edit, share of the asked amount, leak, identity.
    """
    rows: list[dict[str, float | str]] = []
    for name, group in groups.items():
        edits = [
            (a, a["methods"][method]) for a in group["attributes"].values() if method in a["methods"] and a["legible"]
        ]
        if not edits:
            continue
        total = {key: sum(m[key]["value"] for _, m in edits) / len(edits) for key in ("distance", "mse", "identity")}
        share = sum(m["reached"]["value"] / a["target"] for a, m in edits if a["target"]) / len(edits)
        recon = {
            f"reconstruction_{key}": group["reconstruction"][key]["value"] for key in ("lpips", "mse", "similarity")
        }
        edited = {f"edit_{key}": value for key, value in total.items()}
        leak = sum(m["leak"] for _, m in edits) / len(edits)
        rows.append({"subjects": name, "method": method} | recon | edited | {"edit_share": share, "edit_leak": leak})
    return rows
