"""Drawing factors: a pure function of (split or seed, index), whatever the batch; identities never cross splits."""

from typing import Final

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from pspnb.world2.factors import BY_NAME, FREE_FACTORS, IDENTITY_FACTORS, TABLE, Factor, Factors
from pspnb.world2.hashing import stream_id, uniform

SPLIT_SIZES: Final[dict[str, int]] = {"train": 50_000, "validation": 1_000, "test": 1_000}
IMAGES_PER_IDENTITY: Final[dict[str, int]] = {"train": 4, "validation": 4, "test": 1}
# The world's seed per split. Two splits share no key, so no person appears in both.
_SPLIT_KEYS: Final[dict[str, int]] = {"train": 101, "validation": 202, "test": 303}
_IDENTITY_OFFSET: Final[dict[str, int]] = {"train": 0, "validation": 10_000_000, "test": 20_000_000}
_SEED_KEY_OFFSET: Final = 1_000_003


def _key(source: str | int) -> int:
    if isinstance(source, str):
        if source not in _SPLIT_KEYS:
            raise ValueError(f"expected a split of {', '.join(_SPLIT_KEYS)} or an integer seed, got {source!r}")
        return _SPLIT_KEYS[source]
    return _SEED_KEY_OFFSET + int(source)


def _as_indices(indices: Integer[Tensor, " b"] | range | list[int] | int) -> Int64[Tensor, " b"]:
    if isinstance(indices, int):
        indices = range(indices)
    out = torch.as_tensor(indices if isinstance(indices, Tensor) else list(indices), dtype=torch.int64).cpu()
    if out.ndim != 1 or bool((out < 0).any()):
        raise ValueError("expected a one-dimensional list of non-negative indices")
    return out


def _draw(factor: Factor, key: int, index: Int64[Tensor, " b"]) -> Tensor:
    stream = stream_id(factor.name)
    u = uniform(key, index, stream)
    if factor.distribution == "uniform":
        value = factor.low + (factor.high - factor.low) * u
    elif factor.distribution == "bell":
        total = u + uniform(key, index, stream + 1) + uniform(key, index, stream + 2)
        value = factor.low + (factor.high - factor.low) * total * (1.0 / 3.0)
    elif factor.distribution == "often_zero":
        zero = factor.weights[0]
        value = torch.where(u < zero, 0.0, factor.low + (factor.high - factor.low) * (u - zero) * (1.0 / (1.0 - zero)))
    else:
        edges = torch.tensor(factor.weights, dtype=torch.float64).cumsum(0)[:-1]
        return (u[:, None] >= edges).sum(1)
    return value.float().clamp(factor.low, factor.high)


def sample_identity(source: str | int, ids: Integer[Tensor, " b"] | range | list[int] | int) -> Factors:
    """Identity factors of the people numbered `ids` (an int n means range(n)) of a split or of an integer seed."""
    index = _as_indices(ids)
    return {name: _draw(BY_NAME[name], _key(source), index) for name in IDENTITY_FACTORS}


def sample_free(source: str | int, indices: Integer[Tensor, " b"] | range | list[int] | int) -> Factors:
    """Free factors (pose, expression, light, accessories, clothes, background) of the images numbered `indices`."""
    index, key = _as_indices(indices), _key(source)
    free = {name: _draw(BY_NAME[name], key, index) for name in FREE_FACTORS}
    # Most people who wear earrings wear a pair: in four of five draws the right one copies the left one.
    paired = uniform(key, index, stream_id("earring_pair")) < 0.8
    free["earring_right"] = torch.where(paired, free["earring_left"], free["earring_right"])
    return free


def combine(identity: Factors, free: Factors) -> Factors:
    """One dictionary of all factors. A group with a single row is repeated to the length of the other one."""
    n = max(len(next(iter(identity.values()))), len(next(iter(free.values()))))
    merged = {**identity, **free}
    out = {f.name: merged[f.name] for f in TABLE if f.name in merged}
    out = {k: v.expand(n).clone() if len(v) == 1 and n > 1 else v for k, v in out.items()}
    validate(out)
    return out


def identity_of(source: str | int, indices: Integer[Tensor, " b"] | range | list[int] | int) -> Int64[Tensor, " b"]:
    """Identity numbers within the source: image i of a split shows person i // IMAGES_PER_IDENTITY; of a seed, i."""
    per = IMAGES_PER_IDENTITY[source] if isinstance(source, str) and source in IMAGES_PER_IDENTITY else 1
    return _as_indices(indices) // per


def global_identity(source: str | int, indices: Integer[Tensor, " b"] | range | list[int] | int) -> Int64[Tensor, " b"]:
    """Identity numbers that are unique over the three splits."""
    return identity_of(source, indices) + (_IDENTITY_OFFSET[source] if isinstance(source, str) else 0)


def sample_factors(source: str | int, indices: Integer[Tensor, " b"] | range | list[int] | int) -> Factors:
    """All factors of the images numbered `indices` (an int n means range(n)) of a split, or of an integer seed."""
    index = _as_indices(indices)
    return combine(sample_identity(source, identity_of(source, index)), sample_free(source, index))


def validate(factors: Factors, *, yaw_limit: float | None = None) -> int:
    """Checks names, lengths, kinds and ranges; returns the batch size. Raises ValueError with what was expected.

    `yaw_limit`: degrees to which the yaw may go instead of its own range.
    """
    missing = [name for name in BY_NAME if name not in factors]
    unknown = [name for name in factors if name not in BY_NAME]
    if missing or unknown:
        raise ValueError(f"expected the {len(BY_NAME)} factors of TABLE; missing {missing}, unknown {unknown}")
    n = len(factors["yaw"]) if factors["yaw"].ndim == 1 else -1
    for name, value in factors.items():
        factor = BY_NAME[name]
        if value.shape != (n,):
            raise ValueError(f"expected factor {name!r} of shape ({max(n, 1)},), got {tuple(value.shape)}")
        if factor.kind == "categorical" and (value.is_floating_point() or value.dtype == torch.bool):
            raise ValueError(f"expected integers for the categorical factor {name!r}, got {value.dtype}")
        low, high = factor.low, factor.high
        if name == "yaw" and yaw_limit is not None:
            low, high = -yaw_limit, yaw_limit
        if n and not bool(((value >= low) & (value <= high)).all()):
            got = f"{float(value.min()):g} to {float(value.max()):g}"
            raise ValueError(f"expected {name!r} in [{low:g}, {high:g}], got {got}")
    return n


def edit(factors: Factors, /, **changes: float | int | str | Tensor) -> Factors:
    """A copy with some factors set for the whole batch; a categorical factor also takes the choice's name."""
    out = dict(factors)
    n = len(factors["yaw"])
    for name, value in changes.items():
        if name not in BY_NAME:
            raise ValueError(f"expected a factor of TABLE, got {name!r}")
        factor = BY_NAME[name]
        if isinstance(value, str):
            if value not in factor.names:
                raise ValueError(f"expected {name!r} to be one of {', '.join(factor.names)}, got {value!r}")
            value = factor.names.index(value)
        dtype = torch.float32 if factor.kind == "continuous" else torch.int64
        if dtype == torch.int64 and (
            isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point())
        ):
            raise ValueError(f"expected integers for the categorical factor {name!r}")
        new = torch.as_tensor(value, dtype=dtype, device=out["yaw"].device)
        out[name] = new.expand(n).clone() if new.ndim == 0 else new
    validate(out)
    return out
