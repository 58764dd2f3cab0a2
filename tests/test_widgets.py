"""pspnb.show.widgets: live controls, driven from Python as a browser would."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from pspnb.show import widgets


def _decode(codes: torch.Tensor) -> torch.Tensor:
    """A picture whose rows are the styles' first number."""
    return codes[:, None, :, :1].expand(-1, 3, -1, 4)


def _rows(box) -> np.ndarray:
    """Red of the left column, to the nearest of five levels: the pictures are JPEG, which is off by a few."""
    data = re.search(r"base64,([^\"]+)", box.children[-1].value)[1]
    red = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))[:, 0, 0]
    levels = np.array([0, 64, 128, 191, 255])
    nearest = levels[np.abs(red[:, None].astype(int) - levels).argmin(axis=1)]
    assert np.abs(nearest - red).max() <= 12
    return nearest


def _mixer(**kwargs):
    codes = torch.stack([torch.full((6, 2), v) for v in (-1.0, 0.0, 1.0)])
    return widgets.style_mixer(_decode, codes, **kwargs)


def test_mixer_follows_its_controls():
    box = _mixer(names=["Ada", "Ben", "Cleo"])
    first, second, crossover, strength, picture = box.children
    assert _rows(box).tolist() == [0, 0, 0, 128, 128, 128]
    crossover.value = 5
    assert _rows(box).tolist() == [0, 0, 0, 0, 0, 128]
    second.value = 2
    assert _rows(box).tolist() == [0, 0, 0, 0, 0, 255]
    strength.value = 0.5
    assert _rows(box)[-1] == 128
    first.value, crossover.value, strength.value = 2, 0, 0.0
    assert _rows(box).tolist() == [255] * 6
    assert 'alt="The first 0 of 6 styles of Cleo, the others of Cleo"' in picture.value


def test_mixer_leaves_the_codes_alone():
    codes = torch.randn(2, 4, 3)
    before = codes.clone()
    box = widgets.style_mixer(_decode, codes.clamp(-1, 1))
    box.children[2].value = 1
    assert torch.equal(codes, before)


def test_mixer_needs_two_people_with_names():
    with pytest.raises(ValueError, match="at least 2 people"):
        widgets.style_mixer(_decode, torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match="one name each, got 3 and 2 names"):
        _mixer(names=["Ada", "Ben"])


def test_editor_adds_the_directions():
    up, last = torch.zeros(4, 2), torch.zeros(4, 2)
    up[:] = 0.5
    last[3] = 1.0
    box = widgets.style_editor(_decode, torch.zeros(4, 2), {"up": up, "last": last}, reach=2.0)
    box.children[0].value = -1.0
    assert _rows(box).tolist() == [64] * 4
    box.children[1].value = 1.5
    assert _rows(box).tolist() == [64, 64, 64, 255]
    assert "up -1.00, last +1.50" in box.children[-1].value


def test_editor_checks_directions():
    with pytest.raises(ValueError, match="at least one direction"):
        widgets.style_editor(_decode, torch.zeros(4, 2), {})
    with pytest.raises(ValueError, match=r"shape \(4, 2\) like the code; wrong differ"):
        widgets.style_editor(_decode, torch.zeros(4, 2), {"wrong": torch.zeros(2)})
