"""Mixing, directions, sizes, side by side and files of codes, from the shell."""

import warnings

import numpy as np
import pytest
import torch
from _files import STYLE_DIM, psp_content, tiny_psp
from _golden import gauss, uint8_image
from PIL import Image
from safetensors.torch import save_file

import pspnb
from pspnb import cli
from pspnb.editing.codes import read_codes, read_direction
from pspnb.editing.translate import shown
from pspnb.errors import LoadError, PspnbError
from pspnb.tasks import TASKS
from pspnb.transforms import CELEBA_COLOURS, image_tensor, one_hot, to_uint8


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model of 32 px and two pictures."""
    folder = tmp_path_factory.mktemp("world")
    torch.save(psp_content(tiny_psp()), folder / "photo.pt")
    for name in "ab":
        Image.fromarray(uint8_image(name, 32, 32, 3)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def draw(world, tmp_path, capsys):
    """`pspnb translate` of a.png with more options: the picture, or the one line of the mistake."""

    def draw(*options, source=None, name="a.png"):
        source = world / "a.png" if source is None else source
        arguments = ["translate", "--model", world / "photo.pt", "--input", source, "--output", tmp_path / "out"]
        code = cli.main([str(a) for a in (*arguments, "--overwrite", *options)])
        errors = capsys.readouterr().err.splitlines()
        if code:
            assert code == 2 and len(errors) == 1
            return errors[0]
        return np.asarray(Image.open(tmp_path / "out" / name)).astype(int)

    return draw


@pytest.fixture(scope="module")
def psp(world):
    return pspnb.load(world / "photo.pt")


def _codes(psp, world, name):
    x = image_tensor(np.asarray(Image.open(world / f"{name}.png")), 32)[None]
    with torch.no_grad():
        return psp.encode(x)


def _picture(psp, codes, **options):
    with torch.no_grad():
        return to_uint8(psp.decode(codes, **options)[0]).astype(int)


def test_two_pictures_are_mixed(draw, psp, world, tmp_path):
    a, b = (_codes(psp, world, name) for name in "ab")
    mixed = a.clone()
    mixed[:, 5:8] = b[:, 5:8]
    found = draw("--mix", world / "b.png", "--layers", "5-7")
    assert abs(found - _picture(psp, mixed)).max() <= 1 < abs(found - _picture(psp, a)).max()
    half = a.clone()
    half[:, 5:8] = 0.25 * b[:, 5:8] + 0.75 * a[:, 5:8]
    found = draw("--mix", world / "b.png", "--layers", "5-7", "--alpha", 0.25)
    assert abs(found - _picture(psp, half)).max() <= 1
    save_file({"b": b[0].contiguous()}, tmp_path / "b.safetensors")
    found = draw("--mix", tmp_path / "b.safetensors", "--layers", "5-7")
    assert abs(found - _picture(psp, mixed)).max() <= 1


def test_mixing_mistakes(draw, world, tmp_path):
    assert "expected --layers to say which styles" in draw("--mix", world / "b.png")
    assert "expected one of them" in draw("--mix", world / "b.png", "--n-samples", 2, "--layers", "7")
    assert "no such file" in draw("--mix", tmp_path / "no.png", "--layers", "7")
    save_file({n: torch.zeros(8, STYLE_DIM) for n in "xy"}, tmp_path / "two.safetensors")
    assert "expected one code to mix with, found 2" in draw("--mix", tmp_path / "two.safetensors", "--layers", "7")


@pytest.mark.parametrize("shape", [(8, STYLE_DIM), (1, STYLE_DIM), (STYLE_DIM,)])
@pytest.mark.parametrize("ending", ["safetensors", "npy", "pt"])
def test_a_direction_is_added(draw, psp, world, tmp_path, shape, ending):
    direction, path = gauss("direction", shape), tmp_path / f"d.{ending}"
    write = {"safetensors": lambda: save_file({"d": direction}, path), "npy": lambda: np.save(path, direction.numpy())}
    write.get(ending, lambda: torch.save(direction, path))()
    found = draw("--direction", path, "--strength", -2)
    expected = _picture(psp, _codes(psp, world, "a") - 2 * direction)
    assert abs(found - expected).max() <= 1
    assert torch.equal(read_direction(path, psp), direction.expand(8, STYLE_DIM))


def test_direction_mistakes(draw, tmp_path):
    np.save(tmp_path / "d.npy", np.zeros(STYLE_DIM, np.float32))
    assert "belong together" in draw("--direction", tmp_path / "d.npy")
    assert "belong together" in draw("--strength", 2)
    np.save(tmp_path / "d.npy", np.zeros((3, 4), np.float32))
    assert "expected one direction of shape (8, 32) or (32,), found (3, 4)" in draw(
        "--direction", tmp_path / "d.npy", "--strength", 1
    )
    np.save(tmp_path / "d.npy", np.full(STYLE_DIM, np.nan, np.float32))
    assert "NaN" in draw("--direction", tmp_path / "d.npy", "--strength", 1)
    np.save(tmp_path / "d.npy", np.zeros(STYLE_DIM, np.float32))
    assert "expected a finite strength" in draw("--direction", tmp_path / "d.npy", "--strength", "nan")


def test_outputs_are_pooled(draw, psp, world):
    found = draw("--resize", 8)
    expected = _picture(psp, _codes(psp, world, "a"), resize=8)
    assert found.shape == (8, 8, 3) and abs(found - expected).max() <= 1
    for size in (0, -1, 64):
        assert f"expected resize from 1 to 32, got {size}" in draw("--resize", size)


def test_side_by_side(draw, world, tmp_path):
    plain, both = draw(), draw("--side-by-side")
    assert both.shape == (32, 64, 3) and np.array_equal(both[:, 32:], plain)
    assert abs(both[:, :32] - np.asarray(Image.open(world / "a.png")).astype(int)).max() <= 1
    save_file({"a": torch.zeros(8, STYLE_DIM)}, tmp_path / "c.safetensors")
    assert "this is a file of codes" in draw("--side-by-side", source=tmp_path / "c.safetensors")


def test_inputs_of_every_task_can_be_looked_at():
    labels = torch.arange(19).repeat(19, 1)
    assert np.array_equal(np.asarray(shown(one_hot(labels, 19), TASKS["segmentation"]))[0], CELEBA_COLOURS)
    eleven = np.asarray(shown(one_hot(torch.arange(11).repeat(11, 1), 11), TASKS["segmentation_helen"]))
    assert eleven[0, :, 0].tolist() == [25 * i for i in range(11)]
    assert np.asarray(shown(torch.full((1, 2, 2), 0.2), TASKS["sketch"])).tolist() == [[[51] * 3] * 2] * 2


@pytest.mark.parametrize("ending", ["npy", "pt"])
def test_codes_come_in_other_files(draw, psp, world, tmp_path, ending):
    codes, path = gauss("codes", (2, 8, STYLE_DIM)), tmp_path / f"c.{ending}"
    write = torch.save if ending == "pt" else lambda value, path: np.save(path, value.numpy())
    write(codes, path)
    found = draw(source=path, name="c_0001.png")
    assert abs(found - _picture(psp, codes[1:])).max() <= 1
    write(codes[0], path)
    assert abs(draw(source=path, name="c.png") - _picture(psp, codes[:1])).max() <= 1
    if ending == "pt":
        torch.save({"x": codes[0], "y": codes}, path)
        assert list(read_codes(path)) == ["x", "y_0000", "y_0001"]
        torch.save({"x": "text"}, path)
        with pytest.raises(LoadError, match="expected tensors of codes, found str"):
            read_codes(path)
    else:
        np.save(path, np.array([{"evil": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(LoadError, match="not a NumPy array of numbers"):
            read_codes(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(PspnbError, match=f"c.{ending}: "):
        read_codes(path)


def test_pictures_in_0_to_255_are_noticed(psp):
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"in \[-1, 1\], got 25\d.*; a picture in 0 \.\.\. 255 needs x / 127\.5 - 1"):
        psp.encode(x * 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        psp.encode(x * 2 - 1)
        psp.encode(3 * (x * 2 - 1))  # noise and over-shooting are no mistake


def test_label_models_of_other_class_counts(tmp_path, capsys):
    """Five classes: which task it is must be said, and label maps are held against its own number of classes."""
    torch.save(psp_content(tiny_psp(in_channels=5)), tmp_path / "five.pt")
    labels = (np.arange(32 * 32).reshape(32, 32) // 205).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "map.png")
    arguments = ["translate", "--model", tmp_path / "five.pt", "--input", tmp_path / "map.png"]
    arguments = [str(a) for a in (*arguments, "--output", tmp_path / "out")]
    assert cli.main(arguments) == 2 and "expected --task" in capsys.readouterr().err
    assert cli.main([*arguments, "--task", "segmentation", "--side-by-side"]) == 0
    model = pspnb.load(tmp_path / "five.pt")
    with torch.no_grad():
        expected = to_uint8(model(one_hot(torch.from_numpy(labels).long(), 5)[None])[0])
    found = np.asarray(Image.open(tmp_path / "out" / "map.png"))
    assert abs(found[:, 32:].astype(int) - expected).max() <= 1 and np.array_equal(found[:, :32, 0], labels * 63)
    Image.fromarray(labels + 1).save(tmp_path / "map.png")
    assert cli.main([*arguments, "--task", "segmentation", "--overwrite"]) == 2
    assert "class numbers 0 to 4, one channel; found the value 5" in capsys.readouterr().err
