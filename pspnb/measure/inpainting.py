"""Inpainting: error within the hole and around it, for three kinds of holes, against mean fill and OpenCV's inpainting.

Paper section 4.5, one figure. OpenCV: Telea 2004 (fast marching) and the Navier-Stokes method (Bertalmio et al. 2001). Chapter:
"Inpainting".
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pspnb.files.pictures import from_levels, to_levels
from pspnb.measure.intervals import ROUNDS, mean
from pspnb.measure.judges import Judges
from pspnb.measure.people import People, drawn
from pspnb.measure.pixels import masked_mse
from pspnb.measure.scores import difference, entry, low
from pspnb.transforms import HOLES, mask_out, random_holes


def mean_filled(images: Float[Tensor, " n 3 s s"], holes: Bool[Tensor, " n 1 s s"]) -> Float[Tensor, " n 3 s s"]:
    """Holes filled with the mean colour of what is around them."""
    known = (images * ~holes).sum(dim=(2, 3), keepdim=True) / (~holes).sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return torch.where(holes, known, images)


def opencv_filled(
    images: Float[Tensor, " n 3 s s"], holes: Bool[Tensor, " n 1 s s"], *, method: str = "telea", radius: float = 3.0
) -> Float[Tensor, " n 3 s s"]:
    """OpenCV's inpainting, "telea" or "navier-stokes", within `radius` pixels."""
    import cv2

    flag = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}[method]
    pictures = to_levels(images).permute(0, 2, 3, 1).contiguous().numpy()
    masks = holes[:, 0].to(torch.uint8).numpy() * 255
    filled = [cv2.inpaint(p, m, radius, flag) for p, m in zip(pictures, masks, strict=True)]
    return from_levels(torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2))


def measure_inpainting(
    draw: Callable[[Tensor], Tensor],
    people: People,
    judges: Judges,
    *,
    mean_face: Float[Tensor, " 3 s s"],
    inverted: Float[Tensor, " n 3 s s"] | None = None,
    kinds: Sequence[str] = tuple(HOLES),
    seed: int = 0,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Scores of what `draw` makes of pictures with holes, for each kind of hole.

    "inside" is measured on composites, the hole from the output and the rest from the input, as all methods are; "outside" on
    the raw output, since an encoder draws the whole picture anew. `inverted`: what inversion makes of the full pictures.
    """
    return {kind: _kind(draw, people, judges, kind, mean_face, inverted, seed, rounds) for kind in kinds}


def _kind(
    draw: Callable[[Tensor], Tensor],
    people: People,
    judges: Judges,
    kind: str,
    mean_face: Tensor,
    inverted: Tensor | None,
    seed: int,
    rounds: int,
) -> dict[str, Any]:
    images, n = people.images, len(people)
    generator = torch.Generator().manual_seed(seed)
    holes = random_holes([kind] * n, images.shape[-1], generator=generator)[:, None]
    outputs = drawn(draw, mask_out(images, holes[:, 0]))
    candidates = {
        "output": outputs,
        "mean fill": mean_filled(images, holes),
        "OpenCV (Telea)": opencv_filled(images, holes),
        "OpenCV (Navier-Stokes)": opencv_filled(images, holes, method="navier-stokes"),
        "mean face": mean_face.expand_as(images),
    } | ({} if inverted is None else {"inversion": inverted})
    inside = {name: _inside(x, images, holes, judges) for name, x in candidates.items()}
    own = inside["output"]
    reached = inside.get("inversion", {})
    scores = {
        name: low(own[name], reached.get(name), mean_face=inside["mean face"][name], rounds=rounds) for name in own
    }
    others = {name: x for name, x in inside.items() if name != "output"}
    return {
        "hole": entry(mean(holes.float().mean(dim=(1, 2, 3)), rounds=rounds)),
        "inside": {"output": scores}
        | {name: {m: entry(mean(v, rounds=rounds)) for m, v in x.items()} for name, x in others.items()},
        "output_less": {
            name: {m: difference(own[m], v, rounds=rounds) for m, v in x.items()} for name, x in others.items()
        },
        "outside": {
            "mse": entry(mean(masked_mse(outputs, images, ~holes), rounds=rounds)),
            "lpips": entry(mean(judges.distances(outputs, images, (~holes).float()), rounds=rounds)),
        },
    }


def _inside(filled: Tensor, images: Tensor, holes: Tensor, judges: Judges) -> dict[str, Float[Tensor, " n"]]:
    """Squared error and distance within the hole, of composites."""
    composite = torch.where(holes, filled, images)
    return {
        "mse": masked_mse(composite, images, holes),
        "lpips": judges.distances(composite, images, holes.float()),
    }
