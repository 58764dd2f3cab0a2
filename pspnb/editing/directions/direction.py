"""A direction with its name and its unit, and files of them. Chapter: "Directions"."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.errors import LoadError, PspnbError
from pspnb.files.atomic import write_bytes

STANDARD_DEVIATION = "standard deviations of the codes"


@dataclass(frozen=True)
class Direction:
    """codes + strength * `vector` is the edit `name`, and a strength of 1 means one `unit`.

    `vector` is (d,), the same for every style, or (n, d). `method` says who found it.
    """

    name: str
    method: str
    unit: str
    vector: Float[Tensor, " *n d"]

    def __mul__(self, by: int | float) -> "Direction":
        """The same way, `by` times as far at strength 1; the unit is the caller's to change (`in_unit`)."""
        return replace(self, vector=self.vector * by)

    def in_unit(self, unit: str) -> "Direction":
        """The same vector, with another word for what a strength of 1 means."""
        return replace(self, unit=unit)

    def named(self, name: str) -> "Direction":
        """The same vector under another name."""
        return replace(self, name=name)

    def on(self, layers: Sequence[int], n_styles: int) -> "Direction":
        """Only for the styles `layers`, counted from 0: zero for the others (GANSpace, section 3.3)."""
        if bad := [k for k in layers if not 0 <= k < n_styles]:
            raise PspnbError(f"expected layers within 0-{n_styles - 1}, got {bad}")
        kept = torch.zeros(n_styles, 1, dtype=self.vector.dtype, device=self.vector.device)
        kept[list(layers)] = 1
        return replace(self, vector=self.vector.expand(n_styles, -1) * kept)

    def without(self, others: Iterable["Direction"]) -> "Direction":
        """What is left when the parts along `others` are taken out (InterFaceGAN, conditional manipulation)."""
        vectors = [other.vector.expand_as(self.vector).flatten().double() for other in others]
        if not vectors:
            return self
        basis = torch.linalg.qr(torch.stack(vectors, dim=1)).Q
        flat = self.vector.flatten().double()
        left = flat - basis @ (basis.T @ flat)
        return replace(self, vector=left.view_as(self.vector).to(self.vector))

    def projected(self, codes: Float[Tensor, " b *n d"]) -> Float[Tensor, " b"]:
        """How far each code lies along the direction, in lengths of the unit vector."""
        vector = self.vector
        if codes.ndim > 2 and vector.ndim == 1:
            vector = vector.expand_as(codes[0])
        if codes.ndim == 2 and vector.ndim == 2:
            codes = codes[:, None].expand(-1, len(vector), -1)
        flat = vector.flatten().double()
        return codes.flatten(1).double() @ (flat / flat.norm())

    def sized(self, codes: Float[Tensor, " b *n d"]) -> "Direction":
        """As long as one standard deviation of `codes` along it."""
        spread = float(self.projected(codes).std())
        return (self * (spread / float(self.vector.double().norm()))).in_unit(STANDARD_DEVIATION)


def save_directions(path: str | os.PathLike, directions: Iterable[Direction]) -> None:
    """A `.safetensors` file: one tensor a name, method and unit in its metadata. PspnbError for two of one name."""
    from safetensors.torch import save

    path, directions = Path(path), list(directions)
    if path.suffix != ".safetensors":
        raise PspnbError(f"{path}: expected a name that ends in .safetensors for directions")
    names = [d.name for d in directions]
    if not names or len(set(names)) < len(names):
        raise PspnbError(f"{path}: expected directions of different names, got {', '.join(names) or 'none'}")
    tensors = {d.name: d.vector.detach().float().cpu().contiguous() for d in directions}
    facts = {d.name: json.dumps({"method": d.method, "unit": d.unit}) for d in directions}
    write_bytes(path, save(tensors, metadata=facts))


def read_directions(path: str | os.PathLike) -> dict[str, Direction]:
    """Directions by name; a file of bare tensors gives them too, in "lengths of the vector". LoadError when it is no such file."""
    from safetensors import SafetensorError, safe_open

    path, found = Path(path), {}
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            facts = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118
                found[name] = _direction(path, name, file.get_tensor(name), facts.get(name))
    except OSError as error:
        raise LoadError(f"{path}: cannot read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise LoadError(f"{path}: damaged, or not a .safetensors file of directions") from error
    if not found:
        raise LoadError(f"{path}: expected directions, found an empty file of tensors")
    return found


def _direction(path: Path, name: str, vector: Tensor, facts: str | None) -> Direction:
    if vector.ndim not in (1, 2) or not vector.is_floating_point() or not bool(torch.isfinite(vector).all()):
        raise LoadError(
            f"{path}: {name}: expected a finite direction of shape (d,) or (n, d), found {tuple(vector.shape)}"
        )
    try:
        read = json.loads(facts) if facts else {}
    except ValueError:
        read = {}
    read = read if isinstance(read, dict) else {}
    method, unit = (
        str(read.get(key, default)) for key, default in (("method", "unknown"), ("unit", "lengths of the vector"))
    )
    return Direction(name, method, unit, vector.float())
