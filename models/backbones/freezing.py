"""An encoder that can be frozen while the rest of a model trains."""

from typing import Self

import torch
from torch import nn


class FreezableEncoder(nn.Module):
    """A network `net` that is frozen by `freeze`, and then stays in evaluation mode and gives answers without gradient.

    Attributes:
        frozen: set by `freeze`, never directly.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.frozen = False
        self._requested_mode = net.training  # the mode last asked for, kept while frozen

    def freeze(self, on: bool = True) -> None:
        """Freeze weights and batch statistics (True), or train them (False).

        `requires_grad` stays True throughout: DeepSpeed never updates a parameter that had it off at its initialisation.
        """
        self.frozen = on
        self.train(self._requested_mode)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but a frozen encoder stays in evaluation mode until it is unfrozen."""
        self._requested_mode = mode
        return super().train(mode and not self.frozen)

    def with_gradient(self) -> torch.set_grad_enabled:
        """A context in which gradients are recorded, where they are outside of it, unless the encoder is frozen."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)
