"""Counter-based random numbers: a value is a pure function of (key, index, stream), so no draw depends on batch order.

A splitmix64 finaliser (Steele, Lea and Flood, 2014) over int64 tensors; integer arithmetic wraps alike on CPU and CUDA.
"""

import zlib

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, the golden ratio in 64 bits, as a signed number
_MIX_A = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_B = -7723592293110705685  # 0x94D049BB133111EB


def stream_id(name: str) -> int:
    """A stable 32-bit number for a stream's name (CRC-32), so adding a factor never moves the others."""
    return zlib.crc32(name.encode())


def mix64(x: Int64[Tensor, " *b"]) -> Int64[Tensor, " *b"]:
    """The splitmix64 finaliser: a bijection of 64-bit integers in which every input bit changes every output bit."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX_A
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX_B
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def hash_ints(key: int, index: Int64[Tensor, " *b"], stream: int) -> Int64[Tensor, " *b"]:
    """64 random bits for every index, from a key (a seed or split) and a stream number."""
    start = mix64(torch.tensor([key, stream], dtype=torch.int64, device=index.device) * _GOLDEN + _GOLDEN)
    return mix64(mix64(index * _GOLDEN + start[0]) + start[1])


def uniform(key: int, index: Int64[Tensor, " *b"], stream: int) -> Float64[Tensor, " *b"]:
    """Uniform numbers in [0, 1) with 32 random bits each."""
    return (hash_ints(key, index, stream) & 0xFFFFFFFF).double() * 2.0**-32
