"""`pspnb align`: photographs as the FFHQ data set crops them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pspnb.cli.options import Detector, Output, finish


@dataclass(frozen=True)
class Align:
    """Crop and align faces in photographs as in the FFHQ data set."""

    images: Positional[Annotated[Path, arg(metavar="PATH")]]
    """Image or folder of images (with sub-folders)."""
    output: Output
    size: Annotated[int, arg(metavar="PX")] = 256
    """Width and height of the output in pixels."""
    detector: Detector = None
    upright: bool = False
    """All photographs are upright: do not look for ones that lie on their side or upside down, which are rotated otherwise."""
    format: Literal["png", "jpg", "webp"] = "png"
    """Output image format."""
    overwrite: bool = False
    """Overwrite output files that exist."""

    def run(self) -> int:
        from pspnb.align import MAX_SIZE, align_folder
        from pspnb.files.download import YUNET_LICENCE, yunet_is_here

        if self.detector is None and 16 <= self.size <= MAX_SIZE and not yunet_is_here():
            print(f"downloading the YuNet face detector, 0.3 MB, licence {YUNET_LICENCE}")
        return finish(
            align_folder(
                self.images,
                self.output,
                size=self.size,
                detector=self.detector,
                upright=self.upright,
                image_format=self.format,
                overwrite=self.overwrite,
            )
        )
