"""Figure "where the parameters are": the three encoders and the generator at the paper's scale, counted by the library."""

import matplotlib.pyplot as plt
import torch
from torch import nn

from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder, style_groups
from pspnb.nn.stylegan2 import Generator
from pspnb.show.figures import COARSE, FINE, MIDDLE, PALETTE, use_style


def count(*modules: nn.Module) -> float:
    """Millions of parameters."""
    return sum(p.numel() for m in modules for p in m.parameters()) / 1e6


def parts() -> dict[str, list[tuple[str, float, str]]]:
    """Name of a network -> (part, millions, colour); built on the meta device, so no memory is used."""
    with torch.device("meta"):
        psp, w, naive, generator = GradualStyleEncoder(18), WEncoder(), NaiveWPlusEncoder(18), Generator(1024)
    grey, sky = PALETTE["grey"], PALETTE["sky"]
    heads = [count(*(psp.styles[i] for i in group)) for group in style_groups(18)]
    return {
        "pSp encoder": [
            ("backbone", count(psp.input_layer, psp.body), grey),
            ("lateral", count(psp.latlayer1, psp.latlayer2), sky),
            *zip(("coarse", "middle", "fine heads"), heads, (COARSE, MIDDLE, FINE), strict=True),
        ],
        "naive W+ encoder": [
            ("", count(naive.input_layer, naive.body), grey),
            ("", count(naive.output_layer_2, naive.linear), sky),
        ],
        "W encoder": [("", count(w.input_layer, w.body), grey), ("", count(w.linear), sky)],
        "generator, 1024 px": [("", count(generator), PALETTE["purple"])],
    }


def draw():
    use_style()
    fig, ax = plt.subplots(figsize=(8.6, 2.5))
    for row, pieces in enumerate(parts().values()):
        left = 0.0
        for text, millions, colour in pieces:
            ax.barh(-row, millions, left=left, color=colour, height=0.62)
            if text and millions > 20:
                text_colour = "white" if colour == COARSE else "black"  # 4.5 to 1 and more on each of them
                ax.text(
                    left + millions / 2,
                    -row,
                    f"{text}\n{millions:.1f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=text_colour,
                )
            left += millions
        ax.text(left + 3, -row, f"{left:.1f} M", va="center", fontsize=9)
    ax.set_yticks([-row for row in range(len(parts()))], list(parts()))
    ax.set(xlabel="millions of parameters", xlim=(0, 300))
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return fig
