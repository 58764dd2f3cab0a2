"""Figure "pSp in one picture": backbone, pyramid, heads and generator at the paper's scale."""

from _draw import SOFT, arrow, box, canvas, face, label, path, plus

from pspnb.nn.encoders import style_groups
from pspnb.show.figures import COARSE, FINE, MIDDLE

COLOURS = (COARSE, MIDDLE, FINE)
ROWS = (3.62, 2.14, 0.66)  # lower edges of the coarse, middle and fine rows


def draw():
    fig, ax = canvas(8.85, 4.95)
    heads = ((1.73, "backbone"), (3.12, "pyramid"), (4.5, "map2style"), (7.02, "generator (frozen)"))
    for x, text in heads:
        label(ax, x, 4.78, text, size=10, weight="bold")
    label(ax, 5.56, 4.78, "$+\\;\\overline{w}$", size=12)
    _backbone(ax)
    _pyramid(ax)
    rows = zip(ROWS, COLOURS, style_groups(18), style_groups(10), (4, 5, 6), strict=True)
    for row, colour, group, small, convs in rows:
        _heads(ax, row, colour, group, small, convs)
    _generator(ax)
    return fig


def _backbone(ax):
    face(ax, 0.0, 0.2, 0.95)
    label(ax, 0.47, 0.1, "$x$  256×256", size=9, va="top")
    box(ax, 1.15, 0.2, 1.16, 0.4, "stem, stage 1", size=9)
    arrow(ax, (0.95, 0.4), (1.15, 0.4))
    bottom = 0.6
    stages = (("stage 2  $c_1$", 64), ("stage 3  $c_2$", 32), ("stage 4  $c_3$", 16))
    for (name, side), row, colour in zip(stages, reversed(ROWS), reversed(COLOURS), strict=True):
        box(ax, 1.15, row + 0.22, 1.16, 0.54, f"{name}\n{side}×{side}", size=9, colour=colour)
        arrow(ax, (1.73, bottom), (1.73, row + 0.22))
        if side < 64:
            label(ax, 1.81, (bottom + row + 0.22) / 2, "stride 2", size=8, colour=SOFT, ha="left")
        bottom = row + 0.76


def _pyramid(ax):
    for row, colour, text in zip(ROWS, COLOURS, ("$c_3$", "$p_2$", "$p_1$"), strict=True):
        box(ax, 2.85, row + 0.24, 0.54, 0.5, text, colour=colour, size=11)
    arrow(ax, (2.31, ROWS[0] + 0.49), (2.85, ROWS[0] + 0.49), colour=COARSE)
    for upper, lower, colour in zip(ROWS, ROWS[1:], COLOURS[1:], strict=False):
        sum_y = lower + 0.95
        path(ax, [(2.31, lower + 0.49), (2.58, lower + 0.49), (2.58, sum_y), (3.01, sum_y)], colour=colour)
        label(ax, 2.6, sum_y + 0.12, "1×1", size=8, colour=SOFT, ha="left")
        arrow(ax, (3.12, upper + 0.24), (3.12, sum_y + 0.11))
        arrow(ax, (3.12, sum_y - 0.11), (3.12, lower + 0.74))
        plus(ax, 3.12, sum_y)
        label(ax, 3.2, (upper + 0.24 + sum_y) / 2, "up ×2", size=8, colour=SOFT, ha="left")


def _heads(ax, row, colour, group, small, convs):
    """`group`: styles of the 18-style model, `small`: the same group at 10 styles."""
    arrow(ax, (3.39, row + 0.49), (3.9, row + 0.49), colour=colour)
    for k in range(3):
        box(ax, 3.9 + 0.06 * k, row + 0.12 + 0.06 * k, 1.1, 0.62, colour=colour, fill=0.9)
    label(ax, 4.57, row + 0.55, f"{len(group)} heads of\n{convs} convs", size=9)
    label(ax, 4.5, row - 0.03, f"styles {group[0]}–{group[-1]}", size=9)
    label(ax, 4.5, row - 0.21, f"(64 px: {small[0]}–{small[-1]})", size=8, colour=SOFT)


def _generator(ax):
    sizes = ((4, 8), (16, 32), (64, "...", 1024))
    targets = [(size, colour) for group, colour in zip(sizes, COLOURS, strict=True) for size in group]
    centres = [4.38 - 0.6 * k for k in range(len(targets))]
    for k, ((size, colour), y) in enumerate(zip(targets, centres, strict=True)):
        box(ax, 6.47, y - 0.2, 1.1, 0.4, str(size) if size == "..." else f"{size}×{size}", colour=colour, size=9)
        if k:
            arrow(ax, (7.02, centres[k - 1] - 0.2), (7.02, y + 0.2))
    for row, colour in zip(ROWS, COLOURS, strict=True):
        y = row + 0.49
        arrow(ax, (5.12, y), (5.45, y), colour=colour)
        plus(ax, 5.56, y, colour=colour)
        for (_, own), centre in zip(targets, centres, strict=True):
            if own == colour:
                path(ax, [(5.67, y), (5.92, y), (5.92, centre), (6.47, centre)], colour=colour)
                box(ax, 6.05, centre - 0.1, 0.21, 0.2, "A", size=7.5, colour=colour, fill=0.75, radius=0.03)
    arrow(ax, (7.57, centres[-1]), (7.82, centres[-1]))
    face(ax, 7.82, centres[-1] - 0.2, 0.95)
    label(ax, 8.3, centres[-1] - 0.3, "$y$  1024×1024", size=9, va="top")
