"""Any still image in, as upright 8-bit RGB; whole files or nothing out; names that cannot collide."""

import errno
import os
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from _golden import uint8_image
from PIL import Image

from pspnb.errors import ImageError, PspnbError
from pspnb.files import folders, images, label_maps

PICTURE = uint8_image("picture", 12, 16, 3)


@pytest.fixture
def saved(tmp_path):
    def saved(image, name="x.png", **kwargs):
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(tmp_path / name, **kwargs)
        return tmp_path / name

    return saved


def _read(path):
    image = images.read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


# ---- in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tiff", "x.ppm", "x.webp"])
def test_lossless_formats(saved, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    assert (_read(saved(PICTURE, name, **options)) == PICTURE).all()


def test_jpeg(saved):
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 1, 3))
    assert abs(_read(saved(smooth, "x.jpg", quality=95)) - smooth).max() <= 6


def test_transparency_is_composited_on_white(saved):
    rgba = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    rgba[:4, :, 3], rgba[4:8, :, 3] = 0, 51
    read = _read(saved(rgba))
    assert (read[:4] == 255).all() and (read[8:] == PICTURE[8:]).all()
    assert abs(read[4:8] - (0.2 * PICTURE[4:8] + 0.8 * 255)).max() <= 1


def test_grey_with_alpha(saved):
    la = Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 0)])
    assert (_read(saved(la)) == 255).all()


def test_palette_with_a_transparent_colour(saved):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    read = _read(saved(image, transparency=0))
    assert read[0, 0].tolist() == [255, 255, 255] and read[1, 1].tolist() == [10, 20, 30]


def test_sixteen_bit_grey_is_scaled_not_clipped(saved):
    ramp = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    assert _read(saved(ramp))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_colour(tmp_path):
    """Written by hand: Pillow cannot."""
    values = np.array([[[0, 257 * 7, 65535]]], dtype=">u2")
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + values.tobytes())) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert _read(tmp_path / "x.png")[0, 0].tolist() == [0, 7, 255]


def test_cmyk_grey_and_bilevel(saved):
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = _read(saved(cmyk, "x.jpg", quality=100))
    assert red[..., 0].min() > 245 and red[..., 1:].max() < 10
    assert (_read(saved(Image.new("L", (3, 3), 77))) == 77).all()
    assert (_read(saved(Image.new("1", (3, 3), 1))) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(saved, orientation):
    corner = Image.new("RGB", (32, 16))
    corner.paste((255, 255, 255), (0, 0, 8, 8))
    # How a camera stores an upright picture that it says must be turned in this way.
    stored = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = corner
    for step in stored.get(orientation, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = _read(saved(image, "x.jpg", quality=100, exif=exif))
    assert read.shape == (16, 32, 3) and read[:6, :6].min() > 240 and read[10:].max() < 15


def test_unreadable_exif_leaves_the_picture_as_it_is(saved):
    assert _read(saved(PICTURE, "x.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).shape == PICTURE.shape


def test_phone_pictures_of_several_parts_give_the_first(saved):
    second = Image.new("RGB", (16, 12))
    path = saved(
        Image.new("RGB", (16, 12), (200, 10, 10)), "x.jpg", format="MPO", save_all=True, append_images=[second]
    )
    assert _read(path)[0, 0, 0] > 180


def test_labels_keep_class_numbers(saved):
    classes = np.arange(19, dtype=np.uint8).reshape(1, 19)
    palette = Image.fromarray(classes)
    palette = palette.convert("P")
    palette.putdata(classes.ravel().tolist())
    palette.putpalette([255 - i for i in range(57)])
    for image in (classes, palette, np.dstack([classes] * 3), classes.astype(np.uint16)):
        read = label_maps.read_labels(saved(image), n_classes=19)
        assert np.asarray(read).ravel().tolist() == list(range(19))
    with pytest.raises(ImageError, match="class numbers 0 to 18.*found the value 19"):
        label_maps.read_labels(saved(np.full((2, 2), 19, np.uint8)), n_classes=19)
    with pytest.raises(ImageError, match="class numbers 0 to 18.*found the value 255"):
        label_maps.read_labels(saved(np.full((2, 2), 300, np.uint16)), n_classes=19)
    with pytest.raises(ImageError, match=r"x\.png: a label map has one channel.*mode RGB"):
        label_maps.read_labels(saved(PICTURE), n_classes=19)


def test_grey_images(saved):
    assert images.read_grey(saved(PICTURE)).mode == "L"


# ---- out ----------------------------------------------------------------------------------------------------------


def test_round_trip_is_exact(tmp_path):
    levels = torch.arange(256).float().reshape(1, 16, 16).expand(3, -1, -1) / 127.5 - 1
    for name in ("x.png", "x.webp"):
        images.write_image(images.to_image(levels), tmp_path / name)
        assert (_read(tmp_path / name).reshape(256, 3) == np.arange(256)[:, None]).all()


def test_values_beyond_the_range_are_clipped_and_nan_is_an_error():
    picture = torch.tensor([-3.0, 3.0]).reshape(1, 1, 2).expand(3, 1, 2)
    assert np.asarray(images.to_image(picture))[0, :, 0].tolist() == [0, 255]
    with pytest.raises(ImageError, match="NaN"):
        images.to_image(torch.full((3, 2, 2), float("nan")))


@pytest.mark.parametrize("name", ["x", "x.gif", "x.txt"])
def test_unknown_output_formats(tmp_path, name):
    with pytest.raises(ImageError, match=r"ends in \.png"):
        images.write_image(Image.new("RGB", (2, 2)), tmp_path / name)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    images.write_image(Image.new("RGB", (2, 2), (1, 2, 3)), path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PspnbError, match=r"x\.png: cannot write: No space left on device") as caught:
        images.write_image(Image.new("RGB", (2, 2)), path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.png"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        images.write_atomically(tmp_path / "x", interrupted)
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_is_full(tmp_path):
    """A real refusal by the system, at 8 kB, in a process of its own."""
    code = """
import numpy as np, sys
from PIL import Image
from pspnb.files.images import write_image
write_image(Image.fromarray(np.random.RandomState(0).randint(0, 255, (200, 200, 3), np.uint8)), sys.argv[1])
"""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert "PspnbError" in done.stderr and "x.png: cannot write: File too large" in done.stderr
    assert os.listdir(tmp_path) == []


# ---- folders ------------------------------------------------------------------------------------------------------


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_finding_images(tmp_path):
    _touch(tmp_path, "b.png", "A.JPG", "sub/c.webp", ".hidden.png", ".git/d.png", "notes.txt", "out/e.png")
    found = folders.find_images(tmp_path, exclude=tmp_path / "out")
    assert [str(p.relative_to(tmp_path)) for p in found] == ["A.JPG", "b.png", "sub/c.webp"]
    assert folders.find_images(tmp_path / "b.png") == [tmp_path / "b.png"]


def test_output_names_cannot_collide(tmp_path):
    _touch(tmp_path, "a/x.png", "b/x.png", "x.jpg", "x.png", "X.JPEG", "x_jpg.png", "y.v2.png", "y.png")
    inputs = folders.find_images(tmp_path)
    names = [str(name) for name in folders.output_names(inputs, tmp_path)]
    assert len({name.casefold() for name in names}) == len(inputs) == 8
    by_input = dict(zip((str(p.relative_to(tmp_path)) for p in inputs), names, strict=True))
    assert by_input["a/x.png"] == "a/x" and by_input["b/x.png"] == "b/x"
    assert by_input["x_jpg.png"] == "x_jpg" and by_input["x.jpg"] == "x_jpg_2"
    assert by_input["y.v2.png"] == "y.v2" and by_input["y.png"] == "y"
