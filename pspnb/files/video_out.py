"""Videos out: MP4, MOV or MKV (H.264), WebM (VP9), GIF, or a folder of PNGs; written aside and renamed. Chapter: "Video".

Frames keep their times. Sound is copied as it is where the container takes its kind, and encoded anew where it doesn't.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pspnb.errors import PspnbError, VideoError
from pspnb.files.atomic import new_folder, write_atomically
from pspnb.files.sound import Sound
from pspnb.files.video import Video

# Suffix -> encoder, its options (visually lossless, not archival), ticks a second.
_ENCODERS: dict[str, tuple[str, dict[str, str], int]] = {
    ".mp4": ("libx264", {"crf": "17", "preset": "medium"}, 90_000),
    ".mov": ("libx264", {"crf": "17", "preset": "medium"}, 90_000),
    ".mkv": ("libx264", {"crf": "17", "preset": "medium"}, 1_000),
    ".webm": ("libvpx-vp9", {"crf": "24", "b": "0", "row-mt": "1", "cpu-used": "4"}, 1_000),
}
ENDINGS = (*_ENCODERS, ".gif")
_BT709 = 1

Add = Callable[[UInt8[np.ndarray, " h w 3"], Fraction], None]
"""Takes the next frame and its time in seconds."""


def keeps_sound(path: str | os.PathLike) -> bool:
    """Whether a video of this name has room for sound: not a GIF, not a folder."""
    return Path(path).suffix.lower() in _ENCODERS


@contextmanager
def written_video(
    path: str | os.PathLike, *, size: tuple[int, int], rate: Fraction, sound_of: Video | None = None
) -> Iterator[Add]:
    """`with written_video("out.mp4", size=(w, h), rate=video.rate, sound_of=video) as add: add(pixels, time)`.

    The file appears when the block ends without an error and stays as it was otherwise. A name without an ending is a folder of
    PNGs. H.264 needs even sides: an odd one grows by a line that repeats the last. `rate` says how long the last frame stays.
    PspnbError for another ending, or where the system refuses.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix in _ENCODERS:
        kind = _container(path, size, rate, sound_of)
    elif suffix == ".gif":
        kind = _gif(path, rate)
    elif suffix == "":
        kind = _png_folder(path)
    else:
        raise VideoError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}, or a folder")
    with kind as add:
        yield add


@contextmanager
def _container(path: Path, size: tuple[int, int], rate: Fraction, sound_of: Video | None) -> Iterator[Add]:
    import av

    aside = path.with_name(f".tmp-{secrets.token_hex(8)}{path.suffix.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(os.fspath(aside), "w") as container:
            stream, ticks = _stream(container, path.suffix.lower(), size, rate)
            sound = Sound(sound_of.path, container) if sound_of is not None and sound_of.has_audio else None
            lengths = _Lengths(ticks, rate)

            def mux(packets: list[Any]) -> None:
                for packet in packets:
                    packet.duration = lengths.of(packet.pts)
                    container.mux(packet)

            def add(pixels: np.ndarray, time: Fraction) -> None:
                if sound is not None:
                    sound.mux_until(time)
                mux(stream.encode(_encodable(pixels, stream, lengths.next(time), ticks)))

            yield add
            mux(stream.encode(None))
            if sound is not None:
                sound.mux_until(None)
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    except (OSError, av.error.FFmpegError) as error:
        if isinstance(error, PspnbError):
            raise
        raise VideoError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def _stream(container: Any, suffix: str, size: tuple[int, int], rate: Fraction) -> tuple[Any, int]:
    codec, options, ticks = _ENCODERS[suffix]
    stream = container.add_stream(codec, rate=rate.limit_denominator(65_535), options=options)
    even = codec == "libx264"
    stream.width, stream.height = (n + n % 2 if even else n for n in size)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = stream.time_base = Fraction(1, ticks)
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _BT709  # the same number: 16-235
    return stream, ticks


def _encodable(pixels: np.ndarray, stream: Any, pts: int, ticks: int) -> Any:
    import av
    from av.video.reformatter import Colorspace

    h, w = pixels.shape[:2]
    if (w, h) != (stream.width, stream.height):
        pixels = np.pad(pixels, ((0, stream.height - h), (0, stream.width - w), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
    frame.pts, frame.time_base = pts, Fraction(1, ticks)
    return frame


class _Lengths:
    """Ticks of every frame, and for how many each one stays: until the next, the last one as long as the rate says."""

    def __init__(self, ticks: int, rate: Fraction):
        self.ticks, self.last = ticks, max(1, round(ticks / rate))
        self.known: dict[int, int] = {}
        self.before: int | None = None

    def next(self, time: Fraction) -> int:
        """The tick of a frame at `time`, later than the one before."""
        pts = round(time * self.ticks)
        if self.before is not None:
            pts = max(pts, self.before + 1)
            self.known[self.before] = pts - self.before
        self.before = pts
        return pts

    def of(self, pts: int | None) -> int:
        return self.known.pop(pts, self.last) if pts is not None else self.last


@contextmanager
def _gif(path: Path, rate: Fraction) -> Iterator[Add]:
    """256 colours a frame, times in hundredths of a second, as the format has it; kept in memory until the end."""
    frames: list[Image.Image] = []
    times: list[Fraction] = []

    def add(pixels: np.ndarray, time: Fraction) -> None:
        frames.append(Image.fromarray(pixels).quantize(256))
        times.append(time)

    yield add
    if not frames:
        raise VideoError(f"{path}: expected at least one frame")
    ends = [*times[1:], times[-1] + 1 / rate]
    # Players take delays below 20 ms for 100 ms; so does the format's time scale round to 10 ms.
    edges = [round(float(t) * 100) * 10 for t in (times[0], *ends)]
    delays = [max(20, b - a) for a, b in zip(edges, edges[1:], strict=False)]
    write_atomically(
        path,
        lambda s: frames[0].save(
            s, "GIF", save_all=True, append_images=frames[1:], duration=delays, loop=0, disposal=1
        ),
    )


@contextmanager
def _png_folder(path: Path) -> Iterator[Add]:
    """frame_000000.png, ...; a folder that holds anything must be out of the way before."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise VideoError(f"{path}: expected a new or empty folder for the frames")
    count = 0
    with new_folder(path) as aside:

        def add(pixels: np.ndarray, time: Fraction) -> None:
            nonlocal count
            Image.fromarray(pixels).save(aside / f"frame_{count:06d}.png")
            count += 1

        yield add
        if not count:
            raise VideoError(f"{path}: expected at least one frame")
