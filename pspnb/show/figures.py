"""Pictures: tensors to pixels, grids of images, label maps in colour, and a slider that needs no kernel.

Every notebook draws through this module, so that all of them share one palette and one set of figure defaults. It and
`widgets.py` are the only modules that import matplotlib or ipywidgets; no network and no training loop needs them.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from pspnb.files.pictures import to_levels
from pspnb.transforms.labels import colour_labels as colour_labels  # part of this module too: notebooks colour maps

# Okabe and Ito's eight colours, distinguishable with every common form of colour blindness. The three style groups keep
# their colour through the whole book: coarse is blue, middle is green, fine is orange.
PALETTE: Mapping[str, str] = {
    "blue": "#0072b2",
    "orange": "#e69f00",
    "green": "#009e73",
    "vermilion": "#d55e00",
    "sky": "#56b4e9",
    "purple": "#cc79a7",
    "yellow": "#f0e442",
    "ink": "#22303c",
    "grey": "#8a949e",
    "paper": "#f5f3ee",
}
COARSE, MIDDLE, FINE = PALETTE["blue"], PALETTE["green"], PALETTE["orange"]
CYCLE = tuple(PALETTE[k] for k in ("blue", "orange", "green", "vermilion", "sky", "purple", "grey"))

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": PALETTE["grey"],
    "axes.grid": True,
    "axes.labelcolor": PALETTE["ink"],
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": PALETTE["ink"],
    "axes.titlesize": 11,
    "figure.dpi": 144,
    "figure.figsize": (6.4, 3.4),
    "font.size": 10,
    "grid.color": "#e3e6e9",
    "grid.linewidth": 0.8,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "svg.hashsalt": "pspnb",
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["ink"],
    "ytick.color": PALETTE["ink"],
}


def use_style() -> None:
    """Set the book's matplotlib defaults for this process. Notebooks call it once, in their first cell."""
    plt.rcParams.update(STYLE)


def to_uint8(images: Float[Tensor, " *batch c h w"]) -> UInt8[np.ndarray, " *batch h w 3"]:
    """Images in [-1, 1] as 8-bit RGB, channels last; values outside the range are clipped, then rounded to nearest.

    One-channel images (sketches) become grey. The published code truncates where this rounds: up to one level darker.
    """
    if images.shape[-3] == 1:
        images = images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    if images.shape[-3] != 3:
        raise ValueError(f"expected images with 1 or 3 channels (..., c, h, w), got shape {tuple(images.shape)}")
    return to_levels(images).movedim(-3, -1).cpu().numpy()


class PictureGrid(Figure):
    """A figure that a notebook stores as JPEG: photograph-like pictures take a fifth of the bytes they take as PNG.

    `tiles`: where the pictures lie, in inches: left and upper edge of the first, side, steps to the next column and row.
    The file carries them in pixels as a comment, `tiles=14,6,137,146,146`, for pages that must not show a picture smaller
    than one can see, and that turn what is around the pictures dark.
    """

    tiles: tuple[float, ...] = ()

    def __str__(self) -> str:
        width, height = self.get_size_inches() * self.dpi
        return f"<Figure size {width:.0f}x{height:.0f} with {len(self.axes)} Axes>"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        comment = "tiles=" + ",".join(f"{round(v * self.dpi)}" for v in self.tiles) if self.tiles else ""
        data = base64.b64encode(_jpeg(_rendered(self), comment)).decode("ascii")
        shown = {"image/jpeg": {"width": round(self.get_figwidth() * 96)}}  # CSS pixels
        display({"image/jpeg": data, "text/plain": str(self)}, raw=True, metadata=shown)


class Chart(Figure):
    """A figure outside of pyplot that a notebook shows as PNG, also where pyplot has drawn nothing yet."""

    def __repr__(self) -> str:
        width, height = self.get_size_inches() * self.dpi
        return f"<Figure size {width:.0f}x{height:.0f} with {len(self.axes)} Axes>"

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def image_grid(
    images: Tensor | np.ndarray | Sequence[Any],
    *,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    cell: float = 1.2,
    gap: float = 0.06,
    interpolation: str = "hermite",
) -> PictureGrid:
    """A grid of images as a matplotlib figure; as the last expression of a cell it is shown, once.

    `images`: a batch (n, c, h, w) in [-1, 1], cut into rows of `columns`; or (rows, columns, c, h, w); or a list of
    rows, each a batch or a list of images. An image is a float tensor (c, h, w) in [-1, 1] or a uint8 array (h, w, 3),
    so label maps go through `colour_labels` first. `None` leaves a cell empty. `titles` stand above single images, in
    reading order; `column_titles` above the first row; `row_titles` left of each row. `cell` and `gap` are in inches.
    The default interpolation neither blurs much nor overshoots at edges, as sharper ones do.
    """
    rows = _as_rows(images, columns)
    n_rows, n_columns = len(rows), max(len(row) for row in rows)
    left = 0.1 + 0.085 * max(map(len, row_titles)) if row_titles else 0.02
    head = 0.26 if column_titles else 0.02
    title = 0.24 if titles else 0.0
    width = left + n_columns * cell + (n_columns - 1) * gap + 0.02
    height = head + n_rows * (cell + title) + (n_rows - 1) * gap + 0.02
    fig = PictureGrid(figsize=(width, height), dpi=STYLE["figure.dpi"])
    fig.tiles = (left, head + title, cell, cell + gap, cell + title + gap)
    FigureCanvasAgg(fig)
    for r, row in enumerate(rows):
        bottom = height - head - (r + 1) * (cell + title) - r * gap
        for k, image in enumerate(row):
            if image is None:
                continue
            x = left + k * (cell + gap)
            axis = fig.add_axes((x / width, bottom / height, cell / width, cell / height))
            axis.imshow(image, interpolation=interpolation)
            axis.set_axis_off()
            number = sum(len(earlier) for earlier in rows[:r]) + k
            if titles and number < len(titles):
                axis.set_title(titles[number], fontsize=8, pad=3, color=PALETTE["ink"])
        if row_titles:
            middle = (bottom + cell / 2) / height
            fig.text((left - 0.08) / width, middle, row_titles[r], ha="right", va="center", fontsize=9)
    for k, text in enumerate(column_titles or ()):
        x = left + k * (cell + gap) + cell / 2
        fig.text(x / width, 1 - 0.13 / height, text, ha="center", va="center", fontsize=9)
    return fig


def heat_table(
    values: Float[Tensor, " r c"],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str = "",
    xlabel: str = "",
    ylabel: str = "",
    digits: int = 2,
    vmax: float | None = None,
    cell: tuple[float, float] = (0.62, 0.34),
) -> Chart:
    """A table of non-negative numbers as a heat map with the numbers in it, as a figure to be shown.

    Colours run from 0 to `vmax` (None: the largest finite value). An exact zero is written "0", NaN leaves a cell empty.
    `cell`: width and height of a cell in inches. ValueError if the names don't fit the table.
    """
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"expected values of shape ({len(rows)}, {len(columns)}), got {tuple(values.shape)}")
    table = values.detach().cpu().double()
    top = float(table[table.isfinite()].max()) if vmax is None else vmax
    width = len(columns) * cell[0] + 0.085 * max(map(len, rows)) + 1.0
    fig = Chart(figsize=(width, len(rows) * cell[1] + 0.9), dpi=STYLE["figure.dpi"], layout="constrained")
    FigureCanvasAgg(fig)
    axis = fig.subplots()
    picture = axis.imshow(table.numpy(), aspect="auto", vmin=0, vmax=top or 1.0, cmap="viridis")
    for r, c in np.ndindex(*table.shape):
        number = float(table[r, c])
        if np.isfinite(number):
            text = "0" if number == 0 else f"{number:.{digits}f}"
            colour = PALETTE["ink"] if number > 0.6 * top else "white"
            axis.text(c, r, text, ha="center", va="center", fontsize=8, color=colour)
    tilt = 30 if max(map(len, columns)) * 0.075 > cell[0] else 0
    axis.set_xticks(range(len(columns)), columns, rotation=tilt, ha="right" if tilt else "center", fontsize=9)
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.tick_params(length=0)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    fig.colorbar(picture, label=label, pad=0.02, fraction=0.05).outline.set_visible(False)
    return fig


def glow(heat: Float[Tensor, " *b h w"], images: Float[Tensor, " *b 3 h w"]) -> Float[Tensor, " *b 3 h w"]:
    """Images in [-1, 1], darkened, with `heat` over them in yellow: where something looks, or where it wants a change.

    Each map is divided by its own maximum, and its square root is shown, so that faint values can be seen.
    """
    top = heat.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-30)
    strength = (heat / top).clamp(0, 1).sqrt()[..., None, :, :]
    yellow = torch.tensor([1.0, 0.86, -0.6], device=heat.device)[:, None, None]
    dark = 0.45 * images.clamp(-1, 1).mean(dim=-3, keepdim=True) - 0.45
    return strength * yellow + (1 - strength) * dark


def signed(values: Float[Tensor, " *b 3 h w"], *, quantile: float = 0.995) -> Float[Tensor, " *b 3 h w"]:
    """Signed colour values, such as a gradient, as pictures in [-1, 1]: zero is mid-grey.

    Each picture is divided by the given quantile of its absolute values; the few larger ones are clipped.
    """
    flat = values.abs().flatten(-3)
    top = flat.kthvalue(max(1, round(quantile * flat.shape[-1])), dim=-1).values[..., None, None, None]
    return (values / top.clamp(min=1e-30)).clamp(-1, 1)


def frame(
    images: Float[Tensor, " *b 3 h w"],
    *,
    top: int,
    left: int,
    height: int,
    width: int,
    colour: str = "orange",
) -> Float[Tensor, " *b 3 h w"]:
    """Images in [-1, 1] with the outline of a box, one pixel thick, in a colour of the palette; the originals stay."""
    rgb = [int(PALETTE[colour][i : i + 2], 16) / 127.5 - 1 for i in (1, 3, 5)]
    mask = torch.zeros(images.shape[-2:], dtype=torch.bool, device=images.device)
    mask[top : top + height, left : left + width] = True
    mask[top + 1 : top + height - 1, left + 1 : left + width - 1] = False
    return torch.where(mask, torch.tensor(rgb, device=images.device)[:, None, None].to(images.dtype), images)


def figure_png(figure: Figure) -> bytes:
    """The figure as PNG bytes, cropped to what is drawn: a frame for `frame_slider`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.04, metadata={"Software": None})
    return buffer.getvalue()


def save_svg(figure: Figure, path: str | Path) -> None:
    """Write an SVG that depends on nothing but the figure: no date, no random element names, text kept as text."""
    with plt.rc_context({"svg.hashsalt": "pspnb", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})
    plt.close(figure)


def frame_slider(
    frames: Tensor | Sequence[Any],
    alts: Sequence[str],
    *,
    description: str = "frame",
    value: int = 0,
    width: int = 256,
) -> Any:
    """A slider over precomputed pictures which works in Colab, JupyterLab and the static page alike, without a kernel.

    The link between slider and picture runs in the browser (`jslink`): the committed widget state is all a page needs.
    `frames`: images as in `image_grid`, figures, or PNG bytes; `alts`: one description per frame, for screen readers;
    `width`: width on the page in CSS pixels. At most 16 frames: each one travels in the page.
    """
    import ipywidgets as w

    if not 2 <= len(frames) <= 16 or len(frames) != len(alts):
        counts = f"got {len(frames)} frames and {len(alts)} texts"
        raise ValueError(f"expected 2 to 16 frames with one alt text each, {counts}")
    pages = [w.HTML(image_html(frame, alt, width=width)) for frame, alt in zip(frames, alts, strict=True)]
    stack = w.Stack(pages, selected_index=value)
    layout = w.Layout(width="min(30rem, 100%)")
    slider = w.IntSlider(value, 0, len(pages) - 1, description=description, layout=layout)
    slider.style.description_width = "initial"
    w.jslink((slider, "value"), (stack, "selected_index"))
    return w.VBox([slider, stack])


def image_html(frame: Any, alt: str, *, width: int) -> str:
    """An <img> element with the picture inside; `frame` as in `frame_slider`, `width` in CSS pixels."""
    kind, data = "jpeg", b""
    if isinstance(frame, PictureGrid):
        data = _jpeg(_rendered(frame))
    elif isinstance(frame, Figure | bytes):
        kind, data = "png", frame if isinstance(frame, bytes) else figure_png(frame)
    else:
        data = _jpeg(_as_pixels(frame))
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return f'<img class="frame" width="{width}" alt="{html.escape(alt)}" src="{source}">'


def _rendered(figure: Figure) -> UInt8[np.ndarray, " h w 3"]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _jpeg(pixels: UInt8[np.ndarray, " h w 3"], comment: str = "") -> bytes:
    """Without chroma subsampling, so that thin coloured lines and label maps stay sharp."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, format="jpeg", quality=92, subsampling=0, optimize=True, comment=comment.encode()
    )
    return buffer.getvalue()


def _as_pixels(image: Any) -> UInt8[np.ndarray, " h w 3"]:
    if isinstance(image, Tensor):
        return to_uint8(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
        return image
    raise ValueError("expected a float tensor (c, h, w) in [-1, 1] or a uint8 array (h, w, 3) as an image")


def _as_rows(images: Any, columns: int | None) -> list[list[UInt8[np.ndarray, " h w 3"] | None]]:
    if len(images) == 0:
        raise ValueError("expected at least one image, got none")
    nested = isinstance(images, list | tuple) and not _is_image(images[0]) and images[0] is not None
    stacked = isinstance(images, Tensor | np.ndarray) and images.ndim == 5
    if nested or stacked:
        return [[None if image is None else _as_pixels(image) for image in row] for row in images]
    columns = columns or len(images)
    flat = [None if image is None else _as_pixels(image) for image in images]
    return [flat[i : i + columns] for i in range(0, len(flat), columns)]


def _is_image(item: Any) -> bool:
    return isinstance(item, Tensor | np.ndarray) and item.ndim == 3
