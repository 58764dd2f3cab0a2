"""The golden vectors, and the rules that fill weights and make inputs (tests/golden/README.md, sections 1 and 2)."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden" / "psp"
FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
SALT = "pub:"


def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of `golden/psp/{name}.npz`."""
    with np.load(GOLDEN / f"{name}.npz") as data:
        return {k: data[k] for k in data.files}


def golden_keys(name: str) -> dict[str, list]:
    """Published state dict: key -> [shape, dtype]."""
    return json.loads((GOLDEN / "keys" / f"{name}.json").read_text())["keys"]


def rs(tag: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(tag.encode()) & 0xFFFFFFFF)


def gauss(tag: str, shape) -> Tensor:
    return torch.from_numpy(rs(SALT + tag).standard_normal(shape).astype(np.float32))


def _image(tag: str, c: int, h: int, w: int) -> np.ndarray:
    r = rs(SALT + tag)
    f, p, u = r.uniform(0.5, 4, (c, 2)), r.uniform(0, 2 * np.pi, (c, 2)), r.uniform(-1, 1, (c, h, w))
    y, x = np.arange(h)[None, :, None] / h, np.arange(w)[None, None, :] / w
    wave = np.sin(2 * np.pi * f[:, :1, None] * y + p[:, :1, None]) * np.cos(
        2 * np.pi * f[:, 1:, None] * x + p[:, 1:, None]
    )
    return (0.6 * wave + 0.3 * u).astype(np.float32)


def image(tag: str, c: int, h: int, w: int) -> Tensor:
    """(c, h, w), roughly in [-0.9, 0.9]."""
    return torch.from_numpy(_image(tag, c, h, w))


def uint8_image(tag: str, h: int, w: int, c: int) -> np.ndarray:
    """(h, w, c), or (h, w) for c = 1."""
    x = np.clip(np.floor((_image(tag, c, h, w) + np.float32(1)) * np.float32(127.5)), 0, 255).astype(np.uint8)
    return x[0] if c == 1 else x.transpose(1, 2, 0)


def fill_value(key: str, shape, keys: set[str], salt: str = SALT) -> np.ndarray | None:
    """Value of one tensor by its key; None keeps the module's own."""
    last = key.rsplit(".", 1)[-1]
    stem = key[: len(key) - len(last)]
    f = np.float32
    if last in ("kernel", "mean", "std"):
        return None
    if last == "num_batches_tracked":
        return np.zeros(tuple(shape), np.int64)
    x = rs(salt + key).standard_normal(tuple(shape)).astype(np.float32)
    if last == "running_var":
        return np.abs(x) * f(0.5) + f(0.5)
    if last == "running_mean":
        return x * f(0.05)
    if stem.endswith("noise."):
        return x * f(0.02) + f(0.1)
    if stem.endswith("input.") or stem.endswith("noises."):
        return x
    if last == "bias":
        if stem.endswith("modulation."):
            return x * f(0.05) + f(1)
        return x * f(5) if stem.startswith("style.") else x * f(0.05)
    if x.ndim == 1:
        return x * f(0.05) + f(1.0 if stem + "running_mean" in keys else 0.25)
    if stem.startswith("style."):
        return x * f(100)
    if x.ndim == 5 or stem.endswith("modulation.") or stem.endswith("linear."):
        return x
    if stem.startswith("lin."):
        return np.abs(x)
    return x * f(1 / math.sqrt(np.prod(shape[1:])))


def fill_state(shapes: dict, salt: str = SALT) -> dict[str, Tensor]:
    """Rule-filled tensors for {key: shape}; keys the rule keeps are left out."""
    keys = set(shapes)
    values = {k: fill_value(k, s, keys, salt) for k, s in shapes.items()}
    return {k: torch.from_numpy(np.asarray(v)) for k, v in values.items() if v is not None}


def fill_module(module: nn.Module, salt: str = SALT, keys: dict[str, str] | None = None) -> nn.Module:
    """Fill a module in place; `keys` renames ours -> published where they differ. Returns it in eval mode."""
    names = {k: (keys or {}).get(k, k) for k in module.state_dict()}
    filled = fill_state({names[k]: tuple(v.shape) for k, v in module.state_dict().items()}, salt)
    state = {k: filled.get(names[k], v) for k, v in module.state_dict().items()}
    module.load_state_dict(state)
    return module.eval()


def pieces(img: Tensor, prefix: str) -> dict[str, np.ndarray]:
    """Mean, std and parts of an image batch, as stored in the files (golden/README.md, section 2)."""
    h = img.shape[-2]
    out = {"_mean": img.mean(dim=(2, 3)), "_std": img.std(dim=(2, 3), unbiased=False)}
    if h <= 64:
        out["_full"] = img
    else:
        out["_pool"] = torch.nn.functional.adaptive_avg_pool2d(img, 32)
        out["_crop"] = img[:, :, h // 2 - 24 : h // 2 + 24, h // 2 - 24 : h // 2 + 24]
        out["_corner"] = img[:, :, :16, -16:]
    return {prefix + k: v.detach().numpy() for k, v in out.items()}


def assert_close(actual, expected, *, tol: float = 1e-4, rms: float | None = None) -> None:
    """max|a - b| <= tol * max(1, std of the expected array), and RMS(a - b) <= rms * std where given."""
    a = actual.detach().cpu().numpy() if isinstance(actual, Tensor) else np.asarray(actual)
    e = np.asarray(expected)
    assert a.shape == e.shape, f"shape {a.shape}, expected {e.shape}"
    diff = np.abs(a.astype(np.float64) - e.astype(np.float64))
    std = float(e.astype(np.float64).std())
    assert np.isfinite(diff).all() and diff.max() <= tol * max(1.0, std), (
        f"max difference {diff.max():.3g}, std {std:.3g}"
    )
    if rms is not None:
        assert np.sqrt((diff**2).mean()) <= rms * std, f"RMS difference {np.sqrt((diff**2).mean()):.3g}, std {std:.3g}"
