"""Figure "skin tones in Facets": one person in seven tones, and how the tones of all training identities are spread."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from pspnb import facets
from pspnb.facets.palettes import SKIN
from pspnb.show.figures import PALETTE, to_uint8, use_style

BINS = 10


def training_identities():
    """Identity factors of every person in the training split."""
    images = range(facets.SPLIT_SIZES["train"])
    return facets.sample_identity("train", facets.identity_of("train", images).unique())


def tone_counts(people) -> np.ndarray:
    """Number of people in each tenth of the tone scale."""
    return np.histogram(people["skin_tone"].numpy(), BINS, (0, 1))[0]


def strongest_correlation(people) -> tuple[str, float]:
    """The continuous identity factor that correlates most with skin tone, and |r|."""
    tone = people["skin_tone"].numpy()
    others = {k: v.numpy() for k, v in people.items() if v.dtype == torch.float32 and k != "skin_tone"}
    correlation = {name: abs(np.corrcoef(tone, value)[0, 1]) for name, value in others.items()}
    name = max(correlation, key=correlation.get)
    return name, float(correlation[name])


def draw():
    use_style()
    fig = plt.figure(figsize=(8.4, 3.6), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=[1.25, 2])
    tones = torch.linspace(0, 1, 7)
    person = facets.edit(facets.sample_factors("test", [8]), yaw=12.0, pitch=0.0, glasses="none", hat="none")
    people = {name: value.repeat(len(tones)) for name, value in person.items()}
    pictures = to_uint8(facets.render(facets.edit(people, skin_tone=tones), 128).image)
    for axis, picture, tone in zip(top.subplots(1, len(tones)), pictures, tones, strict=True):
        axis.imshow(picture)
        axis.set_axis_off()
        axis.set_title(f"{tone:.2f}", fontsize=9, pad=3)

    axis = bottom.subplots()
    counts = tone_counts(training_identities())
    centres = (np.arange(BINS) + 0.5) / BINS
    anchors = np.linspace(0, 1, len(SKIN))
    colours = [[np.interp(c, anchors, [s[k] for s in SKIN]) for k in range(3)] for c in centres]
    axis.bar(centres, counts, width=0.9 / BINS, color=colours, edgecolor=PALETTE["grey"], linewidth=0.6)
    axis.axhline(counts.mean(), color=PALETTE["ink"], lw=1, ls="--")
    axis.set(xlabel="skin tone (0 light, 1 dark; equal steps in CIELAB)", ylabel="training identities", xlim=(0, 1))
    return fig
