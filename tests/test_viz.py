"""pspnb.viz: pixels, grids, sliders."""

import base64
import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

matplotlib.use("Agg")

from pspnb import viz
from pspnb.transforms.labels import CELEBA_COLOURS


def test_to_uint8_rounds_and_clips():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.999, 1.0, 3.0])
    image = values.view(1, 1, 7).expand(3, 1, 7)
    assert viz.to_uint8(image)[0, :, 0].tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_to_uint8_moves_channels_last_and_greys_one_channel():
    image = torch.stack([torch.full((4, 5), v) for v in (-1.0, 0.0, 1.0)])
    assert viz.to_uint8(image)[0, 0].tolist() == [0, 128, 255]
    assert viz.to_uint8(torch.zeros(2, 1, 4, 5)).shape == (2, 4, 5, 3)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        viz.to_uint8(torch.zeros(19, 4, 4))


def test_labels_take_the_colour_of_their_class():
    labels = torch.arange(19).view(1, 19)
    assert np.array_equal(viz.colour_labels(labels)[0], CELEBA_COLOURS)
    assert len({tuple(c) for c in CELEBA_COLOURS.tolist()}) == 19
    with pytest.raises(ValueError, match=r"0 \.\.\. 18"):
        viz.colour_labels(torch.tensor([[19]]))


def _cells(figure) -> list[np.ndarray]:
    return [axis.images[0].get_array() for axis in figure.axes]


def test_image_grid_keeps_reading_order_and_proportions():
    batch = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    figure = viz.image_grid(batch, columns=3, column_titles=["a", "b", "c"])
    assert [int(c[0, 0, 0]) for c in _cells(figure)] == [0, 64, 128, 191, 255]
    corners = [axis.get_position() for axis in figure.axes]
    assert corners[0].y0 > corners[3].y0 and corners[0].x0 < corners[1].x0
    width, height = figure.get_size_inches()
    assert corners[0].width * width == pytest.approx(corners[0].height * height)
    assert [t.get_text() for t in figure.texts] == ["a", "b", "c"]


def test_image_grid_accepts_rows_gaps_and_pixels():
    row = [torch.zeros(3, 8, 8), None, np.full((8, 8, 3), 7, np.uint8)]
    figure = viz.image_grid([row, torch.ones(3, 3, 8, 8)], row_titles=["first", "second"])
    assert len(figure.axes) == 5 and int(_cells(figure)[1][0, 0, 0]) == 7
    with pytest.raises(ValueError, match="at least one image"):
        viz.image_grid([])


def test_image_grid_leaves_no_open_figure():
    before = matplotlib.pyplot.get_fignums()
    viz.image_grid(torch.zeros(2, 3, 8, 8), titles=["one", "two"])
    assert matplotlib.pyplot.get_fignums() == before


def test_svg_is_the_same_twice(tmp_path):
    for name in ("a.svg", "b.svg"):
        viz.save_svg(viz.image_grid(torch.zeros(1, 3, 4, 4), titles=["x"]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()


def test_frame_slider_links_in_the_browser_and_describes_each_frame():
    box = viz.frame_slider(torch.zeros(3, 3, 8, 8), ["one", 'two "2"', "three"], description="crossover")
    slider, stack = box.children
    assert (slider.min, slider.max, slider.description) == (0, 2, "crossover")
    assert len(stack.children) == 3 and 'alt="two &quot;2&quot;"' in stack.children[1].value
    assert stack.children[0].value.count("data:image/jpeg;base64,") == 1
    with pytest.raises(ValueError, match="2 to 16 frames"):
        viz.frame_slider(torch.zeros(3, 3, 8, 8), ["one"])


def _displayed(figure, monkeypatch) -> dict:
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kwargs: shown.append((data, kwargs)))
    figure._ipython_display_()
    ((data, kwargs),) = shown
    assert kwargs["raw"] and kwargs["metadata"]["image/jpeg"]["width"] == round(figure.get_figwidth() * 96)
    return data


def test_a_grid_is_stored_as_a_small_faithful_jpeg(monkeypatch):
    noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    figure = viz.image_grid(torch.nn.functional.interpolate(noise, 64, mode="bilinear"), columns=2)
    data = _displayed(figure, monkeypatch)
    assert data.keys() == {"image/jpeg", "text/plain"} and data["text/plain"].startswith("<Figure size")
    encoded = base64.b64decode(data["image/jpeg"])
    picture = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    exact = np.asarray(Image.open(io.BytesIO(viz.figure_png(figure))).convert("RGB"))
    assert len(encoded) < 0.4 * len(viz.figure_png(figure))
    width, height = figure.get_size_inches() * figure.dpi
    assert picture.shape == (int(height), int(width), 3)
    rendered = viz._rendered(figure).astype(int)
    assert np.abs(picture - rendered).mean() < 3 and exact.std() > 20


def test_frame_slider_takes_figures():
    figures = [viz.image_grid(torch.full((1, 3, 8, 8), v)) for v in (-1.0, 1.0)]
    first, second = viz.frame_slider(figures, ["black", "white"]).children[1].children
    assert first.value != second.value
