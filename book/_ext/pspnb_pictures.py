"""Pictures of notebooks on their pages: their size, on a phone too, and a second version for dark pages.

Figures are stored as they were drawn, on white. For dark pages a copy is made in which paper and ink change places and
nothing else: what is coloured, and every portrait, keeps its colours.
"""

from __future__ import annotations

import colorsys
import re
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image
from scipy import ndimage

PAPER, INK = np.array([18, 18, 18]), np.array([222, 228, 234])  # of a dark page
DARKEST = 47  # level of the ink on white
SMALLEST = 48  # CSS pixels that a single picture has at least, also on a phone
COLOURED = 30  # difference between the largest and the smallest channel from which on a pixel is no grey
DRAWN = ("_build/jupyter_execute/", "book/figures/generated/")  # where the book's own pictures come from
VERSION = 1  # of the dark copies: raising it makes them anew


def size_outputs(app, doctree) -> None:
    """Show the pictures in the outputs of notebooks in inches: they are drawn at 144 dots per inch, a browser has 96."""
    for node in doctree.findall(nodes.image):
        if "jupyter_execute" in node["uri"] and node["uri"].endswith((".png", ".jpeg")) and "width" not in node:
            with Image.open(Path(app.srcdir) / node["uri"]) as picture:
                node["width"] = f"{picture.width * 96 / 144:.0f}px"


def tiles_of(picture: Image.Image) -> tuple[int, ...] | None:
    """Left, top, side and the steps to the next column and row, if the picture is a grid of pictures."""
    comment = picture.info.get("comment", b"").decode("ascii", "replace")
    return tuple(map(int, comment[6:].split(","))) if re.fullmatch(r"tiles=\d+(,\d+){4}", comment) else None


def dark(picture: Image.Image) -> Image.Image:
    """Copy for a dark page: white paper and grey ink exchanged wherever they are connected with the picture's edge."""
    levels = np.asarray(picture.convert("RGB")).astype(np.float32)
    chroma = levels.max(axis=2) - levels.min(axis=2)
    tiles = tiles_of(picture)
    outside = _around_tiles(levels, tiles) if tiles else _connected(chroma < COLOURED)
    share = np.clip((levels.mean(axis=2) - DARKEST) / (255 - DARKEST), 0, 1)[..., None]
    out = np.where(outside[..., None], INK + share * (PAPER - INK), levels)
    if not tiles:  # between a colour and the paper lie mixtures of both
        edge = ndimage.binary_dilation(outside, iterations=2) & ~outside
        part = np.clip(chroma / np.maximum(ndimage.maximum_filter(chroma, 5), 1), 0, 1)[..., None]
        out = np.where(edge[..., None], levels - (1 - part) * (255 - PAPER), out)
    return Image.fromarray(np.clip(out, 0, 255).round().astype(np.uint8))


def dark_svg(text: str) -> str:
    """A diagram of book/figures for a dark page: ink light, paper and tints dark; drawn faces and white numbers stay."""
    from pspnb.show.figures import PALETTE

    table = {PALETTE["ink"]: _hex(INK), "#5d6873": "#aeb8c1", "#e3e6e9": "#3a4148", PALETTE["paper"]: "#25282b"}
    for colour in ("blue", "green", "orange", "grey", "vermilion", "purple", "sky"):
        base = np.array([int(PALETTE[colour][i : i + 2], 16) for i in (1, 3, 5)])
        for amount in range(50, 100, 5):  # of white, as in book/figures/_draw.py
            tint = base + (255 - base) * amount / 100
            table[_hex(tint)] = _hex(PAPER + (base - PAPER) * min(1.0, 1.6 * (1 - amount / 100)))
        for factor in (0.6, 0.65, 0.7, 0.75, 0.8):
            table[_hex(_lightness(base, factor))] = _hex(base + (255 - base) * 0.45)
    text = re.sub(r'(<path [^>]*style="fill: )#ffffff', rf"\1{_hex(PAPER)}", text)
    return re.sub(r"#[0-9a-f]{6}", lambda m: table.get(m[0], m[0]), text)


def _hex(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(v)):02x}" for v in colour)


def _lightness(colour: np.ndarray, factor: float) -> np.ndarray:
    h, lightness, s = colorsys.rgb_to_hls(*(colour / 255))
    return 255 * np.array(colorsys.hls_to_rgb(h, lightness * factor, s))


def _connected(grey: np.ndarray) -> np.ndarray:
    """The part of a mask that reaches the border: not the numbers in coloured cells, nor white within a photograph."""
    labels, _ = ndimage.label(grey, structure=np.ones((3, 3)))
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, border[border > 0])


def _around_tiles(levels: np.ndarray, tiles: tuple[int, ...]) -> np.ndarray:
    """What is not a picture of the grid; an empty place, nearly all white, is none."""
    left, top, side, across, down = tiles
    outside = np.ones(levels.shape[:2], bool)
    for y in range(top, levels.shape[0] - side + 2, down):
        for x in range(left, levels.shape[1] - side + 2, across):
            place = np.s_[y : y + side, x : x + side]
            if (levels[place].min(axis=2) > 248).mean() < 0.6:
                outside[place] = False
    return outside


def _dark_copy(source: Path, out: Path) -> Path:
    """Path of the copy in the folder `out`, made unless it is there."""
    vector = source.suffix == ".svg"
    target = out / f"{source.stem}-dark{VERSION}.{'svg' if vector else 'webp'}"
    if target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    out.mkdir(parents=True, exist_ok=True)
    if vector:
        target.write_text(dark_svg(source.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        with Image.open(source) as picture:
            charts = source.suffix == ".png"
            dark(picture).save(target, lossless=charts, quality=90, method=4)
    return target


def _least_width(source: Path) -> int:
    """CSS pixels below which the tiles of a grid would be smaller than `SMALLEST`; 0 for other pictures."""
    if source.suffix == ".svg":
        return 0
    with Image.open(source) as picture:
        tiles = tiles_of(picture)
        return round(SMALLEST * picture.width / tiles[2] + 0.5) if tiles else 0


def polish(app, pagename, templatename, context, doctree) -> None:
    """Give every picture that code drew its dark copy, and grids the width that they need on a phone."""
    sources = {name: Path(app.srcdir) / uri for uri, (_, name) in app.env.images.items() if uri.startswith(DRAWN)}
    folder = Path(app.outdir) / "_images"

    def replace(match: re.Match[str]) -> str:
        tag, name = match[0], match[1]
        if name not in sources or name.endswith(".webp"):  # strips of portraits have no paper
            return tag
        least = _least_width(sources[name])
        if least:
            tag = tag.replace('style="', f'style="--least: {least}px; ', 1).replace("<img ", '<img class="tiles" ', 1)
        copy = _dark_copy(sources[name], folder)
        second = tag.replace(f"_images/{name}", f"_images/{copy.name}", 1)
        return _with_class(tag, "only-light") + _with_class(second, "only-dark")

    if "body" in context:
        context["body"] = re.sub(r'<img [^>]*src="(?:\.\./)*_images/([\w.-]+)"[^>]*>', replace, context["body"])


def _with_class(tag: str, name: str) -> str:
    """The image with one more class, loaded when it is shown."""
    tag = (
        tag.replace('class="', f'class="{name} ', 1)
        if 'class="' in tag
        else tag.replace("<img ", f'<img class="{name}" ', 1)
    )
    return tag.replace("<img ", '<img loading="lazy" ', 1)


def setup(app) -> dict[str, bool]:
    app.connect("doctree-read", size_outputs)
    app.connect("html-page-context", polish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
