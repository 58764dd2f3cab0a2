"""A face through a video: squares smoothed and pasted back, cuts, and `pspnb video` from the shell."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from _files import STYLE_DIM, psp_content, tiny_psp
from PIL import Image

import pspnb
from pspnb import cli
from pspnb.align import align_quad, ffhq_quad
from pspnb.editing.directions import Direction, save_directions
from pspnb.errors import PspnbError, VideoError
from pspnb.files.video import Frame, open_video
from pspnb.files.video_out import written_video
from pspnb.inversion.tracking import inside, is_cut, paste_back, smoothed, soft_square, thumbnail, track
from pspnb.inversion.video import Optimised, edit_video, frame_by_frame

N = 5


def quad(x=50.0, y=40.0, side=40.0, turn=0.0):
    c, s = np.cos(np.radians(turn)) * side / 2, np.sin(np.radians(turn)) * side / 2
    ex, ey = np.array([c, s]), np.array([-s, c])
    centre = np.array([x, y])
    return np.stack([centre - ex - ey, centre - ex + ey, centre + ex + ey, centre + ex - ey])


def smooth_picture(w=100, h=80, shift=0.0):
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    waves = [128 + 80 * np.sin(x / 9 + k + shift) * np.cos(y / 11 - k) for k in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def film(path, *, cut=None, w=48, h=48):
    with written_video(path, size=(w, h), rate=Fraction(10)) as add:
        for i in range(N):
            pixels = smooth_picture(w, h, shift=0.2 * i)
            add(255 - pixels // 3 if cut is not None and i >= cut else pixels, Fraction(i, 10))
    return path


# ---- squares --------------------------------------------------------------------------------------------------------


def test_the_square_is_the_one_of_the_alignment():
    """Our quads have the corner order of `ffhq_quad`: a face upright in the picture."""
    found = ffhq_quad(np.array([[40.0, 40.0], [60.0, 40.0], [50.0, 50.0], [43.0, 60.0], [57.0, 60.0]]))
    centre, side = found.mean(axis=0), np.hypot(*(found[3] - found[0]))
    assert np.allclose(found, quad(*centre, side=side))


@pytest.mark.parametrize("turn", [0, 13, -40])
@pytest.mark.parametrize("size", [32, 96])
def test_pasting_is_the_inverse_of_the_alignment(turn, size):
    picture, place = smooth_picture(), quad(turn=turn)
    face = np.array(align_quad(Image.fromarray(picture), place, size=size))
    back = paste_back(picture, face, place)
    assert np.abs(back.astype(int) - picture).mean() < 0.5 and np.abs(back.astype(int) - picture).max() < 14
    white = paste_back(picture, np.full_like(face, 255), place)
    assert (white[38:43, 48:53] == 255).all()  # the middle is all face
    away = np.hypot(*(np.stack(np.meshgrid(np.arange(100), np.arange(80))) - np.array([50, 40])[:, None, None]))
    assert (white[away > 30] == picture[away > 30]).all()  # half a diagonal away nothing changed


def test_a_square_beyond_the_border_is_pasted_as_far_as_it_goes():
    picture, place = smooth_picture(), quad(x=95)
    white = paste_back(picture, np.full((64, 64, 3), 255, np.uint8), place)
    assert (white[38:43, 90:99] == 255).all() and (white[:, :70] == picture[:, :70]).all()


def test_the_mask_fades():
    mask = soft_square(100, 0.2)
    assert mask[50, 50] == 1 and mask[0].max() < 0.01 and 0.4 < mask[50, 10] < 0.6
    assert (np.diff(mask[50, :50]) >= 0).all() and np.array_equal(mask, mask.T)


def test_smoothing_takes_the_trembling_and_keeps_the_motion():
    times = [Fraction(i, 25) for i in range(40)]
    draw = np.random.default_rng(0)
    truth = [quad(x=50 + 20 * float(t), turn=10 * float(t)) for t in times]
    shaken = [q + draw.normal(0, 1.5, 2) for q in truth]
    found = smoothed(shaken, times, 0.08)
    jitter = [np.abs(np.diff([q.mean(axis=0) for q in qs], 2, axis=0)).mean() for qs in (truth, shaken, found)]
    assert jitter[2] < 0.1 * jitter[1] and jitter[0] < 0.1
    assert np.abs(np.array(found) - np.array(truth))[3:-3].mean() < 0.75
    for q in found:  # still squares
        a, b = q[3] - q[0], q[1] - q[0]
        assert abs(a @ b) < 1e-9 and np.hypot(*a) == pytest.approx(np.hypot(*b))
    assert smoothed(shaken, times, 0)[5] is shaken[5]


def test_smoothing_goes_by_seconds_not_by_frames():
    times = [Fraction(0), Fraction(1, 100), Fraction(10)]
    found = smoothed([quad(0), quad(10), quad(100)], times, 0.1)
    assert found[0].mean(axis=0)[0] == pytest.approx(5, abs=0.1) and found[2].mean(axis=0)[0] == pytest.approx(100)


def test_short_gaps_are_filled_and_long_ones_stay():
    times = [Fraction(i, 10) for i in range(10)]
    found = smoothed([None, quad(0), None, quad(20), *[None] * 5, quad(50)], times, 0)
    assert found[0] is None and found[2].mean(axis=0)[0] == pytest.approx(10) and all(q is None for q in found[4:9])
    assert smoothed([None] * 3, times[:3], 0.1) == [None] * 3


def test_a_cut_ends_the_smoothing():
    dark, bright = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 200, np.uint8)
    frames = [Frame(p, Fraction(i, 25)) for i, p in enumerate([dark, dark, bright, bright])]
    squares = iter([quad(0), quad(0), quad(50), quad(50)])
    found = track(frames, lambda image: next(squares), smoothing=1.0)
    assert found.starts == [True, False, True, False]
    assert [round(q.mean(axis=0)[0]) for q in found.quads] == [0, 0, 50, 50]
    assert is_cut(thumbnail(dark), thumbnail(bright)) and not is_cut(thumbnail(dark), thumbnail(dark + 20))


def test_inside():
    assert inside(quad(), (100, 80)) and not inside(quad(x=-30), (100, 80)) and not inside(None, (9, 9))


# ---- the whole of it ------------------------------------------------------------------------------------------------


def _negative(x):
    return -x


def test_whole_frames_are_redrawn_with_their_times(tmp_path):
    source = film(tmp_path / "a.webm", w=47, h=31)
    report = edit_video(source, tmp_path / "b.gif", _negative, input_size=64, batch_size=3)
    assert (report.frames, report.untouched, report.sound_lost) == (N, 0, False) and "5 frames" in str(report)
    a, b = (list(open_video(p).frames()) for p in (source, tmp_path / "b.gif"))
    assert [f.time for f in a] == [f.time for f in b] and b[0].pixels.shape == (31, 47, 3)
    for x, y in zip(a, b, strict=True):
        assert np.abs(255 - x.pixels.astype(int) - y.pixels).mean() < 12


def test_faces_are_redrawn_in_their_squares_and_frames_without_one_stay(tmp_path):
    with written_video(tmp_path / "in", size=(100, 80), rate=Fraction(25)) as add:
        for i in range(4):
            add(smooth_picture(shift=0.1 * i), Fraction(i, 25))
    squares = iter([None, quad(), quad(), quad()])
    report = edit_video(
        tmp_path / "in",
        tmp_path / "out",
        lambda x: x * 0 + 1,
        input_size=32,
        find=lambda image: next(squares),
        batch_size=2,
    )
    assert (report.frames, report.untouched) == (4, 1) and "1 without a face" in str(report)
    a, b = (list(open_video(tmp_path / name).frames()) for name in ("in", "out"))
    assert np.array_equal(a[0].pixels, b[0].pixels)
    for x, y in zip(a[1:], b[1:], strict=True):
        assert (y.pixels[38:43, 48:53] == 255).all() and np.array_equal(x.pixels[:8], y.pixels[:8])
    with pytest.raises(VideoError, match="no face found"):
        edit_video(tmp_path / "in", tmp_path / "new", _negative, input_size=32, find=lambda image: None)


def test_an_output_is_not_overwritten_unasked(tmp_path):
    source = film(tmp_path / "a.gif")
    (tmp_path / "b.gif").write_bytes(b"mine")
    with pytest.raises(PspnbError, match="exists"):
        edit_video(source, tmp_path / "b.gif", _negative, input_size=32)
    edit_video(source, tmp_path / "b.gif", _negative, input_size=32, overwrite=True, side_by_side=True)
    assert open_video(tmp_path / "b.gif").size == (96, 48)
    with pytest.raises(PspnbError, match="another name"):
        edit_video(source, source, _negative, input_size=32, overwrite=True)


def test_the_code_of_the_frame_before_is_the_start(monkeypatch):
    psp, starts = tiny_psp(), []
    from pspnb.inversion import video

    real = video.invert

    def watched(generator, x, **given):
        starts.append(given["start"].clone())
        return real(generator, x, **given)

    monkeypatch.setattr(video, "invert", watched)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    draw = Optimised(psp, steps=2, start="previous")
    with torch.no_grad():
        codes = psp.encode(x)
        draw(x)
        after = draw.codes
        assert torch.allclose(starts[0], codes[:1], atol=1e-5) and not torch.allclose(starts[1], codes[1:], atol=1e-3)
        draw.restart()
        draw(x[1:])
        assert torch.allclose(starts[2], codes[1:], atol=1e-5) and not torch.equal(after, draw.codes)
        starts.clear()
        Optimised(psp, steps=2)(x)
    assert torch.allclose(torch.cat(starts), codes, atol=1e-5)
    with pytest.raises(PspnbError, match="steps of at least 1"):
        Optimised(psp, steps=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "photo.pt"
    torch.save(psp_content(tiny_psp()), path)
    return path


def _run(capsys, *arguments):
    code = cli.main(["video", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_from_the_shell(model, tmp_path, capsys):
    source = film(tmp_path / "a.gif", w=32, h=32)
    save_directions(tmp_path / "d.safetensors", [Direction("smile", "truth", "relative", torch.ones(STYLE_DIM))])
    edit = ("--edit", "smile=0.5", "--directions", tmp_path / "d.safetensors")
    code, lines, errors = _run(capsys, source, tmp_path / "out", "--model", model, "--whole-frames", *edit)
    assert (code, errors) == (0, []) and lines[0].startswith("5 frames, ")
    psp = pspnb.load(model)
    from pspnb.transforms import image_tensor, to_uint8

    first = next(iter(open_video(source).frames())).pixels
    with torch.no_grad():
        expected = to_uint8(frame_by_frame(psp, torch.full((STYLE_DIM,), 0.5))(image_tensor(first, 32)[None])[0])
    found = next(iter(open_video(tmp_path / "out").frames())).pixels
    assert np.abs(found.astype(int) - expected).max() <= 1
    more = ("--whole-frames", "--steps", 1, "--start", "previous")
    assert _run(capsys, source, tmp_path / "b.webm", "--model", model, *more)[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("none.mp4", "b.mp4"), "none.mp4: no such file"),
        (("a.gif", "b.txt"), "ends in .mp4"),
        (("a.gif", "b.gif", "--start", "previous"), "--start belongs to --steps"),
        (("a.gif", "b.gif", "--smoothing", "1"), "--smoothing belongs to"),
        (("a.gif", "b.gif", "--edit", "smile"), "expected edits such as"),
        (("a.gif", "b.gif", "--edit", "smile=1"), "expected --directions FILE"),
        (("a.gif", "b.gif", "--directions", "d.safetensors"), "belongs to --edit"),
        (("a.gif", "b.gif", "--batch-size", "0"), "batch_size of at least 1"),
        (("a.gif", "b.gif", "--rate", "5"), "times of its own"),
    ],
)
def test_mistakes_are_one_line(model, tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "a.gif")
    code, _, errors = _run(capsys, *options, "--model", model, "--whole-frames")
    assert code == 2 and len(errors) == 1 and words in errors[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif"]
