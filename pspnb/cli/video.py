"""`pspnb video`: the face in a video, inverted and edited frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pspnb.cli.options import Detector, Device, Directions, Model, refuse_given
from pspnb.recipes.recipe import option


@dataclass(frozen=True)
class Video:
    """Invert and edit the face in a video (MP4, WebM, MOV, MKV, AVI, GIF, or a folder of frames)."""

    input: Positional[Annotated[Path, arg(metavar="IN")]]
    """Video file, or a folder of pictures."""
    output: Positional[Annotated[Path, arg(metavar="OUT")]]
    """File that ends in .mp4, .mov, .mkv, .webm or .gif, or a new folder for the frames."""
    model: Model
    edit: Annotated[str | None, option("NAME=X,...")] = None
    """Attributes to edit and by how much, such as smile=0.5; default: reconstruct the video without an edit."""
    directions: Directions = None
    whole_frames: bool = False
    """The frames are aligned portraits already: skip face detection, alignment and pasting the face back."""
    steps: Annotated[int, option("N")] = 0
    """Also optimise the latent code of each frame, in N steps (slow); default: encoder only."""
    start: Literal["encoder", "previous"] = "encoder"
    """With --steps: start the optimisation from the encoder's code, or from the previous frame's (less flicker)."""
    smoothing: Annotated[float, arg(metavar="SECONDS")] = 0.08
    """Smooth the position of the face over time against jitter: standard deviation of the filter in seconds; 0: off."""
    rate: Annotated[float | None, option("FPS")] = None
    """Frames per second of a folder of pictures; default: 25."""
    side_by_side: bool = False
    """Put each input frame on the left of the result."""
    detector: Detector = None
    device: Device = "auto"
    batch_size: Annotated[int, arg(metavar="N")] = 8
    """Number of frames per batch."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> int:
        from pspnb.align import FaceDetector
        from pspnb.device import pick_device
        from pspnb.editing.named import named_shift, parse_edits
        from pspnb.inversion.tracking import largest_square
        from pspnb.inversion.video import drawing, edit_video
        from pspnb.models.load import load_translator

        if not self.steps:
            refuse_given(self, ("start",), "belongs to --steps N, an optimisation of every frame")
        if self.whole_frames:
            refuse_given(self, ("detector", "smoothing"), "belongs to videos in which the face is searched")
        if self.edit is None:
            refuse_given(self, ("directions",), "belongs to --edit NAME=X")
        device = pick_device(self.device)
        model = load_translator(self.model, device=device)
        edits = None if self.edit is None else parse_edits(self.edit)
        report = edit_video(
            self.input,
            self.output,
            drawing(
                model,
                shift=None if edits is None else named_shift(model.decoder, edits, directions=self.directions),
                steps=self.steps,
                start=self.start,
                name=self.model,
            ),
            input_size=model.input_size,
            find=None if self.whole_frames else largest_square(FaceDetector(self.detector)),
            smoothing=self.smoothing,
            rate=self.rate,
            side_by_side=self.side_by_side,
            batch_size=self.batch_size,
            device=device,
            overwrite=self.overwrite,
        )
        print(f"{report} -> {self.output}")
        return 0
