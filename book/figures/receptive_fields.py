"""Figure "what one position of each map can see": theoretical receptive fields of IR-SE50 around its 256 px input."""

from _draw import GREY, canvas, face, label, shade
from _receptive import receptive_fields
from matplotlib.patches import Rectangle

from pspnb.show.figures import COARSE, FINE, MIDDLE


def draw():
    fig, ax = canvas(7.6, 3.8)
    inch = 3.6 / 671  # inches per input pixel
    cx = cy = 1.9
    side = 256 * inch
    face(ax, cx - side / 2, cy - side / 2, side)
    names = (
        "$c_1$, added for the fine styles",
        "$c_2$, added for the middle styles",
        "$c_3$, read by the coarse styles",
    )
    rows = zip(receptive_fields(), names, (FINE, MIDDLE, COARSE), (1.9, 2.85, 3.6), strict=True)
    for (field, stride), name, colour, y in rows:
        seen = field * inch
        ax.add_patch(Rectangle((cx - seen / 2, cy - seen / 2), seen, seen, fc="none", ec=colour, lw=2.2, zorder=6))
        ax.plot([cx + seen / 2, 4.0], [y, y], color=colour, lw=1, zorder=5)
        label(ax, 4.08, y, name, size=9, ha="left", weight="bold", colour=shade(colour, 0.8))
        label(ax, 4.08, y - 0.2, f"sees {field} px, one step is {stride} px", size=8.5, ha="left")
    ax.plot([cx + side / 2, 4.0], [1.35, 1.35], color=GREY, lw=1, zorder=5)
    label(ax, 4.08, 1.35, "the image, 256 px", size=8.5, ha="left")
    return fig
