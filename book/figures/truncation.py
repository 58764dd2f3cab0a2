"""Figure "the mean latent": an illustration in two dimensions, from a small fixed warp of a normal distribution."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch

from pspnb.show.figures import PALETTE, use_style


def draw():
    use_style()
    rng = np.random.default_rng(0)
    z = rng.normal(size=(900, 2))
    w = np.stack([z[:, 0] + 0.35 * z[:, 1] ** 2, 0.8 * z[:, 1] + 0.5 * np.sin(1.3 * z[:, 0])], axis=1)
    mean = w.mean(axis=0)
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.1), sharex=True, sharey=True, layout="constrained")
    grey, blue, orange, ink = (PALETTE[k] for k in ("grey", "blue", "orange", "ink"))

    axes[0].scatter(*w.T, s=5, color=grey, alpha=0.35, lw=0, label="$\\psi = 1$")
    axes[0].scatter(*(mean + 0.5 * (w - mean)).T, s=5, color=blue, alpha=0.6, lw=0, label="$\\psi = 0.5$")
    axes[0].set_title("truncation pulls samples to the mean")
    axes[0].legend(loc="upper left", markerscale=3)

    axes[1].scatter(*w.T, s=5, color=grey, alpha=0.35, lw=0)
    target = w[np.argmin(np.abs(w - [2.6, 0.9]).sum(axis=1))]
    arrow = FancyArrowPatch(mean, target, arrowstyle="-|>", mutation_scale=12, color=orange, lw=2, shrinkA=5, shrinkB=3)
    axes[1].add_patch(arrow)
    axes[1].annotate("$E(x)_i$", (mean + target) / 2, xytext=(0, -14), textcoords="offset points", color=ink)
    axes[1].annotate("code $w_i$", target, xytext=(6, 2), textcoords="offset points", color=ink)
    axes[1].set_title("the encoder predicts an offset from the mean")
    halo = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
    for ax in axes:
        ax.scatter(*mean, s=70, color=orange, edgecolor="white", zorder=5)
        ax.annotate(
            "$\\overline{w}$",
            mean,
            xytext=(-17, -5),
            textcoords="offset points",
            color=ink,
            fontsize=12,
            zorder=6,
            bbox=halo,
        )
        ax.set(xticks=[], yticks=[], xlabel="first direction of $\\mathcal{W}$")
    axes[0].set_ylabel("second direction of $\\mathcal{W}$")
    return fig
