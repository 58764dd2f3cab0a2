"""FFHQ alignment: equal to the published script, from 68 or 5 points, and with the detector on real pictures."""

import numpy as np
import pytest
from _golden import golden, uint8_image
from PIL import Image

from pspnb.align import FaceDetector, align, align_file, ffhq_quad, plan
from pspnb.errors import AlignError, LoadError

STORED = golden("align")
CASES = range(int(STORED["n_cases"]))


@pytest.fixture(scope="module")
def detector():
    from _golden import FIXTURES

    path = FIXTURES / "landmarks" / "yunet_n_dynamic.onnx"
    if not path.exists():
        pytest.skip("the detector's file is not beside this checkout")
    return FaceDetector(path)


def _optional(array):
    return tuple(array.astype(int).tolist()) or None


@pytest.mark.parametrize("i", CASES)
def test_equal_to_the_published_script(i):
    h, w = map(int, STORED[f"img_hw{i}"])
    quad = ffhq_quad(STORED[f"lm{i}"])
    np.testing.assert_allclose(quad, STORED[f"quad_in_original{i}"], rtol=0, atol=1e-9)
    steps = plan(quad, (w, h))
    assert steps.shrink == _optional(STORED[f"resize{i}"])
    assert steps.crop == _optional(STORED[f"crop{i}"])
    assert steps.pad == _optional(STORED[f"pad{i}"])
    np.testing.assert_allclose(steps.transform, STORED[f"transform_quad{i}"], rtol=0, atol=1e-9)
    result = np.asarray(align(Image.fromarray(uint8_image(f"al{i}", h, w, 3)), STORED[f"lm{i}"])).astype(float)
    # The pixels depend slightly on the versions of Pillow and SciPy.
    np.testing.assert_allclose(result.mean(axis=(0, 1)), STORED[f"out_mean{i}"], atol=0.05)
    blocks = result.reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(blocks, STORED[f"out_pool8_{i}"], atol=0.5)


def test_the_cases_cover_every_step():
    steps = [plan(ffhq_quad(STORED[f"lm{i}"]), tuple(map(int, STORED[f"img_hw{i}"][::-1]))) for i in CASES]
    assert any(s.shrink for s in steps) and any(s.crop for s in steps) and any(s.pad for s in steps)
    assert any(s.pad is None for s in steps) and any(s.crop is None for s in steps)


@pytest.mark.parametrize("i", CASES)
def test_five_points_give_the_same_square_as_the_68_they_summarise(i):
    points = STORED[f"lm{i}"].astype(float)
    left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    five = np.stack([left, right, points[30], points[48], points[54]])
    np.testing.assert_allclose(ffhq_quad(five), ffhq_quad(points), rtol=0, atol=1e-9)


def test_the_face_comes_out_upright_at_any_angle():
    """Marks painted at eyes and mouth of a turned face land where those of the upright face do."""
    upright = np.array([[-40.0, -30], [40, -30], [0, 5], [-30, 45], [30, 45]])
    found = []
    for angle in (0, 37, 180):
        a = np.radians(angle)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        points = upright @ turn.T + 300
        image = Image.new("RGB", (600, 600), (128, 128, 128))
        for channel, (x, y) in enumerate(points[[0, 1, 3]].round().astype(int)):
            colour = tuple(255 if c == channel else 0 for c in range(3))
            image.paste(colour, (x - 5, y - 5, x + 6, y + 6))
        result = np.asarray(align(image, points)).astype(int)
        found.append([np.argwhere(result[..., c] - result[..., c - 1] > 100).mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(found[1], found[0], atol=1.5)
    np.testing.assert_allclose(found[2], found[0], atol=1.5)
    assert found[0][0][1] < found[0][1][1] and found[0][2][0] > found[0][0][0]


@pytest.mark.parametrize("size", [64, 512])
def test_other_sizes(size):
    image = Image.fromarray(uint8_image("al2", 700, 900, 3))
    large, other = align(image, STORED["lm2"]), align(image, STORED["lm2"], size=size)
    assert other.size == (size, size)
    difference = np.asarray(other.resize((32, 32), Image.Resampling.BOX)).astype(int) - np.asarray(
        large.resize((32, 32), Image.Resampling.BOX)
    )
    assert abs(difference).mean() < 4


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((68, 2), np.nan)])
def test_landmarks_that_are_no_face(points):
    with pytest.raises(AlignError, match="do not describe a face"):
        ffhq_quad(points)


def test_landmarks_of_another_number():
    with pytest.raises(AlignError, match=r"shape \(68, 2\) or \(5, 2\), got \(7, 2\)"):
        ffhq_quad(np.zeros((7, 2)))


def test_a_face_beside_the_image():
    with pytest.raises(AlignError, match="outside the image"):
        align(Image.new("RGB", (50, 50)), STORED["lm0"] + 5000)


def test_faces_much_larger_or_smaller_than_the_image():
    """Neither asks for absurd memory nor fails."""
    face = np.array([[-1.0, -1], [1, -1], [0, 0], [-1, 1], [1, 1]])
    for scale in (0.2, 2000.0):
        assert align(Image.new("RGB", (60, 40), (9, 9, 9)), face * scale + [30, 20]).size == (256, 256)


# ---- detection ----------------------------------------------------------------------------------------------------


def test_aligned_faces_align_to_themselves(detector, fixtures_dir):
    """64 synthetic portraits that were aligned with 68 points; five points of another network move corners by 8 px."""
    target = np.array([[0.0, 0], [0, 256], [256, 256], [256, 0]])
    errors = []
    for path in sorted((fixtures_dir / "faces" / "sfhq256").glob("*.jpg")):
        errors.append(np.abs(ffhq_quad(detector.largest(Image.open(path)).landmarks) - target).mean())
    assert len(errors) == 64 and np.mean(errors) < 10 and np.max(errors) < 22


@pytest.mark.parametrize("canvas, face", [(4000, 400), (4000, 200), (1000, 900), (600, 130)])
def test_faces_of_any_size_are_found(detector, fixtures_dir, canvas, face):
    portrait = Image.open(fixtures_dir / "faces" / "astronaut_ffhq256.png").convert("RGB")
    photo = Image.new("RGB", (canvas, canvas), (90, 110, 130))
    photo.paste(portrait.resize((face, face)), (canvas // 20, canvas // 20))
    expected = canvas // 20 + face * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    assert np.abs(ffhq_quad(detector.largest(photo).landmarks) - expected).mean() < 0.08 * face


def test_the_largest_of_several_faces(detector, fixtures_dir):
    portrait = Image.open(fixtures_dir / "faces" / "astronaut_ffhq256.png").convert("RGB")
    photo = Image.new("RGB", (900, 500), (90, 110, 130))
    for x, size in ((20, 150), (250, 300), (650, 200)):
        photo.paste(portrait.resize((size, size)), (x, 60))
    faces = detector.detect(photo)
    assert len(faces) == 3 and 250 < faces[0].box[0] < 550
    assert [f.area for f in faces] == sorted((f.area for f in faces), reverse=True)


def test_a_turned_photograph_is_read_upright(detector, fixtures_dir, tmp_path):
    portrait = Image.open(fixtures_dir / "faces" / "astronaut_ffhq256.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    portrait.save(tmp_path / "upright.png")
    turned, upright = (align_file(tmp_path / f"{n}.png", detector=detector) for n in ("turned", "upright"))
    assert np.array_equal(np.asarray(turned), np.asarray(upright))


def test_no_face_names_the_file(detector, tmp_path):
    Image.new("RGB", (300, 300), (40, 120, 60)).save(tmp_path / "grass.png")
    with pytest.raises(AlignError, match=r"grass\.png: no face found; expected"):
        align_file(tmp_path / "grass.png", detector=detector)


def test_a_detector_file_that_is_missing_or_none(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"nonsense")
    with pytest.raises(AlignError, match="not the YuNet detector file"):
        FaceDetector(tmp_path / "no.onnx")
    with pytest.raises(LoadError, match=r"absent\.onnx: no such file; expected the face detector"):
        FaceDetector(tmp_path / "absent.onnx")
