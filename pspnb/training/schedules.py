"""Factors of a learning rate over a training, as functions of the share of it that lies behind (0 to 1)."""

import math


def held_then_cosine(progress: float, decay_from: float, final: float = 0.0) -> float:
    """1 until `decay_from`, then a half cosine down to `final` at progress 1."""
    if progress <= decay_from or decay_from >= 1:
        return 1.0
    x = min((progress - decay_from) / (1 - decay_from), 1.0)
    return final + (1 - final) * (0.5 + 0.5 * math.cos(x * math.pi))


def one_cycle(progress: float, warm_up: float) -> float:
    """Linear rise to 1 over `warm_up`, then a half cosine down to 0.01."""
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return held_then_cosine(progress, warm_up, 0.01)
