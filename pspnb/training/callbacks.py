"""What watches a training run: a base class, TensorBoard, and the picture of a step (rows of source, target, output).

The trainer knows none of them; it calls every callback at the moments that `Callback` names. So a notebook gets its live
plot without the library importing a plotting package. Book: chapter "Training the encoder".
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from pspnb.files.pictures import from_levels
from pspnb.transforms import colour_labels


class Callback:
    """Override what is of interest. Only the main process calls; an exception ends the run."""

    def start(self, step: int) -> None:
        """Before the first step of this run, which is `step` (not 0 for a resumed one)."""

    def log(self, step: int, record: dict[str, float]) -> None:
        """Every `log_every` steps: mean losses since the last time, learning rate, images per second."""

    def validation(self, step: int, record: dict[str, float]) -> None:
        """After a validation: its mean losses, named `val_...`."""

    def pictures(self, step: int, pictures: UInt8[Tensor, " 3 h w"]) -> None:
        """Every `picture_every` steps: the grid that is also written to disk."""

    def end(self, step: int) -> None:
        """After the last step of this run, however it ended."""


class TensorBoard(Callback):
    """Scalars and pictures for `tensorboard --logdir`. ImportError if tensorboard isn't installed."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writer: Any = None

    def start(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Events of steps that a killed run had reached after its last checkpoint will come again.
        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def log(self, step: int, record: dict[str, float]) -> None:
        for name, value in record.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def validation(self, step: int, record: dict[str, float]) -> None:
        for name, value in record.items():
            self._writer.add_scalar(f"validation/{name.removeprefix('val_')}", value, step)

    def pictures(self, step: int, pictures: UInt8[Tensor, " 3 h w"]) -> None:
        self._writer.add_image("source, target, output", pictures, step)

    def end(self, step: int) -> None:
        self._writer.close()


def picture_rows(
    source: Float[Tensor, " b c h w"], target: Float[Tensor, " b 3 s s"], output: Float[Tensor, " b 3 s s"]
) -> Float[Tensor, " n 3 s s"]:
    """Source, target, output; source, target, output; ... in [-1, 1], for a grid of three columns."""
    shown = F.interpolate(_visible(source), size=target.shape[-2:], mode="nearest")
    return torch.stack([shown, target, output.to(target.dtype)], 1).flatten(0, 1)


def _visible(source: Tensor) -> Tensor:
    """Any encoder input as RGB in [-1, 1]: sketches grey, label planes in the colours of their classes."""
    channels = source.shape[1]
    if channels == 3:
        return source
    if channels == 1:
        return (source * 2 - 1).expand(-1, 3, -1, -1)
    colours = [torch.from_numpy(colour_labels(planes.argmax(0))) for planes in source]
    return from_levels(torch.stack(colours).permute(0, 3, 1, 2)).to(source.device)
