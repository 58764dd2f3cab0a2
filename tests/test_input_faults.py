"""Pictures as people have them: other endings, links, colour-coded maps, photographs lying on their side."""

import os

import numpy as np
import pytest
import torch
from _golden import uint8_image
from PIL import Image

from pspnb.align import Face, FaceDetector, align_file, upright_face
from pspnb.device import pick_device
from pspnb.errors import AlignError, ImageError, PspnbError
from pspnb.files import folders, images, label_maps
from pspnb.transforms import CELEBA_COLOURS, labels_of_colours, merge_part_masks

LABELS = (np.arange(40 * 40).reshape(40, 40) // 85).astype(np.uint8)
assert LABELS.max() == 18
COLOURED = CELEBA_COLOURS[LABELS]


# ---- what is an input ---------------------------------------------------------------------------------------------


def test_pictures_of_other_endings_are_tried_and_named(tmp_path):
    Image.fromarray(uint8_image("x", 8, 8, 3)).save(tmp_path / "a.png")
    os.replace(tmp_path / "a.png", tmp_path / "really_png.heic")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 50)
    Image.fromarray(uint8_image("y", 8, 8, 3)).save(tmp_path / "b.avif")
    Image.fromarray(uint8_image("y", 8, 8, 3)).save(tmp_path / "c.jp2")
    (tmp_path / "notes.txt").write_text("x")
    found = folders.find_images(tmp_path)
    assert [path.name for path in found] == ["b.avif", "c.jp2", "phone.HEIC", "really_png.heic"]
    for name in ("really_png.heic", "b.avif", "c.jp2"):
        assert images.read_image(tmp_path / name).size == (8, 8)
    with pytest.raises(ImageError, match=r"phone\.HEIC: .*"):
        images.read_image(tmp_path / "phone.HEIC")


def test_heic_without_its_package_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_formats", lambda: images._FORMATS)
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 50)
    with pytest.raises(ImageError, match="HEIC pictures need the package pillow-heif"):
        images.read_image(tmp_path / "x.heic")


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(uint8_image("x", 8, 8, 3)).save(tmp_path / "elsewhere" / "x.png")
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    (root / "train").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "again").symlink_to(tmp_path / "elsewhere")  # the same folder: its pictures are there already
    (root / "sub" / "back").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "out")
    (tmp_path / "out").mkdir()
    Image.fromarray(uint8_image("x", 8, 8, 3)).save(tmp_path / "out" / "y.png")
    found = folders.find_images(root, exclude=tmp_path / "out")
    assert len(found) == 1 and found[0].name == "x.png"


# ---- label maps ---------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    def saved(image, name="x.png", **options):
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return saved


def _read(path, n_classes=19):
    return np.asarray(label_maps.read_labels(path, n_classes=n_classes))


def test_maps_in_the_published_colours(saved):
    """As RGB, with an opaque alpha channel, and as palettes that hold these colours in any order."""
    rgb = Image.fromarray(COLOURED)
    adaptive = rgb.quantize(19)
    assert not np.array_equal(np.asarray(adaptive), LABELS)  # its indices are no class numbers
    for image in (rgb, rgb.convert("RGBA"), adaptive, Image.fromarray(COLOURED[:10]), rgb.quantize(256)):
        assert np.array_equal(_read(saved(image)), LABELS[: image.height])
    own = Image.fromarray(LABELS).convert("P")
    own.putdata(LABELS.ravel().tolist())
    own.putpalette(CELEBA_COLOURS.ravel().tolist())
    assert np.array_equal(_read(saved(own)), LABELS)
    assert np.array_equal(labels_of_colours(COLOURED), LABELS)
    assert labels_of_colours(np.array([[1, 2, 3]], np.uint8)) is None


def test_palettes_of_other_colours_give_their_indices(saved):
    image = Image.fromarray(LABELS).convert("P")
    image.putdata(LABELS.ravel().tolist())
    for palette in ([(37 * i + 50) % 256 for i in range(57)], [v for i in range(19) for v in (i, i, i)]):
        image.putpalette(palette)
        assert np.array_equal(_read(saved(image)), LABELS)
    # Eleven classes have no published colours: always numbers.
    eleven = Image.fromarray(LABELS // 2).convert("P")
    eleven.putdata((LABELS // 2).ravel().tolist())
    eleven.putpalette(CELEBA_COLOURS.ravel().tolist())
    assert np.array_equal(_read(saved(eleven), n_classes=11), LABELS // 2)


def test_damaged_colours_are_refused_not_guessed(saved):
    rgb = Image.fromarray(COLOURED)
    smooth = rgb.resize((33, 33), Image.Resampling.BILINEAR)
    for path in (saved(rgb, "x.jpg", quality=60), saved(rgb.quantize(12)), saved(smooth), saved(rgb.convert("P"))):
        with pytest.raises(ImageError, match="nearly the published ones|one channel of class numbers"):
            _read(path)


def test_the_parts_of_celebamask(saved, tmp_path):
    parts = {}
    for number, name in ((1, "skin"), (4, "l_eye"), (13, "hair")):
        parts[name] = number == LABELS
        saved(np.where((number == LABELS), 255, 0).astype(np.uint8), f"00012_{name}.png")
    parts["skin"] = parts["skin"] | parts["hair"]  # the skin goes on under the hair, which wins
    saved(np.where(parts["skin"], 255, 0).astype(np.uint8), "00012_skin.png")
    expected = np.where(np.isin(LABELS, (1, 4, 13)), LABELS, 0)
    assert np.array_equal(np.asarray(label_maps.read_part_masks(tmp_path, "00012")), expected)
    assert np.array_equal(merge_part_masks(parts), expected)
    with pytest.raises(ImageError, match="found the value 255; one part of a CelebAMask-HQ map"):
        _read(tmp_path / "00012_hair.png")
    with pytest.raises(ImageError, match="expected masks named 7_hair.png"):
        label_maps.read_part_masks(tmp_path, "7")
    saved(np.zeros((3, 3), np.uint8), "00013_nostril.png")
    with pytest.raises(ImageError, match="00013: expected masks named among background, skin"):
        label_maps.read_part_masks(tmp_path, "00013")
    with pytest.raises(ValueError, match="expected masks of one size"):
        merge_part_masks({"skin": np.zeros((2, 2), bool), "hair": np.zeros((2, 3), bool)})


# ---- the right way up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
def test_a_photograph_on_its_side_or_its_head_is_turned(fixtures_dir, tmp_path, turn):
    detector = FaceDetector(fixtures_dir / "landmarks" / "yunet_n_dynamic.onnx")
    faces = [fixtures_dir / "faces" / "astronaut_ffhq256.png", fixtures_dir / "faces" / "sfhq256" / "003.jpg"]
    for path in faces:
        expected = np.asarray(align_file(path, detector=detector, size=64)).astype(float)
        images.read_image(path).transpose(turn).save(tmp_path / "turned.png")
        found = np.asarray(align_file(tmp_path / "turned.png", detector=detector, size=64)).astype(float)
        # The detector's points differ by a pixel or so when the same pixels come in another order.
        assert np.abs(found - expected).mean() < 6 < np.abs(found[::-1] - expected).mean()


def test_the_way_up_is_not_guessed():
    class Detector(FaceDetector):
        def __init__(self, *scores):
            self.scores = list(scores)

        def detect(self, image):
            score = self.scores.pop(0)
            return [] if score is None else [Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2)), score)]

    picture = Image.fromarray(uint8_image("x", 8, 12, 3))
    turned, face = upright_face(picture, Detector(0.8, None, 0.95, None))
    assert face.score == 0.95 and np.array_equal(np.asarray(turned), np.asarray(picture)[::-1, ::-1])
    assert upright_face(picture, Detector(0.8, None, None, None))[0] is picture
    with pytest.raises(AlignError, match=r"cannot tell which way up .*0\.90 and 0\.89.*--upright"):
        upright_face(picture, Detector(0.89, None, 0.90, 0.2))
    with pytest.raises(AlignError, match="no face found"):
        upright_face(picture, Detector(None, None, None, None))


# ---- devices ------------------------------------------------------------------------------------------------------


def test_devices_that_are_not_there_are_one_short_line(monkeypatch):
    for name in ("tpu9", "mps", "cuda:99", "xla", "meta:"):
        if name == "mps" and torch.backends.mps.is_available():
            continue
        with pytest.raises(PspnbError, match=f"cannot use the device {name!r}") as caught:
            pick_device(name)
        assert len(str(caught.value)) < 220 and "\n" not in str(caught.value)
    assert pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == pick_device(None) == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"
