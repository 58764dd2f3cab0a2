"""Table "the same network at two scales", from the library's own functions."""

import math

from pspnb.nn.encoders import style_groups
from pspnb.nn.stylegan2 import n_styles_for


def text() -> str:
    """A markdown table; rows that depend on nothing but input size and number of styles."""
    scales = [(64, 64), (256, 1024)]  # input size, output size
    rows = [("scale", "64 px, Facets", "1024 px, the paper")]

    def row(name, function):
        rows.append((name, *(function(*scale) for scale in scales)))

    def group(level):
        return lambda _, out: "{}-{}".format(*(lambda g: (g[0], g[-1]))(style_groups(n_styles_for(out))[level]))

    row("input $x$", lambda size, _: f"{size} x {size}")
    for name, stride in (("$c_1$, $p_1$", 4), ("$c_2$, $p_2$", 8), ("$c_3$", 16)):
        row(name, lambda size, _, stride=stride: f"{size // stride} x {size // stride}")
    row("styles $n$", lambda _, out: str(n_styles_for(out)))
    for level, name in enumerate(("coarse", "middle", "fine")):
        row(f"{name} styles", group(level))
    convs = "/".join
    row(
        "convolutions in a coarse/middle/fine head",
        lambda size, _: convs(str(int(math.log2(size // s))) for s in (16, 8, 4)),
    )
    row("output $y$", lambda _, out: f"{out} x {out}")
    lines = ["| " + " | ".join(r) + " |" for r in rows]
    return "\n".join([lines[0], "|---|---|---|", *lines[1:]]) + "\n"
