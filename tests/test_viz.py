"""pspnb.show.figures: pixels, grids, sliders."""

import base64
import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

matplotlib.use("Agg")

from pspnb.show import figures
from pspnb.transforms.labels import CELEBA_COLOURS


def test_to_uint8_rounds_and_clips():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.999, 1.0, 3.0])
    image = values.view(1, 1, 7).expand(3, 1, 7)
    assert figures.to_uint8(image)[0, :, 0].tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_to_uint8_moves_channels_last_and_greys_one_channel():
    image = torch.stack([torch.full((4, 5), v) for v in (-1.0, 0.0, 1.0)])
    assert figures.to_uint8(image)[0, 0].tolist() == [0, 128, 255]
    assert figures.to_uint8(torch.zeros(2, 1, 4, 5)).shape == (2, 4, 5, 3)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        figures.to_uint8(torch.zeros(19, 4, 4))


def test_labels_take_the_colour_of_their_class():
    labels = torch.arange(19).view(1, 19)
    assert np.array_equal(figures.colour_labels(labels)[0], CELEBA_COLOURS)
    assert len({tuple(c) for c in CELEBA_COLOURS.tolist()}) == 19
    with pytest.raises(ValueError, match=r"0 \.\.\. 18"):
        figures.colour_labels(torch.tensor([[19]]))


def _cells(figure) -> list[np.ndarray]:
    return [axis.images[0].get_array() for axis in figure.axes]


def test_image_grid_keeps_reading_order_and_proportions():
    batch = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    figure = figures.image_grid(batch, columns=3, column_titles=["a", "b", "c"])
    assert [int(c[0, 0, 0]) for c in _cells(figure)] == [0, 64, 128, 191, 255]
    corners = [axis.get_position() for axis in figure.axes]
    assert corners[0].y0 > corners[3].y0 and corners[0].x0 < corners[1].x0
    width, height = figure.get_size_inches()
    assert corners[0].width * width == pytest.approx(corners[0].height * height)
    assert [t.get_text() for t in figure.texts] == ["a", "b", "c"]


def test_image_grid_accepts_rows_gaps_and_pixels():
    row = [torch.zeros(3, 8, 8), None, np.full((8, 8, 3), 7, np.uint8)]
    figure = figures.image_grid([row, torch.ones(3, 3, 8, 8)], row_titles=["first", "second"])
    assert len(figure.axes) == 5 and int(_cells(figure)[1][0, 0, 0]) == 7
    with pytest.raises(ValueError, match="at least one image"):
        figures.image_grid([])


def test_image_grid_leaves_no_open_figure():
    before = matplotlib.pyplot.get_fignums()
    figures.image_grid(torch.zeros(2, 3, 8, 8), titles=["one", "two"])
    assert matplotlib.pyplot.get_fignums() == before


def test_svg_is_the_same_twice(tmp_path):
    for name in ("a.svg", "b.svg"):
        figures.save_svg(figures.image_grid(torch.zeros(1, 3, 4, 4), titles=["x"]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()


def test_frame_slider_links_in_the_browser_and_describes_each_frame():
    box = figures.frame_slider(torch.zeros(3, 3, 8, 8), ["one", 'two "2"', "three"], description="crossover")
    slider, stack = box.children
    assert (slider.min, slider.max, slider.description) == (0, 2, "crossover")
    assert len(stack.children) == 3 and 'alt="two &quot;2&quot;"' in stack.children[1].value
    assert stack.children[0].value.count("data:image/jpeg;base64,") == 1
    with pytest.raises(ValueError, match="2 to 16 frames"):
        figures.frame_slider(torch.zeros(3, 3, 8, 8), ["one"])


def _displayed(figure, monkeypatch) -> dict:
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kwargs: shown.append((data, kwargs)))
    figure._ipython_display_()
    ((data, kwargs),) = shown
    assert kwargs["raw"] and kwargs["metadata"]["image/jpeg"]["width"] == round(figure.get_figwidth() * 96)
    return data


def test_a_grid_is_stored_as_a_small_faithful_jpeg(monkeypatch):
    noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    figure = figures.image_grid(torch.nn.functional.interpolate(noise, 64, mode="bilinear"), columns=2)
    data = _displayed(figure, monkeypatch)
    assert data.keys() == {"image/jpeg", "text/plain"} and data["text/plain"].startswith("<Figure size")
    encoded = base64.b64decode(data["image/jpeg"])
    picture = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    exact = np.asarray(Image.open(io.BytesIO(figures.figure_png(figure))).convert("RGB"))
    assert len(encoded) < 0.4 * len(figures.figure_png(figure))
    width, height = figure.get_size_inches() * figure.dpi
    assert picture.shape == (int(height), int(width), 3)
    rendered = figures._rendered(figure).astype(int)
    assert np.abs(picture - rendered).mean() < 3 and exact.std() > 20


def test_a_grid_says_where_its_pictures_lie(monkeypatch):
    black = -torch.ones(6, 3, 8, 8)
    for titles in (None, [*"abcdef"]):
        figure = figures.image_grid(black, columns=3, titles=titles, row_titles=["first", "second"], cell=0.5)
        encoded = base64.b64decode(_displayed(figure, monkeypatch)["image/jpeg"])
        picture = Image.open(io.BytesIO(encoded))
        name, numbers = picture.info["comment"].decode().split("=")
        left, top, side, across, down = map(int, numbers.split(","))
        dark = np.asarray(picture.convert("L")) < 40
        assert name == "tiles" and side == 72
        for row, column in np.ndindex(2, 3):
            x, y = left + column * across, top + row * down
            assert dark[y + 2 : y + side - 2, x + 2 : x + side - 2].all()
            assert not dark[y + 2 : y + side - 2, x - 4 : x - 2].any()
            assert not dark[y + side + 2 : y + side + 4, x : x + side].any()


def test_frame_slider_takes_figures():
    grids = [figures.image_grid(torch.full((1, 3, 8, 8), v)) for v in (-1.0, 1.0)]
    first, second = figures.frame_slider(grids, ["black", "white"]).children[1].children
    assert first.value != second.value


def test_heat_table_writes_its_numbers_and_leaves_nan_empty():
    values = torch.tensor([[0.0, 1.234, 2.0], [float("nan"), 0.004, 0.5]])
    before = matplotlib.pyplot.get_fignums()
    figure = figures.heat_table(values, rows=["a", "b"], columns=["x", "y", "z"], label="size", digits=1)
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.texts] == ["0", "1.2", "2.0", "0.0", "0.5"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["x", "y", "z"]
    assert axis.images[0].get_clim() == (0, 2) and figure.axes[1].get_ylabel() == "size"
    assert matplotlib.pyplot.get_fignums() == before
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        figures.heat_table(values, rows=["a"], columns=["x", "y", "z"])


def test_heat_table_is_shown_without_pyplot():
    from IPython.core.formatters import DisplayFormatter

    figure = figures.heat_table(torch.zeros(1, 2), rows=["a"], columns=["a long name", "b"])
    shown, _ = DisplayFormatter().format(figure)  # as in a kernel in which no backend was set up
    assert shown["image/png"].startswith(b"\x89PNG") and shown["text/plain"].startswith("<Figure size")
    assert figure.axes[0].get_xticklabels()[0].get_rotation() == 30  # long names are tilted


def test_glow_is_yellow_where_the_heat_is_and_dark_elsewhere():
    heat = torch.zeros(2, 4, 4)
    heat[0, 1, 2] = 7.0
    shown = figures.glow(heat, torch.ones(2, 3, 4, 4))
    assert shown[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.86, -0.6])
    others = torch.ones(4, 4, dtype=torch.bool)
    others[1, 2] = False
    assert (shown[0][:, others] == 0).all() and (shown[1] == 0).all()  # white, darkened; no heat, no division by zero
    assert figures.glow(heat[0] / 100, torch.ones(3, 4, 4)).equal(shown[0])


def test_signed_keeps_zero_grey_and_the_sign():
    values = torch.zeros(2, 3, 4, 4)
    values[0, 0, 0, 0], values[0, 1, 0, 1] = 4.0, -2.0
    shown = figures.signed(values, quantile=1.0)
    assert float(shown[0, 0, 0, 0]) == 1 and float(shown[0, 1, 0, 1]) == -0.5 and (shown[1] == 0).all()
    many = torch.linspace(-1, 1, 48).view(3, 4, 4)
    assert float(figures.signed(many, quantile=0.5).abs().median()) == pytest.approx(
        1, abs=0.05
    )  # larger ones are clipped


def test_frame_draws_an_outline_and_leaves_its_argument():
    images = torch.zeros(2, 3, 8, 8)
    framed = figures.frame(images, top=1, left=2, height=4, width=5, colour="ink")
    changed = (framed != images).any(dim=1)[0]
    assert int(changed.sum()) == 2 * 5 + 2 * 2 and not changed[2:4, 3:6].any() and changed[1, 2] and changed[4, 6]
    assert (images == 0).all() and float(framed[0, 0, 1, 2]) == pytest.approx(0x22 / 127.5 - 1)
