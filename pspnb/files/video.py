"""Videos in: MP4, WebM, MOV, MKV, AVI, GIF, or a folder of pictures, as upright RGB frames with the time of each. Chapter: "Video".

Like pictures, videos are untrusted: only these containers are opened (a playlist that names other files is not), the size is
checked before a frame is decoded, and whatever goes wrong is one line that starts with the path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pspnb.checks import above_zero
from pspnb.errors import ImageError, VideoError
from pspnb.files.folders import find_images
from pspnb.files.images import read_image

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi"
READABLE = "an MP4, MOV, WebM, MKV, AVI or GIF file, or a folder of pictures"
MAX_SIDE_PRODUCT = 7680 * 4320
"""Pixels of a frame that is still decoded: 8K."""
FOLDER_RATE = Fraction(25)
"""Frames a second of a folder of pictures that says nothing else."""
_SLACK = Fraction(1, 2)  # seconds that may be missing at the end before a file counts as cut short


@dataclass(frozen=True)
class Frame:
    """Upright 8-bit RGB, and the seconds from the first frame to this one."""

    pixels: UInt8[np.ndarray, " h w 3"]
    time: Fraction


@dataclass(frozen=True)
class Video:
    """What is known before decoding. `size` (w, h) of upright frames; `n_frames` may be a guess, None where there is none.

    `rate`: mean frames a second; `end`: seconds from the first frame to the end of the last, None where the file doesn't say.
    """

    path: Path
    size: tuple[int, int]
    rate: Fraction
    n_frames: int | None
    has_audio: bool
    end: Fraction | None = None

    def frames(self) -> Iterator[Frame]:
        """Every frame in order; the file is opened anew, so that it can be gone through twice. VideoError where it is damaged."""
        yield from _pictures(self) if self.path.is_dir() else _decoded(self)


def open_video(path: str | os.PathLike, *, rate: int | float | None = None) -> Video:
    """Look at a video: its first frame is decoded. `rate`: frames a second of a folder of pictures (25); only there.

    VideoError for a file that is missing, empty, damaged, too large or no video, and for a folder without pictures.
    """
    path = Path(path)
    above_zero(rate=rate)
    if os.fspath(path) in ("", ".") or not path.exists():
        raise VideoError(f"{path}: no such file or folder; expected {READABLE}")
    if path.is_dir():
        return _folder(path, FOLDER_RATE if rate is None else Fraction(rate).limit_denominator(1000))
    if rate is not None:
        raise VideoError(f"{path}: has times of its own; a rate belongs to a folder of pictures")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); expected {READABLE}")
    with opened(path) as container:
        stream = _stream(path, container)
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(f"{path}: no frame in it; expected {READABLE}")
        height, width = upright(first).shape[:2]
        rate_here = stream.average_rate or stream.guessed_rate or FOLDER_RATE
        audio = bool(container.streams.audio)
        end = _end(container, stream, audio)
        guess = stream.frames or (round(end * rate_here) if end else None)
        return Video(path, (width, height), Fraction(rate_here), guess, audio, end)


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The container, open for reading; FFmpeg's errors inside of the block become one VideoError that names the file."""
    import av

    try:
        with av.open(
            os.fspath(path.absolute()), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        ) as container:
            yield container
    except (av.error.FFmpegError, EOFError, UnicodeError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise VideoError(f"{path}: damaged, or no video ({reason}); expected {READABLE}") from error


def upright(frame: VideoFrame) -> UInt8[np.ndarray, " h w 3"]:
    """RGB as a player shows it: turned by the file's rotation flag, transparency on white."""
    if "a" in frame.format.name.replace("gray", "").replace("pal8", "a"):
        rgba = frame.to_ndarray(format="rgba").astype(np.uint16)
        alpha = rgba[..., 3:]
        pixels: np.ndarray = ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def _stream(path: Path, container: InputContainer) -> Any:
    if not container.streams.video or container.streams.video[0].codec_context is None:
        raise VideoError(f"{path}: no picture stream in it; expected {READABLE}")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_SIDE_PRODUCT:
        raise VideoError(
            f"{path}: {width} x {height} pixels, larger than the limit of {MAX_SIDE_PRODUCT / 1e6:.0f} megapixels"
        )
    stream.thread_type = "AUTO"
    return stream


def _end(container: InputContainer, stream: Any, audio: bool) -> Fraction | None:
    """Where the pictures end, as the file says: of the stream, or of the whole file where nothing else is in it."""
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    return Fraction(container.duration, 1_000_000) if container.duration and not audio else None


def _decoded(video: Video) -> Iterator[Frame]:
    with opened(video.path) as container:
        stream = _stream(video.path, container)
        start = time = None
        for frame in container.decode(stream):
            if frame.pts is not None:
                now = frame.pts * Fraction(frame.time_base)
            else:
                now = Fraction(0) if time is None else time + 1 / video.rate
            if time is not None and now <= time:
                continue  # a frame that is shown for no time
            start = now if start is None else start
            time = now
            yield Frame(_fitted(upright(frame), video.size), now - start)
        reached = Fraction(0) if time is None or start is None else time - start + 1 / video.rate
    if video.end is not None and reached + _SLACK < video.end * Fraction(9, 10):
        raise VideoError(f"{video.path}: cut short: {float(reached):.1f} of {float(video.end):.1f} seconds can be read")


def _fitted(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames of a stream that changes its size on the way, at the size of the first."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


# ---- a folder of pictures -------------------------------------------------------------------------------------------


def _folder(path: Path, rate: Fraction) -> Video:
    files = _ordered(path)
    size = _read(files[0]).size
    return Video(path, size, rate, len(files), False, len(files) / rate)


def _ordered(path: Path) -> list[Path]:
    """The pictures of the folder itself, with frame 10 behind frame 9."""
    try:
        files = [file for file in find_images(path) if file.parent == path]
    except ImageError as error:
        raise VideoError(str(error)) from error
    if not files:
        raise VideoError(f"{path}: expected pictures in this folder itself, found them in sub-folders only")
    return sorted(
        files, key=lambda f: [(not t.isdigit(), int(t) if t.isdigit() else 0, t) for t in re.split(r"(\d+)", f.name)]
    )


def _pictures(video: Video) -> Iterator[Frame]:
    for i, file in enumerate(_ordered(video.path)):
        picture = _read(file)
        if picture.size != video.size:
            w, h = video.size
            raise VideoError(
                f"{file}: expected {w} x {h} pixels like the first picture, found {picture.width} x {picture.height}"
            )
        yield Frame(np.array(picture), i / video.rate)


def _read(file: Path) -> Image.Image:
    try:
        return read_image(file)
    except ImageError as error:
        raise VideoError(str(error)) from error
