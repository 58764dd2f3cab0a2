"""The cartoon style: the photographic one is untouched, and the same scenes are drawn in flat tones and lines."""

import zlib

import pytest
import torch

from pspnb.files.pictures import to_levels
from pspnb.world2 import CLASS_ID, TABLE, edit, render, sample_factors


@pytest.fixture(scope="module")
def both():
    factors = sample_factors(7, 24)
    return factors, render(factors, 64), render(factors, 64, style="cartoon")


def test_the_default_style_is_untouched_to_the_bit():
    levels = to_levels(render(sample_factors("test", 4), 64).image)
    assert zlib.crc32(levels.contiguous().numpy().tobytes()) == 265448109


def test_a_cartoon_shows_the_same_scene(both):
    factors, photo, cartoon = both
    assert (photo.labels == cartoon.labels).float().mean() > 0.999
    assert torch.equal(photo.landmarks, cartoon.landmarks)
    assert cartoon.image.min() >= -1 and cartoon.image.max() <= 1
    assert torch.equal(render(factors, 64, style="photo").image, photo.image)


def test_an_image_does_not_depend_on_its_batch(both):
    factors, _, cartoon = both
    for index in ([7], [20, 3]):
        again = render({k: v[index] for k, v in factors.items()}, 64, style="cartoon")
        assert torch.equal(again.image, cartoon.image[index])


def test_tones_are_flat(both):
    def even(image):
        steps = (image[..., 1:] - image[..., :-1]).abs().amax(dim=1)
        return float((steps < 1 / 255).float().mean())

    _, photo, cartoon = both
    assert even(cartoon.image) > 2.5 * even(photo.image)


def test_people_have_a_dark_outline(both):
    """Along the border between hair and wall the cartoon is much darker than on either side of it, the photograph is not."""
    _, photo, cartoon = both
    on = cartoon.labels == CLASS_ID["hair"]
    inner, wall = on[:, :, 4:], cartoon.labels[:, :, :-4] == CLASS_ID["background"]
    border = (wall[:, :, :-1] & ~wall[:, :, 1:])[..., : inner.shape[-1] - 1]
    assert border.sum() > 200

    def darkest(image):
        grey = image.mean(dim=1)
        near = torch.stack([grey[:, :, k : k + border.shape[-1]] for k in range(4)]).amin(dim=0)
        return float(near[border].mean())

    assert darkest(cartoon.image) < darkest(photo.image) - 0.2


def test_lines_are_as_wide_at_every_size(both):
    factors, _, cartoon = both
    few = {k: v[:4] for k, v in factors.items()}
    large = torch.nn.functional.avg_pool2d(render(few, 192, style="cartoon").image, 3)
    assert (large - cartoon.image[:4]).abs().mean() < 0.05
    plain = render(few, 64, style="cartoon", supersample=1).image
    assert (plain - cartoon.image[:4]).abs().mean() < 0.12


def test_every_factor_that_a_photograph_shows_is_seen_in_a_cartoon():
    wearing = {
        "yaw": 10.0, "glasses": "round", "hat": "none", "hair_style": "long", "earring_left": "hoop", "mouth_open": 0.5,
        "beard": "none", "necklace": "chain", "collar": "shirt", "cloth_pattern": "checks", "background_pattern": "tiles",
        "eye_open": 1.0, "freckles": 0.8,
    }  # fmt: skip
    base = edit(sample_factors(3, 1), **wearing)
    rows = [edit(base, **{f.name: (int(v) if f.kind == "categorical" else v)}) for f in TABLE for v in (f.low, f.high)]
    factors = {name: torch.cat([row[name] for row in rows]) for name in base}
    change = {}
    for style in ("photo", "cartoon"):
        low, high = render(factors, 64, style=style).image.view(-1, 2, 3, 64, 64).unbind(1)
        change[style] = (low - high).abs().amax(dim=(1, 2, 3))
    unseen = [
        f.name for f, photo, cartoon in zip(TABLE, change["photo"], change["cartoon"], strict=True)
        if photo > 0.1 and cartoon < 0.05
    ]  # fmt: skip
    assert unseen == []
    assert (change["cartoon"] > 0.05).sum() > 55


def test_an_unknown_style_is_refused():
    with pytest.raises(
        Exception, match="photo.*cartoon"
    ):  # by the check of types, where that is on, or by the renderer
        render(sample_factors(0, 1), 64, style="oil")
