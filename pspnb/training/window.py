"""Means of the losses between two lines of the log, without a step that waits for the device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pspnb.training.processes import Processes


class Window:
    """Sums of the losses since the last log, kept on the device so that no step waits for them.

    Where the losses of a step have other names than those before (a discriminator joins), the sums start anew.
    """

    def __init__(self, team: Processes) -> None:
        self.team = team
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.steps = 0

    def add(self, losses: Mapping[str, float | Tensor]) -> None:
        """Losses of one step; they are copied."""
        if not losses:
            return
        if list(losses) != self.names:
            self.names, self.sums, self.steps = list(losses), None, 0
        device = self.team.device
        parts = [torch.as_tensor(v, dtype=torch.float32).detach().to(device) for v in losses.values()]
        values = torch.stack(parts)
        self.sums = values if self.sums is None else self.sums + values
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Means over steps and processes since the last call; reads them from the device."""
        if self.sums is None:
            return {}
        values = (self.team.mean(self.sums) / self.steps).tolist()
        self.sums, self.steps = None, 0
        return dict(zip(self.names, values, strict=True))

    def is_finite(self) -> bool:
        """Whether all of them are, over all processes."""
        if self.sums is None:
            return True
        return bool(self.team.mean(self.sums).isfinite().all())

    def state(self) -> dict[str, Any]:
        """Sums of this process. With several processes those of the main one stand for all."""
        return {"names": self.names, "sums": self.sums, "steps": self.steps}

    def load_state(self, state: Mapping[str, Any] | None) -> None:
        """The inverse of `state`; None: nothing was summed."""
        if state is not None:
            self.names, self.sums, self.steps = list(state["names"]), state["sums"], state["steps"]
