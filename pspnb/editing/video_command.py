"""`pspnb video`: the model, its directions, the detector and the distance that the options name. Chapter: "Video"."""

import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from pspnb.editing.named import named_shift, parse_edits
from pspnb.errors import PspnbError
from pspnb.inversion.tracking import largest_square
from pspnb.inversion.video import Optimised, Redraw, Start, VideoReport, edit_video, frame_by_frame


def video(
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    model: str,
    edit: str | None,
    directions: str | os.PathLike | None,
    whole_frames: bool,
    steps: int,
    start: Start,
    smoothing: float,
    rate: float | None,
    side_by_side: bool,
    detector: Path | None,
    device: str,
    batch_size: int,
    overwrite: bool,
) -> VideoReport:
    """`edit_video` with everything that the options of the command name. PspnbError, one line, for what doesn't fit together."""
    import pspnb
    from pspnb.align import FaceDetector

    if directions is not None and edit is None:
        raise PspnbError("--directions belongs to --edit NAME=X; expected both")
    net = pspnb.load(model, device=device)
    generator = getattr(net, "decoder", None)
    if generator is None or not hasattr(net, "encode") or getattr(net, "encoder", net).in_channels != 3:  # type: ignore[union-attr]
        raise PspnbError(
            f"{model} is a {type(net).__name__} that reads no photographs; expected an encoder for inversion"
        )
    shift = None if edit is None else named_shift(generator, parse_edits(edit), directions=directions)  # type: ignore[arg-type]
    return edit_video(
        source,
        output,
        _drawing(net, model, shift, steps, start, device),
        input_size=int(net.input_size),  # type: ignore[arg-type]
        find=None if whole_frames else largest_square(FaceDetector(detector)),
        smoothing=smoothing,
        rate=rate,
        side_by_side=side_by_side,
        batch_size=batch_size,
        device=device,
        overwrite=overwrite,
    )


def _drawing(net: nn.Module, name: str, shift: Tensor | None, steps: int, start: Start, device: str) -> Redraw:
    if not steps:
        return frame_by_frame(net, shift)
    return Optimised(net, steps=steps, start=start, distance=_distance(name, device), shift=shift)


def _distance(name: str, device: str) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The shipped perceptual distance of a shipped model's world; squared errors alone for every other model."""
    from pspnb.models import zoo

    shipped = f"{name.partition('/')[0]}/perceptual"
    if name not in zoo.available() or shipped not in zoo.available():
        return None
    return zoo.load_shipped(shipped, device=device)
