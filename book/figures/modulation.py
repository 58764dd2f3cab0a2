"""Figure "two ways to modulate": the paper's per-sample weights, and scaled activations around one shared weight."""

from _draw import SOFT, arrow, box, canvas, label

from pspnb.show.figures import PALETTE

BLUE, ORANGE, GREEN = PALETTE["blue"], PALETTE["orange"], PALETTE["green"]


COLUMNS = (0.0, 1.65, 3.25, 4.95, 7.25)  # left edges
WIDTHS = (1.05, 1.1, 1.3, 1.45, 1.05)


def draw():
    fig, ax = canvas(8.35, 3.5)
    label(ax, 0, 3.36, "Scaled weights (as the paper writes it)", size=10.5, weight="bold", ha="left")
    label(ax, 0, 1.3, "Scaled activations (as we compute it)", size=10.5, weight="bold", ha="left")
    _scaled_weights(ax, 2.65, 1.78)
    _scaled_activations(ax, 0.1)
    return fig


def _block(ax, column, y, text, **kwargs):
    box(ax, COLUMNS[column], y, WIDTHS[column], 0.54, text, size=9, **kwargs)


def _scaled_weights(ax, top, y):
    """A new weight for every sample: the batch has to run as one grouped convolution."""
    _block(ax, 0, y, "$x$\nb i h w")
    _block(ax, 1, top, "$W$\no i k k", colour=ORANGE)
    _block(ax, 2, top, "scale by $s$\nb o i k k", colour=BLUE)
    _block(ax, 3, top, "divide by norm\nb o i k k", colour=GREEN)
    _block(ax, 3, y, "grouped conv\nb groups", colour=ORANGE)
    _block(ax, 4, y, "$y$\nb o h w")
    for start in (1, 2):
        arrow(ax, (COLUMNS[start] + WIDTHS[start], top + 0.27), (COLUMNS[start + 1], top + 0.27))
    arrow(ax, (COLUMNS[3] + 0.72, top), (COLUMNS[3] + 0.72, y + 0.54))
    arrow(ax, (WIDTHS[0], y + 0.27), (COLUMNS[3], y + 0.27))
    arrow(ax, (COLUMNS[3] + WIDTHS[3], y + 0.27), (COLUMNS[4], y + 0.27))
    label(ax, COLUMNS[3] + WIDTHS[3] + 0.15, top + 0.27, "b weights in memory", size=8.5, colour=SOFT, ha="left")


def _scaled_activations(ax, y):
    """One weight for the whole batch, two cheap element-wise products."""
    _block(ax, 0, y, "$x$\nb i h w")
    _block(ax, 1, y, "times $s$\nb i", colour=BLUE)
    _block(ax, 2, y, "conv with $W$\no i k k", colour=ORANGE)
    _block(ax, 3, y, "times $d$\nb o", colour=GREEN)
    _block(ax, 4, y, "$y$\nb o h w")
    for k in range(4):
        arrow(ax, (COLUMNS[k] + WIDTHS[k], y + 0.27), (COLUMNS[k + 1], y + 0.27))
    label(ax, COLUMNS[3] + 0.72, y + 0.7, "$d = 1\\,/\\,$norm", size=8.5, colour=SOFT)
    label(ax, COLUMNS[2] + 0.65, y + 0.7, "shared by the batch", size=8.5, colour=SOFT)
