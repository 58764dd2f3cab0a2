"""What an encoder reads: strokes, holes, pictures of other aspects, and files that are not what they should be."""

import logging

import numpy as np
import pytest
import torch
from _files import psp_content, tiny_psp
from _golden import uint8_image
from PIL import Image

from pspnb import cli, transforms
from pspnb.classes import CLASS_ID
from pspnb.errors import ImageError
from pspnb.files.images import read_mask
from pspnb.files.label_maps import read_labels
from pspnb.tasks import TASKS, Masked
from pspnb.transforms import HOLES, draw_strokes, random_holes, squared, triangular_mask
from pspnb.transforms.strokes import PARTS
from pspnb.world2 import render, sample_factors

PLAIN = {"wobble": (0.0, 0.0), "gaps": (0.0, 0.0), "missing": 0.0, "erased": 0.0}


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def faces():
    return render(sample_factors("test", 6), 64)


# ---- strokes ---------------------------------------------------------------------------------------------------------


def test_strokes_are_the_same_for_the_same_seed(faces):
    first, again, other = (draw_strokes(faces.labels, faces.image, generator=chance(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (6, 1, 64, 64) and first.min() >= 0 and first.max() <= 1


def test_strokes_are_sparse_lines_on_white_paper(faces):
    paper = draw_strokes(faces.labels, faces.image, generator=chance())
    pencil = transforms.pencil_sketch(faces.image)
    white = [(x > 0.99).float().mean(dim=(1, 2, 3)) for x in (paper, pencil)]
    assert (white[0] > 0.75).all() and (white[0] > white[1]).all()
    assert (paper.amin(dim=(1, 2, 3)) < 0.35).all()


@pytest.mark.parametrize("size", [64, 256])
def test_a_line_lies_where_two_classes_meet_and_is_as_wide_as_asked(size):
    """Skin on the left, wall on the right: one straight line, whose ink is its width times the pen's pressure."""
    labels = torch.zeros(8, size, size, dtype=torch.long)
    labels[..., : size // 2] = CLASS_ID["skin"]
    thin, wide = (1 - draw_strokes(labels, generator=chance(), width=(w, w), **PLAIN)[:, 0] for w in (1.0, 2.0))
    place = (thin * (torch.arange(size) + 0.5)).sum(-1) / thin.sum(-1)
    assert (place - size / 2).abs().max() < 0.1 * size / 64
    unit = size / 64
    width = thin.sum(dim=-1).mean() / unit / PARTS["face"].width
    assert 0.8 < float(width) < 1.1  # pressure of .75 to 1, and the pen's own variation around 1
    assert wide.sum() / thin.sum() == pytest.approx(2, rel=0.05)
    assert (thin[..., : size // 2 - round(4 * unit)] == 0).all()


def test_a_hand_wobbles_lifts_the_pen_and_leaves_out_parts(faces):
    ink = {
        name: 1 - draw_strokes(faces.labels, generator=chance(3), **PLAIN | changes)
        for name, changes in {
            "plain": {},
            "wobble": {"wobble": (1.0, 1.0)},
            "gaps": {"gaps": (0.3, 0.3)},
            "missing": {"missing": 1 / 0.15},
            "erased": {"erased": 1.0},
        }.items()
    }
    total = {name: float(x.sum()) for name, x in ink.items()}
    assert total["wobble"] == pytest.approx(total["plain"], rel=0.1) and not torch.equal(ink["wobble"], ink["plain"])
    assert 0.6 < total["gaps"] / total["plain"] < 0.85
    assert (ink["erased"] <= ink["plain"] + 1e-6).all() and total["erased"] < 0.97 * total["plain"]
    assert (ink["missing"] <= ink["plain"] + 1e-6).all() and 0.1 < total["missing"] / total["plain"] < 0.8


def test_irises_are_drawn_where_the_picture_has_them(faces):
    with_eyes, without = (draw_strokes(faces.labels, x, generator=chance(), **PLAIN) for x in (faces.image, None))
    added = (without - with_eyes)[:, 0] > 0.2
    eyes = torch.isin(faces.labels.long(), torch.tensor([CLASS_ID["l_eye"], CLASS_ID["r_eye"]]))
    near = torch.nn.functional.max_pool2d(eyes[:, None].float(), 3, 1, 1)[:, 0] > 0
    assert added.any() and near[added].all()


# ---- holes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOLES)
def test_holes(kind):
    holes = random_holes([kind] * 200, 64, generator=chance(5))
    share = holes.float().mean(dim=(1, 2))
    assert share.min() > 0.01 and share.max() < 0.6 and 0.08 < share.mean() < 0.3
    assert torch.equal(holes, random_holes([kind] * 200, 64, generator=chance(5)))
    alike = (holes == triangular_mask(64)).all(dim=(1, 2))
    assert alike.all() if kind == "triangle" else not alike.any()
    if kind != "triangle":
        assert len({h.numpy().tobytes() for h in holes}) == 200
        covered = holes.float().mean(0)
        assert (covered > 0).float().mean() > 0.95 and covered[16:48, 16:48].mean() > covered.mean()


def test_kinds_of_holes_are_drawn_in_training_and_take_turns_otherwise():
    source = TASKS["inpainting_random"].source
    assert isinstance(source, Masked)
    holes = source.holes(6, 32, generator=chance(), train=False)
    assert torch.equal(holes[0], triangular_mask(32)) and torch.equal(holes[3], triangular_mask(32))
    many = source.holes(90, 32, generator=chance(), train=True)
    fixed = (many == triangular_mask(32)).all(dim=(1, 2)).sum()
    assert 15 < fixed < 45
    with pytest.raises(ValueError, match="expected kinds of holes among triangle, moved, free, got square"):
        random_holes(["square"], 8, generator=chance())


def test_a_mask_of_everything_or_of_nothing_is_refused():
    source = Masked(kinds=("triangle",))
    for mask, word in ((np.ones((9, 9), bool), "everything"), (np.zeros((9, 9), bool), "nothing")):
        with pytest.raises(ValueError, match=f"the mask covers {word}; expected a hole"):
            source.with_mask(mask)
    mask = np.zeros((32, 32), bool)
    mask[8:16, 8:16] = True
    x = TASKS["inpainting"].with_options(mask=mask).prepare(uint8_image("m", 64, 64, 3), 64)
    assert (x[:, 16:32, 16:32] == 0).all() and (x[:, :15] != 0).any()
    with pytest.raises(ValueError, match="expected no mask for inversion; only inpainting"):
        TASKS["inversion"].with_options(mask=mask)


# ---- other aspects ---------------------------------------------------------------------------------------------------


def test_pictures_of_other_aspects():
    wide = uint8_image("wide", 40, 60, 3)
    assert np.array_equal(squared(wide, "crop"), wide[:, 10:50])
    assert np.array_equal(squared(wide.transpose(1, 0, 2), "crop"), wide.transpose(1, 0, 2)[10:50])
    padded = squared(wide, "pad")
    assert padded.shape == (60, 60, 3) and np.array_equal(padded[10:50], wide) and (padded[:10] == wide[0]).all()
    assert (squared(wide[..., 0], "pad", fill=255)[[0, -1]] == 255).all()
    assert squared(wide, "stretch") is wide
    with pytest.raises(ValueError, match="60 x 40 pixels; expected a square picture: align it, or choose --fit crop"):
        squared(wide, None)
    nearly = uint8_image("nearly", 100, 101, 3)
    assert squared(nearly, None) is nearly
    labels = np.full((20, 40), 5, np.uint8)
    planes = TASKS["segmentation"].prepare(labels, 40, fit="pad")
    assert planes[0, :10].all() and planes[5, 10:30].all()
    sketch = TASKS["sketch"].prepare(np.zeros((20, 40), np.uint8), 40, fit="pad")
    assert (sketch[0, :10] == 1).all() and (sketch[0, 10:30] == 0).all()


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def translated(tmp_path, capsys):
    """`pspnb translate` of one picture with a model of some channels: (exit code, lines on stderr)."""

    def translate(picture, *options, channels=3):
        torch.save(psp_content(tiny_psp(in_channels=channels)), tmp_path / "model.pt")
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(tmp_path / "input.png")
        files = ("--model", tmp_path / "model.pt", "--input", tmp_path / "input.png", "--output", tmp_path / "out")
        code = cli.main([str(word) for word in ("translate", *files, "--overwrite", *options)])
        return code, capsys.readouterr().err.splitlines()

    return translate


def test_an_aspect_is_refused_or_fitted(translated, tmp_path):
    wide = uint8_image("wide", 32, 48, 3)
    code, (line,) = translated(wide)
    assert code == 2 and "48 x 32 pixels; expected a square picture" in line
    pictures = {}
    for fit in ("crop", "pad", "stretch"):
        assert translated(wide, "--fit", fit)[0] == 0
        pictures[fit] = (tmp_path / "out" / "input.png").read_bytes()
    assert len(set(pictures.values())) == 3
    assert translated(np.ascontiguousarray(wide[:, 8:40]))[0] == 0
    assert (tmp_path / "out" / "input.png").read_bytes() == pictures["crop"]


def test_masks_from_files(translated, tmp_path):
    picture, mask = uint8_image("p", 32, 32, 3), np.zeros((64, 64), np.uint8)
    task = ("--task", "inpainting", "--mask", tmp_path / "mask.png")
    for level, word in ((0, "nothing"), (255, "everything")):
        Image.fromarray(mask + np.uint8(level)).save(tmp_path / "mask.png")
        code, (line,) = translated(picture, *task)
        assert code == 2 and f"mask.png: the mask covers {word}" in line
    mask[10:30, 5:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask > 0)
    assert translated(picture, *task)[0] == 0
    own = (tmp_path / "out" / "input.png").read_bytes()
    assert translated(picture, "--task", "inpainting")[0] == 0
    assert (tmp_path / "out" / "input.png").read_bytes() != own
    code, (line,) = translated(picture, "--mask", tmp_path / "mask.png")
    assert code == 2 and "expected no mask for inversion" in line
    code, (line,) = translated(picture, "--task", "inpainting", "--mask", tmp_path / "absent.png")
    assert code == 2 and "absent.png" in line


def test_sketches_that_are_inverted_or_coloured_are_warned_of(translated, caplog):
    lines = np.full((32, 32), 255, np.uint8)
    lines[10:12] = 0
    caplog.set_level(logging.WARNING)
    assert translated(lines, channels=1)[0] == 0 and not caplog.records
    assert translated(255 - lines, channels=1)[0] == 0
    assert "looks like light lines on black" in caplog.text
    caplog.clear()
    red = np.stack([lines, lines // 2, lines // 3], axis=2)
    assert translated(red, channels=1)[0] == 0
    assert "this picture has colours" in caplog.text
    caplog.clear()
    clear = Image.fromarray(np.zeros((32, 32), np.uint8)).convert("RGBA")
    clear.putalpha(Image.fromarray(255 - lines))  # black lines on nothing
    assert translated(clear, channels=1)[0] == 0 and not caplog.records


def test_labels_outside_the_classes_are_named(tmp_path):
    def message(values, n_classes=19):
        Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "map.png")
        with pytest.raises(ImageError) as caught:
            read_labels(tmp_path / "map.png", n_classes=n_classes)
        return str(caught.value)

    assert "class numbers 0 to 18, one channel; found the values 19, 40" in message([0, 3, 19, 40])
    assert message([0, 3, 12], 11).endswith("found the value 12; class numbers times 3? divide by that")
    assert "found the values 19, 20, 21, 22, 23, 24, 25, 26 ..." in message(list(range(0, 40)))
    assert "class numbers times 14.17? divide by that, and round" in message([round(255 * k / 18) for k in range(19)])
    assert "class numbers times 10? divide by that" in message([0, 10, 50, 180])
