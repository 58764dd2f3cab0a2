"""The orthographic camera and the two moving frames, head and body.

Image plane: x to the right, y up, both in [-1, 1] over the picture; z towards the viewer. A point of the head frame
(x to the image's right, y up, z out of the face) is turned by yaw about y, then by pitch about x, then by roll about z.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

# Between the skull's centre and the eyes: about this point an aligned portrait seems to turn.
HEAD_PIVOT = (0.0, -0.08, 0.20)
BODY_PIVOT = (0.0, -0.85, 0.0)
ZOOM = 1.10
"""Image lengths per head unit."""
_RADIANS = 0.017453292519943295


def _sin_cos(degrees: Float64[Tensor, " b"]) -> tuple[Float64[Tensor, " b"], Float64[Tensor, " b"]]:
    """Taylor series to 1e-10 for |angle| <= 80 degrees: only IEEE-exact operations, see `fields`."""
    x = degrees * _RADIANS
    q = x * x
    s, c, term = x.clone(), torch.ones_like(x), torch.ones_like(x)
    power = x.clone()
    for k in range(1, 10):
        term = term * q * (-1.0 / ((2 * k - 1) * (2 * k)))
        power = power * q * (-1.0 / ((2 * k) * (2 * k + 1)))
        c, s = c + term, s + power
    return s, c


@dataclass(frozen=True)
class Frame:
    """A rigid frame: `matrix` (b, 3, 3) takes its vectors to the camera's; both share the point `pivot`, moved by `shift`."""

    matrix: Float[Tensor, " b 3 3"]
    pivot: tuple[float, float, float]
    shift: Float[Tensor, " b 2"]

    def origin(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the ray of image point (x, y), each (b, r), crosses the plane z = 0 of the camera, in this frame."""
        m = self.matrix
        u, v, w = x - (self.pivot[0] + self.shift[:, :1]), y - (self.pivot[1] + self.shift[:, 1:]), -self.pivot[2]
        return tuple(  # type: ignore[return-value]
            m[:, 0, i, None] * u + m[:, 1, i, None] * v + m[:, 2, i, None] * w + self.pivot[i] for i in range(3)
        )

    def to_camera(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points (b, k) of this frame in camera coordinates."""
        m, (px, py, pz) = self.matrix, self.pivot
        u, v, w = x - px, y - py, z - pz
        out = [m[:, i, 0, None] * u + m[:, i, 1, None] * v + m[:, i, 2, None] * w for i in range(3)]
        return out[0] + (px + self.shift[:, :1]), out[1] + (py + self.shift[:, 1:]), out[2] + pz


def _rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Float[Tensor, " b 3 3"]:
    (sy, cy), (sp, cp), (sr, cr) = _sin_cos(yaw.double()), _sin_cos(pitch.double()), _sin_cos(roll.double())
    # rows of Ry(yaw), then Rx(pitch) with y' = c y + s z, then Rz(roll)
    rows = [(cy, 0 * cy, sy), (-sp * sy, cp, sp * cy), (-cp * sy, -sp, cp * cy)]
    top = tuple(cr * a - sr * b for a, b in zip(rows[0], rows[1], strict=True))
    mid = tuple(sr * a + cr * b for a, b in zip(rows[0], rows[1], strict=True))
    return torch.stack([torch.stack(list(r), -1) for r in (top, mid, rows[2])], 1).float()


def head_frame(yaw: Float[Tensor, " b"], pitch: Float[Tensor, " b"], roll: Float[Tensor, " b"]) -> Frame:
    """The head's frame for angles in degrees."""
    return Frame(_rotation(yaw, pitch, roll), HEAD_PIVOT, torch.zeros(len(yaw), 2, device=yaw.device))


def body_frame(yaw: Float[Tensor, " b"], roll: Float[Tensor, " b"]) -> Frame:
    """Shoulders follow the head a little: three tenths of its yaw, none of its pitch."""
    zero = torch.zeros_like(yaw)
    lift = torch.tensor([0.0, 0.10], device=yaw.device).expand(len(yaw), 2)
    return Frame(_rotation(yaw * 0.3, zero, roll * 0.15), BODY_PIVOT, lift)


def light_direction(azimuth: Float[Tensor, " b"], elevation: Float[Tensor, " b"]) -> Float[Tensor, " b 3"]:
    """Unit vector to the key light in camera coordinates, from degrees."""
    (sa, ca), (se, ce) = _sin_cos(azimuth.double()), _sin_cos(elevation.double())
    return torch.stack([sa * ce, se, ca * ce], -1).float()
