"""Figure "which style goes where": the 10 styles of a 64 px generator and the layers that read them."""

from _draw import SOFT, arrow, box, canvas, label, path, plus

from pspnb.nn.encoders import style_groups
from pspnb.nn.stylegan2 import n_styles_for
from pspnb.show.figures import COARSE, FINE, MIDDLE


def draw():
    n = n_styles_for(64)
    colour_of = {i: c for group, c in zip(style_groups(n), (COARSE, MIDDLE, FINE), strict=True) for i in group}
    fig, ax = canvas(8.6, 3.2)
    for y, text in ((2.94, "w+"), (1.75, "maps"), (0.55, "image")):
        label(ax, 0.02, y, text, size=9, ha="left", weight="bold")
    for i in range(n):
        box(ax, _column(i) - 0.26, 2.75, 0.52, 0.38, f"$w_{i}$", colour=colour_of[i], fill=0.75, size=11)
        if i < n - 1:
            _convolution(ax, i, colour_of[i])
    for i in range(1, n, 2):
        _to_rgb(ax, i, colour_of[i], last=i == n - 1)
    return fig


def _column(style):
    return 0.95 + 0.8 * style


def _convolution(ax, style, colour):
    x, side = _column(style), 4 * 2 ** ((style + 1) // 2)
    name = "up" if style % 2 else "conv"
    box(ax, x - 0.3, 1.48, 0.6, 0.54, f"{name}\n{side}×{side}", colour=colour, size=8.5)
    arrow(ax, (x, 2.75), (x, 2.02), colour=colour)
    if style:
        arrow(ax, (x - 0.5, 1.75), (x - 0.3, 1.75), head=6)


def _to_rgb(ax, style, colour, *, last):
    """Reads the map of the column before and the style of its own."""
    x, side = _column(style), 4 * 2 ** (style // 2)
    box(ax, x - 0.4, 0.9, 0.6, 0.3, "ToRGB", colour=colour, size=8, fill=0.75)
    path(ax, [(x - 0.8, 1.48), (x - 0.8, 1.05), (x - 0.4, 1.05)])
    if last:
        arrow(ax, (x, 2.75), (x, 1.2), colour=colour)
    else:  # around the up-convolution that reads the same style
        points = [(x + 0.18, 2.75), (x + 0.18, 2.25), (x + 0.4, 2.25), (x + 0.4, 1.05), (x + 0.2, 1.05)]
        path(ax, points, colour=colour)
    arrow(ax, (x - 0.1, 0.9), (x - 0.1, 0.66))
    plus(ax, x - 0.1, 0.55)
    label(ax, x - 0.1, 0.29, f"{side} px", size=8.5)
    if style > 1:
        arrow(ax, (x - 1.6, 0.55), (x - 0.21, 0.55))
        label(ax, x - 0.9, 0.67, "up ×2", size=8, colour=SOFT)
