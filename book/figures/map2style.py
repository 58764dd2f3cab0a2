"""Figure "map2style": how many convolutions of stride 2 reduce each pyramid level to one vector, at both scales."""

import math

from _draw import arrow, box, canvas, label, tint
from matplotlib.patches import Rectangle

from pspnb.show.figures import COARSE, FINE, MIDDLE

LEVELS = (("coarse, $c_3$", COARSE), ("middle, $p_2$", MIDDLE), ("fine, $p_1$", FINE))


def draw():
    fig, ax = canvas(8.6, 3.0)
    for row, (name, _) in enumerate(LEVELS):
        label(ax, 0.0, _centre(row), name, size=9, ha="left")
    _column(ax, 0.95, 256)
    _column(ax, 5.62, 64)
    return fig


def _centre(row):
    return 2.3 - row * 0.9


def _column(ax, left, input_size):
    label(ax, left, 2.87, f"{input_size} px input", size=10.5, weight="bold", ha="left")
    for row, (_, colour) in enumerate(LEVELS):
        side, x, y = input_size // 16 * 2**row, left, _centre(row)
        for k in range(int(math.log2(side)) + 1):
            inches = 0.09 + 0.085 * math.log2(side >> k)
            ax.add_patch(Rectangle((x, y - inches / 2), inches, inches, fc=tint(colour, 0.7), ec=colour, lw=1.1))
            label(ax, x + inches / 2, y - inches / 2 - 0.11, str(side >> k), size=8)
            arrow(ax, (x + inches + 0.02, y), (x + inches + 0.17, y), head=5, lw=1)
            x += inches + 0.19
        box(ax, x, y - 0.14, 0.5, 0.28, "linear", colour=colour, size=8)
        arrow(ax, (x + 0.51, y), (x + 0.66, y), head=5, lw=1)
        label(ax, x + 0.7, y, "$w_i$", size=10, ha="left")
