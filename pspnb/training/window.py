"""Means of the losses between two lines of the log, without a step that waits for the device."""

from typing import Any

import torch
from torch import Tensor

from pspnb.training.processes import Processes


class Window:
    """Sums of the losses since the last log, kept on the device so that no step waits for them."""

    def __init__(self, team: Processes) -> None:
        self.team = team
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.steps = 0

    def add(self, log: dict[str, Tensor], parts: int) -> None:
        """Losses of one of the `parts` of a step."""
        values = torch.stack([value.float() for value in log.values()]) / parts
        self.names = list(log)
        self.sums = values if self.sums is None else self.sums + values

    def close_step(self) -> None:
        """One step more in the means."""
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Means over steps, parts and processes since the last call; reads them from the device."""
        if self.sums is None:
            return {}
        values = (self.team.mean(self.sums) / self.steps).tolist()
        self.sums, self.steps = None, 0
        return dict(zip(self.names, values, strict=True))

    def is_finite(self) -> Tensor:
        """As a tensor, over all processes."""
        if self.sums is None:
            return torch.ones((), dtype=torch.bool, device=self.team.device)
        return self.team.mean(self.sums).isfinite().all()

    def state(self) -> dict[str, Any]:
        """Sums of this process. With several processes those of the main one stand for all."""
        return {"names": self.names, "sums": self.sums, "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.names, self.sums, self.steps = state["names"], state["sums"], state["steps"]
