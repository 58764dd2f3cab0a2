"""A video through an encoder: every frame inverted, edited and put back. `pspnb video IN OUT --model NAME`. Chapter: "Video".

Source: Feature-Style encoder (Yao et al. 2022), section 5.3: frame by frame, since an encoder that is steady needs nothing else.
Beside it an optimisation that starts from the encoder's code, or from the code of the frame before.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from pspnb.align import align_quad
from pspnb.checks import at_least
from pspnb.errors import PspnbError, VideoError
from pspnb.files.images import to_image
from pspnb.files.progress import progress_bar
from pspnb.files.video import Frame, Video, open_video
from pspnb.files.video_out import keeps_sound, written_video
from pspnb.inversion.optimise import invert
from pspnb.inversion.tracking import SMOOTHING, Quad, Track, inside, is_cut, paste_back, thumbnail, track
from pspnb.models import zoo
from pspnb.models.redraw import redraw
from pspnb.transforms import image_tensor

Start = Literal["encoder", "previous"]
Redraw = Callable[[Float[Tensor, " b 3 s s"]], Float[Tensor, " b 3 H H"]]
CUT_OUT = 256
"""Side in pixels at which an aligned face is cut out at least, as `pspnb align` does."""


@dataclass(frozen=True)
class VideoReport:
    """What came of a video: frames written, how many of them as they were (no face), seconds, whether sound was left out."""

    frames: int
    untouched: int
    seconds: float
    sound_lost: bool

    def __str__(self) -> str:
        parts = [f"{self.frames} frames, {self.frames / max(self.seconds, 1e-9):.1f} a second"]
        if self.untouched:
            parts.append(f"{self.untouched} without a face left as they were")
        if self.sound_lost:
            parts.append("the sound was left out: the output has no room for it")
        return ", ".join(parts)


class Optimised:
    """Codes of a frame found by `steps` of optimisation, from the encoder's or from those of the frame before.

    For models whose codes are all there is (PSP). Call it with frames in their order; `restart` at a cut.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        steps: int,
        start: Start = "encoder",
        distance: Callable[[Tensor, Tensor], Tensor] | None = None,
        lr: float = 0.05,
        shift: Tensor | None = None,
    ):
        at_least(1, steps=steps)
        if hasattr(model, "edit"):  # a feature too
            raise PspnbError("expected a model whose pictures depend on codes alone for an optimisation of codes")
        self.model: Any = model
        self.steps, self.start, self.distance, self.lr, self.shift = steps, start, distance, lr, shift
        self.codes: Tensor | None = None

    def restart(self) -> None:
        """Forget the frame before."""
        self.codes = None

    def __call__(self, x: Float[Tensor, " b 3 s s"]) -> Float[Tensor, " b 3 H H"]:
        out = []
        for image in x.split(1):
            if self.codes is None or self.start == "encoder":
                self.codes = self.model.encode(image).detach()
            found = invert(
                self.model.decoder, image, distance=self.distance, lpips=0.8 if self.distance else 0.0,
                start=self.codes, steps=self.steps, lr=self.lr,
            )  # fmt: skip
            self.codes = found.codes
            out.append(self.model.decode(self.codes if self.shift is None else self.codes + self.shift))
        return torch.cat(out)


def frame_by_frame(model: nn.Module, shift: Tensor | None = None) -> Redraw:
    """The encoder alone, each frame for itself."""
    return lambda x: redraw(model, x, shift)


def drawing(
    model: nn.Module, *, shift: Tensor | None = None, steps: int = 0, start: Start = "encoder", name: str = ""
) -> Redraw:
    """What `edit_video` does to pictures: the encoder alone, or `steps` of optimisation behind it.

    Shipped models, by their `name`, optimise squared error and the shipped perceptual distance of their world; all others squared
    error alone. PspnbError for a model that reads no photographs.
    """
    found: Any = model
    if found.encoder.in_channels != 3:
        raise PspnbError(f"the model reads {found.encoder.in_channels} channels; expected one that reads photographs")
    at_least(0, steps=steps)
    if not steps:
        return frame_by_frame(model, shift)
    shipped = f"{name.partition('/')[0]}/perceptual"
    known = name in zoo.available() and shipped in zoo.available()
    distance = zoo.load_shipped(shipped, device=str(found.latent_avg.device)) if known else None
    return Optimised(model, steps=steps, start=start, distance=distance, shift=shift)


def edit_video(
    source: str | os.PathLike,
    output: str | os.PathLike,
    draw: Redraw,
    *,
    input_size: int,
    find: Callable[[Image.Image], Quad | None] | None = None,
    smoothing: int | float = SMOOTHING,
    rate: int | float | None = None,
    side_by_side: bool = False,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    progress: bool = True,
) -> VideoReport:
    """Read, redraw and write a video; times and sound are kept, frames keep their size.

    `draw`: pictures of `input_size` px in [-1, 1] to pictures, such as `frame_by_frame(model)`. `find`: the face's square in a
    frame (`tracking.largest_square`): the face is cut out, redrawn and pasted back; None: whole frames are redrawn, for videos
    of portraits. VideoError, one line, for what cannot be read or written, PspnbError for an output that exists.
    """
    at_least(1, batch_size=batch_size, input_size=input_size)
    at_least(0, smoothing=smoothing)
    source, output = Path(source), Path(output)
    video = open_video(source, rate=rate)
    _check_output(source, output, overwrite)
    begin, width = time.perf_counter(), video.size[0]
    tracked = None
    if find is not None:
        bar = progress_bar(video.frames(), total=video.n_frames, unit="frame", desc="faces", wanted=progress)
        tracked = track((frame for frame in bar), find, smoothing=smoothing)
        if not any(inside(quad, video.size) for quad in tracked.quads):
            raise VideoError(f"{source}: no face found in any frame; expected one, or whole frames (--whole-frames)")
    size = (2 * width if side_by_side else width, video.size[1])
    n = untouched = 0
    with (
        written_video(output, size=size, rate=video.rate, sound_of=video) as add,
        progress_bar(total=video.n_frames, unit="frame", wanted=progress) as bar,
        torch.no_grad(),
    ):
        for frame, pixels in _redrawn(video, tracked, draw, input_size, batch_size, device):
            shown = frame.pixels if pixels is None else pixels
            add(np.concatenate([frame.pixels, shown], axis=1) if side_by_side else shown, frame.time)
            n, untouched = n + 1, untouched + (pixels is None)
            bar.update(1)
        if not n:
            raise VideoError(f"{source}: no frame could be read")
    lost = video.has_audio and not keeps_sound(output)
    return VideoReport(n, untouched, time.perf_counter() - begin, lost)


def _check_output(source: Path, output: Path, overwrite: bool) -> None:
    if output.exists() and source.exists() and output.samefile(source):
        raise PspnbError(f"{output}: expected another name for the result than that of the input")
    if output.exists() and not overwrite:
        raise PspnbError(f"{output}: exists; choose another name, or say --overwrite")


def _redrawn(
    video: Video, tracked: Track | None, draw: Redraw, input_size: int, batch_size: int, device: str | torch.device
) -> Iterator[tuple[Frame, UInt8[np.ndarray, " h w 3"] | None]]:
    """Every frame in order and what became of it, None where nothing did."""
    gathered: list[tuple[Frame, Quad | None]] = []
    for frame, quad, begins in _placed(video, tracked):
        if gathered and (len(gathered) == batch_size or (begins and isinstance(draw, Optimised))):
            yield from _drawn(gathered, tracked is not None, draw, input_size, device)
            gathered = []
        if begins and isinstance(draw, Optimised):
            draw.restart()
        gathered.append((frame, quad))
    yield from _drawn(gathered, tracked is not None, draw, input_size, device)


def _placed(video: Video, tracked: Track | None) -> Iterator[tuple[Frame, Quad | None, bool]]:
    """Frames with their squares, and whether a shot begins with them."""
    if tracked is not None:
        yield from zip(video.frames(), tracked.quads, tracked.starts, strict=True)
        return
    before = None
    for frame in video.frames():
        now = thumbnail(frame.pixels)
        yield frame, None, before is None or is_cut(before, now)
        before = now


def _drawn(
    frames: list[tuple[Frame, Quad | None]], aligned: bool, draw: Redraw, input_size: int, device: str | torch.device
) -> Iterator[tuple[Frame, UInt8[np.ndarray, " h w 3"] | None]]:
    """One batch: cut out, redraw, put back."""
    inputs: dict[int, Tensor] = {}
    for i, (frame, quad) in enumerate(frames):
        pixels = frame.pixels
        if aligned:
            if quad is None or not inside(quad, (pixels.shape[1], pixels.shape[0])):
                continue
            pixels = np.array(align_quad(Image.fromarray(pixels), quad, size=max(CUT_OUT, input_size)))
        inputs[i] = image_tensor(pixels, input_size)
    pictures = draw(torch.stack([*inputs.values()]).to(device)).float().cpu() if inputs else ()
    faces = {i: np.array(to_image(picture)) for i, picture in zip(inputs, pictures, strict=True)}
    for i, (frame, quad) in enumerate(frames):
        face, (h, w) = faces.get(i), frame.pixels.shape[:2]
        if face is None:
            yield frame, None
        elif quad is not None:
            yield frame, paste_back(frame.pixels, face, quad)
        else:
            yield frame, np.array(Image.fromarray(face).resize((w, h), Image.Resampling.BICUBIC))
