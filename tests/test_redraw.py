"""One call inverts and edits, whatever a model keeps of an image; and test people go through any of them."""

import pytest
import torch
from _tiny import SIZE, tiny_feature_style, tiny_psp

from pspnb.errors import PspnbError
from pspnb.inversion.video import Optimised, drawing
from pspnb.measure.edit_subjects import encoded_subjects
from pspnb.models.redraw import redraw


@pytest.fixture
def x():
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("make", [tiny_psp, tiny_feature_style])
@torch.no_grad()
def test_redraw(make, x):
    model = make().eval()
    torch.testing.assert_close(redraw(model, x), model(x))
    shift = torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
    if make is tiny_feature_style:
        expected = model.edit(x, shift)
    else:
        expected = model.decode(model.encode(x) + shift)
    torch.testing.assert_close(redraw(model, x, shift), expected)
    each = torch.stack([shift, -shift])
    torch.testing.assert_close(redraw(model, x, each)[1], redraw(model, x[1:], -shift)[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(redraw(model, x, shift[0]), redraw(model, x), atol=1e-3)  # one step in W for all styles


def test_test_people_go_through_a_model():
    model = tiny_feature_style().eval()
    people = encoded_subjects(model, 3, size=SIZE)
    assert len(people) == 3 and people.truth().shape == people.images.shape == (3, 3, SIZE, SIZE)
    step = torch.ones(3, 1, 8)
    step[1] = 0
    edited = people.edited(step)
    torch.testing.assert_close(edited[1], people.images[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(edited[0], people.images[0], atol=1e-3)
    kept = people.take(torch.tensor([False, True, True]))
    assert len(kept) == 2 and torch.equal(kept.images, people.images[1:])
    assert torch.equal(kept.factors["yaw"], people.factors["yaw"][1:])


def test_codes_alone_cannot_be_optimised_where_there_is_a_feature(x):
    with pytest.raises(PspnbError, match="depend on codes alone"):
        Optimised(tiny_feature_style(), steps=1)
    with pytest.raises(PspnbError, match="reads 19 channels"):
        drawing(tiny_psp(in_channels=19))
    assert drawing(tiny_feature_style().eval())(x).shape == (2, 3, SIZE, SIZE)
