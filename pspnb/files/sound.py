"""The sound of a video, carried into another one. Chapter: "Video"."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from pspnb.errors import VideoError

PRIMING = Fraction(1, 10)
"""Seconds before the first picture from which packets are kept: decoders need a packet or two to get going."""


class Sound:
    """The first sound stream of a file, for an output that is open for writing, packet by packet beside the pictures.

    Copied as it is where the container takes its kind, else decoded and encoded as the container's default (AAC, Opus).
    Times count from the first frame of the pictures, as `Video.frames` gives them; what sounds before it is left out.
    """

    def __init__(self, path: Path, output: Any):
        import av

        self.path, self.output = path, output
        self.source = av.open(str(path.absolute()))
        stream = self.source.streams.audio[0]
        self.start = _first_picture(path)
        self.copied = stream.codec_context.name in output.supported_codecs
        if self.copied:
            self.out = output.add_stream_from_template(stream)
            packets = self._copies(stream)
        else:
            self.out = output.add_stream(_encoder(output), rate=stream.codec_context.sample_rate or 48_000)
            packets = self._encoded(stream)
        self.packets, self.waiting = packets, None

    def mux_until(self, time: Fraction | None) -> None:
        """Write all sound up to `time` seconds; None: what is left, and close the source. VideoError where it is damaged."""
        import av

        try:
            while True:
                packet = self.waiting if self.waiting is not None else next(self.packets, None)
                self.waiting = None
                if packet is None:
                    break
                if time is not None and packet.pts is not None and packet.pts * packet.time_base > time:
                    self.waiting = packet
                    return
                self.output.mux(packet)
        except av.error.FFmpegError as error:
            raise VideoError(f"{self.path}: the sound cannot be carried over ({error.strerror})") from error
        if time is None:
            self.source.close()

    def _copies(self, stream: Any) -> Iterator[Any]:
        offset = round(self.start / stream.time_base)
        earliest = offset - round(PRIMING / stream.time_base)
        for packet in self.source.demux(stream):
            if packet.dts is None or packet.pts is None or packet.pts < earliest:
                continue  # the mark of the end, or before the first picture
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            packet.stream = self.out
            yield packet

    def _encoded(self, stream: Any) -> Iterator[Any]:
        import av

        context = self.out.codec_context
        resampler = av.AudioResampler(
            format=context.format or "fltp", layout=stream.codec_context.layout, rate=context.sample_rate
        )
        fifo, ticks = av.AudioFifo(), 0
        for frame in self.source.decode(stream):
            if frame.pts is not None and frame.pts * frame.time_base < self.start:
                continue
            frame.pts = None
            for part in resampler.resample(frame):
                fifo.write(part)
            for part in fifo.read_many(context.frame_size or 1024):
                part.pts, part.time_base, ticks = ticks, Fraction(1, context.sample_rate), ticks + part.samples
                yield from self.out.encode(part)
        rest = fifo.read()
        if rest is not None:
            rest.pts, rest.time_base = ticks, Fraction(1, context.sample_rate)
            yield from self.out.encode(rest)
        yield from self.out.encode(None)


def _encoder(output: Any) -> str:
    """FFmpeg's own Opus encoder is experimental; libopus is the one to take."""
    return "libopus" if output.default_audio_codec == "opus" else output.default_audio_codec


def _first_picture(path: Path) -> Fraction:
    """When the first frame is shown, in the file's own time."""
    from pspnb.files.video import opened

    with opened(path) as container:
        frame = next(container.decode(video=0), None)
        return Fraction(0) if frame is None or frame.pts is None else frame.pts * Fraction(frame.time_base or 0)
