"""Networks that measure and are never trained (paper section 3.3: "a fixed generator", fixed R and F)."""

from torch import nn


class Frozen(nn.Module):
    """Base class of modules whose networks must not change: no weight gradients, permanently in evaluation mode.

    The published code leaves `requires_grad` on for the generator and the face network, and so computes and stores
    gradients that nobody uses (18 % of the arithmetic of a step). A subclass calls `freeze()` at the end of its
    constructor; `train()` on the module, or on any parent, then leaves BatchNorm and dropout alone.
    """

    def freeze(self) -> None:
        """Switch off weight gradients, drop those that exist, and enter evaluation mode."""
        self.requires_grad_(False)
        self.zero_grad(set_to_none=True)
        self.train(False)

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode, whatever the parent asks for."""
        del mode
        super().train(False)
        return self
