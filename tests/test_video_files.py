"""Videos in and out: every format, times, sizes, turns, sound, and files that are no videos. All made here, a few frames each."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from pspnb.errors import PspnbError, VideoError
from pspnb.files.video import open_video
from pspnb.files.video_out import keeps_sound, written_video

TIMES = [Fraction(t, 1000) for t in (0, 100, 130, 230, 270, 370)]  # frames of unequal length


def picture(i, w=63, h=47):
    """Three areas that change from frame to frame; soft enough for half-resolution colour."""
    a = np.zeros((h, w, 3), np.uint8)
    a[..., 0], a[:, : w // 2, 1], a[h // 2 :, :, 2] = 20 * i, 200, 150
    return a


def write(path, *, n=6, size=(63, 47), **more):
    with written_video(path, size=size, rate=Fraction(10), **more) as add:
        for i in range(n):
            add(picture(i, *size), TIMES[i])
    return path


def add_sound(path, out, codec, seconds=0.47):
    """The pictures of `path` with a tone of 440 Hz, by PyAV alone."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        v = source.streams.video[0]
        pictures, tone = target.add_stream_from_template(v), target.add_stream(codec, rate=48000)
        tone.codec_context.format = "fltp" if codec in ("aac", "vorbis") else "s16"
        if codec == "vorbis":
            tone.codec_context.options = {"strict": "experimental"}
        tone.codec_context.layout = "stereo"
        fifo = av.AudioFifo()
        wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * 48000)) / 48000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        resampler = av.AudioResampler(format=tone.codec_context.format.name, layout="stereo", rate=48000)
        for part in resampler.resample(frame):
            fifo.write(part)
        tone.codec_context.open()
        ticks = 0
        for part in [*fifo.read_many(tone.codec_context.frame_size or 960), fifo.read()]:
            if part is None:
                continue
            part.pts, part.time_base, ticks = ticks, Fraction(1, 48000), ticks + part.samples
            target.mux(tone.encode(part))
        target.mux(tone.encode(None))
        for packet in source.demux(v):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
    return out


def sound(path):
    """Codec, seconds and the loudest frequency of the first sound stream; None where there is none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        parts = [
            f.to_ndarray() for f in av.AudioResampler(format="flt", layout="mono", rate=48000).resample(None) or []
        ]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=48000)
        parts = [p.to_ndarray()[0] for f in container.decode(stream) for p in resampler.resample(f)]
        wave = np.concatenate(parts)
    spectrum = np.abs(np.fft.rfft(wave[4800:14400]))
    return stream.codec_context.name, len(wave) / 48000, float(spectrum.argmax() * 48000 / 9600)


# ---- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "error"),
    [
        ("a.mp4", (64, 48), 5),
        ("a.mov", (64, 48), 5),
        ("a.mkv", (64, 48), 5),
        ("a.webm", (63, 47), 5),
        ("a.gif", (63, 47), 0),
    ],
)
def test_there_and_back(tmp_path, name, size, error):
    """Odd sides and unequal times survive; H.264 grows by a line, a GIF's few colours stay exact."""
    video = open_video(write(tmp_path / name))
    frames = list(video.frames())
    assert video.size == size and not video.has_audio and len(frames) == len(TIMES)
    assert [float(f.time) for f in frames] == pytest.approx([float(t) for t in TIMES], abs=1e-3)
    for i, frame in enumerate(frames):
        assert frame.pixels.shape == (size[1], size[0], 3)
        assert np.abs(frame.pixels[:47, :63].astype(int) - picture(i)).mean() <= error
    assert [f.time for f in video.frames()] == [f.time for f in frames]  # a second time through
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_the_last_frame_stays_as_long_as_the_rate_says(tmp_path):
    video = open_video(write(tmp_path / "a.mp4"))
    assert float(video.end) == pytest.approx(0.47, abs=0.02) and video.n_frames == 6


def test_a_folder_of_pictures(tmp_path):
    write(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[-1] == "frame_000005.png"
    for i in (9, 10, 11):
        Image.fromarray(picture(i)).save(tmp_path / f"f{i}.png")
    video = open_video(tmp_path, rate=50)
    frames = list(video.frames())
    assert [int(f.pixels[0, 0, 0]) for f in frames] == [180, 200, 220]  # 9 before 10
    assert [f.time for f in frames] == [0, Fraction(1, 50), Fraction(2, 50)]
    Image.fromarray(picture(0, 20, 20)).save(tmp_path / "f12.png")
    with pytest.raises(VideoError, match=r"f12\.png: expected 63 x 47 pixels like the first picture, found 20 x 20"):
        list(open_video(tmp_path).frames())
    with pytest.raises(VideoError, match="new or empty folder"):
        write(tmp_path / "out")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_flags_are_applied(tmp_path, turns):
    """A phone's flag, put into the track header by hand: 16.16 numbers of a counter-clockwise turn."""
    path = write(tmp_path / "a.mp4", size=(64, 48))
    data = path.read_bytes()
    c, s = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turns]
    place = data.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", c << 16, -s << 16, 0, s << 16, c << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:place] + matrix + data[place + 36 :])
    video = open_video(path)
    assert video.size == ((48, 64) if turns % 2 else (64, 48))
    found, expected = next(iter(video.frames())).pixels, np.rot90(picture(0, 64, 48), turns)
    assert np.abs(found.astype(int) - expected).mean() < 5


def test_transparent_pixels_are_white(tmp_path):
    a = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    a.paste((0, 0, 255, 255), (0, 0, 10, 20))
    a.save(
        tmp_path / "a.gif",
        save_all=True,
        append_images=[a.transpose(Image.Transpose.ROTATE_90)],
        duration=100,
        disposal=2,
    )
    first = next(iter(open_video(tmp_path / "a.gif").frames())).pixels
    assert first[10, 2].tolist() == [0, 0, 255] and first[10, 17].tolist() == [255, 255, 255]


# ---- sound ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "codec", "target", "found"),
    [
        ("mp4", "aac", "mp4", "aac"),
        ("webm", "libopus", "webm", "opus"),
        ("mp4", "aac", "webm", "opus"),
        ("webm", "libopus", "mp4", "opus"),
    ],
)
def test_sound_is_kept(tmp_path, source, codec, target, found):
    with_sound = add_sound(write(tmp_path / f"a.{source}"), tmp_path / f"b.{source}", codec)
    video = open_video(with_sound)
    assert video.has_audio and keeps_sound(f"x.{target}")
    out = write(tmp_path / f"c.{target}", sound_of=video)
    name, seconds, pitch = sound(out)
    assert (name, pitch) == (found, pytest.approx(440, abs=6)) and seconds == pytest.approx(0.47, abs=0.06)
    if source == target:  # copied, not encoded again
        with av.open(str(with_sound)) as a, av.open(str(out)) as b:
            packets = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (a, b)]
        assert packets[0] == packets[1]


def test_a_gif_has_no_room_for_sound(tmp_path):
    video = open_video(add_sound(write(tmp_path / "a.mp4"), tmp_path / "b.mp4", "aac"))
    assert sound(write(tmp_path / "c.gif", sound_of=video)) is None and not keeps_sound("c.gif")


# ---- mistakes -------------------------------------------------------------------------------------------------------


def _refused(path, match, **more):
    with pytest.raises(VideoError, match=match) as caught:
        list(open_video(path, **more).frames())
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_is_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    _refused(tmp_path / "empty.mp4", "is empty")
    _refused(tmp_path / "none.mp4", "no such file")
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 50)
    _refused(tmp_path / "text.mp4", "damaged, or no video")
    (tmp_path / "folder").mkdir()
    _refused(tmp_path / "folder", "no images")
    (tmp_path / "folder" / "sub").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "folder" / "sub" / "a.png")
    _refused(tmp_path / "folder", "in sub-folders only")
    _refused(write(tmp_path / "a.mp4"), "times of its own", rate=10)
    with pytest.raises(PspnbError, match="rate above 0"):
        open_video(tmp_path / "folder", rate=0)


def test_playlists_are_not_followed(tmp_path):
    """A text file that names other files is what a hostile "video" would be."""
    write(tmp_path / "secret.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    _refused(tmp_path / "list.mp4", "damaged, or no video")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n")
    _refused(tmp_path / "list.m3u8", "damaged, or no video")


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_damaged_files(tmp_path, name):
    """Cut anywhere, a file is read as far as it goes or refused in one line; nothing else comes out."""
    whole = write(tmp_path / name).read_bytes()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        path = tmp_path / f"cut_{name}"
        path.write_bytes(whole[: int(share * len(whole))])
        try:
            frames = list(open_video(path).frames())
            assert 0 < len(frames) <= 6
        except VideoError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_a_file_that_ends_early_is_said(tmp_path, monkeypatch):
    times = [Fraction(i, 2) for i in range(6)]
    with written_video(tmp_path / "a.mkv", size=(64, 48), rate=Fraction(2)) as add:
        for i, t in enumerate(times):
            add(np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8), t)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    _refused(tmp_path / "a.mkv", r"cut short: [\d.]+ of 3\.0 seconds|damaged")


def test_nothing_is_left_of_a_failure(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"mine")
    for name in ("a.mp4", "b.webm", "c.gif", "d"):
        with (
            pytest.raises(RuntimeError, match="on the way"),
            written_video(tmp_path / name, size=(64, 48), rate=Fraction(9)) as add,
        ):
            add(picture(0, 64, 48), Fraction(0))
            raise RuntimeError("on the way")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"mine"
    with pytest.raises(VideoError, match=r"ends in \.mp4, \.mov"):
        write(tmp_path / "a.txt")
    with pytest.raises(VideoError, match="cannot write"):
        write(tmp_path / "a.mp4" / "x.mp4")
    for name in ("e.gif", "e"):
        with pytest.raises(VideoError, match="at least one frame"):
            write(tmp_path / name, n=0)
