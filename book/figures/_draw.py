"""Boxes, arrows and a small face: what the diagrams of the book are drawn with. One data unit is one inch."""

from __future__ import annotations

import colorsys

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Ellipse, FancyArrowPatch, FancyBboxPatch

from pspnb.show.figures import PALETTE, use_style

INK, GREY = PALETTE["ink"], PALETTE["grey"]
SOFT = "#5d6873"  # for remarks: grey that is dark enough to read


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty drawing of `width` x `height` inches, origin at the lower left."""
    use_style()
    plt.rcParams["mathtext.fontset"] = "dejavusans"
    fig = plt.figure(figsize=(width, height))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-0.03, width + 0.03), ylim=(-0.03, height + 0.03), aspect="equal")
    ax.axis("off")
    return fig, ax


def tint(colour: str, amount: float = 0.85) -> tuple[float, float, float]:
    """The colour mixed with white; `amount` 1 is white."""
    red, green, blue = (c + (1 - c) * amount for c in to_rgb(colour))
    return red, green, blue


def shade(colour: str, factor: float = 0.7) -> tuple[float, float, float]:
    """A darker version of the colour, for text on its tint."""
    h, lightness, s = colorsys.rgb_to_hls(*to_rgb(colour))
    return colorsys.hls_to_rgb(h, lightness * factor, s)


def box(ax: Axes, x, y, w, h, text="", *, colour=GREY, size=9, fill=0.85, lw=1.1, weight="normal", radius=0.06) -> None:
    """A rounded box with its lower left corner at (x, y) and centred text."""
    style = f"round,pad=0,rounding_size={min(radius, w / 2.1, h / 2.1)}"
    patch = FancyBboxPatch((x, y), w, h, boxstyle=style, fc=tint(colour, fill), ec=colour, lw=lw, zorder=2)
    ax.add_patch(patch)
    if text:
        label(ax, x + w / 2, y + h / 2, text, size=size, weight=weight)


def label(ax: Axes, x, y, text, *, size=9, colour=INK, ha="center", va="center", weight="normal", **kwargs) -> None:
    ax.text(x, y, text, fontsize=size, color=colour, ha=ha, va=va, weight=weight, zorder=5, **kwargs)


def arrow(ax: Axes, start, end, *, colour=INK, lw=1.2, bend=0.0, head=7, style="-|>", line="-") -> None:
    """An arrow from `start` to `end`, bent by `bend` (positive: to the left of its direction)."""
    patch = FancyArrowPatch(
        start, end, arrowstyle=style, mutation_scale=head, lw=lw, color=colour, linestyle=line,
        connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0, zorder=3,
    )  # fmt: skip
    ax.add_patch(patch)


def path(ax: Axes, points, *, colour=INK, lw=1.2, head=7) -> None:
    """An arrow along straight pieces through `points`."""
    xs, ys = zip(*points[:-1], strict=True)
    if len(points) > 2:
        ax.plot(xs, ys, color=colour, lw=lw, solid_joinstyle="round", solid_capstyle="butt", zorder=3)
    arrow(ax, points[-2], points[-1], colour=colour, lw=lw, head=head)


def plus(ax: Axes, x, y, *, radius=0.11, colour=INK) -> None:
    """A circled plus sign."""
    ax.add_patch(Circle((x, y), radius, fc="white", ec=colour, lw=1.1, zorder=4))
    ax.plot([x - radius * 0.55, x + radius * 0.55], [y, y], color=colour, lw=1.2, zorder=5)
    ax.plot([x, x], [y - radius * 0.55, y + radius * 0.55], color=colour, lw=1.2, zorder=5)


def face(ax: Axes, x, y, size, *, skin="#c68e63", hair="#3a2a22", shirt=None, back="#dfe9ec", frame=True) -> None:
    """A small portrait in the square with lower left corner (x, y); stands for "an image" in the diagrams."""
    u = size / 10

    def add(patch, z):
        patch.set_zorder(z)
        patch.set_clip_path(clip)
        ax.add_patch(patch)

    style = f"round,pad=0,rounding_size={0.6 * u}"
    clip = FancyBboxPatch((x, y), size, size, boxstyle=style, fc=back, ec="none", zorder=2)
    ax.add_patch(clip)
    dark = shade(skin, 0.72)
    add(Ellipse((x + 5 * u, y + 6.2 * u), 6.3 * u, 6.4 * u, fc=hair, ec="none"), 2.1)
    add(Ellipse((x + 5 * u, y - 0.4 * u), 8.4 * u, 5.0 * u, fc=shirt or PALETTE["blue"], ec="none"), 2.2)
    add(FancyBboxPatch((x + 4.2 * u, y + 1.2 * u), 1.6 * u, 2 * u, boxstyle="square,pad=0", fc=dark, ec="none"), 2.3)
    add(Ellipse((x + 5 * u, y + 5.1 * u), 5.0 * u, 6.2 * u, fc=skin, ec="none"), 2.4)
    add(Ellipse((x + 4.2 * u, y + 8.0 * u), 4.6 * u, 1.7 * u, angle=14, fc=hair, ec="none"), 2.5)
    for side in (-1, 1):
        add(Ellipse((x + (5 + 1.15 * side) * u, y + 5.4 * u), 0.95 * u, 0.6 * u, fc="white", ec="none"), 2.6)
        add(Circle((x + (5 + 1.15 * side) * u, y + 5.4 * u), 0.27 * u, fc="#2b1d16", ec="none"), 2.7)
        brow = ((x + (5 + 1.15 * side) * u, y + 6.0 * u), 1.3 * u, 0.5 * u)
        add(Arc(*brow, theta1=20, theta2=160, color=hair, lw=max(0.7, 9 * u)), 2.7)
    add(Arc((x + 5 * u, y + 4.5 * u), 0.8 * u, 0.5 * u, theta1=200, theta2=340, color=dark, lw=max(0.6, 6 * u)), 2.7)
    add(
        Arc((x + 5 * u, y + 3.5 * u), 1.8 * u, 1.0 * u, theta1=200, theta2=340, color="#8c3b35", lw=max(0.8, 9 * u)),
        2.7,
    )
    if frame:
        edge = FancyBboxPatch((x, y), size, size, boxstyle=style, fc="none", ec=GREY, lw=1, zorder=3)
        ax.add_patch(edge)
