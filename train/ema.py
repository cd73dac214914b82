"""Exponential moving average of the weights (Polyak and Juditsky 1992), in float32, outside of DeepSpeed, which has none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tarpon.train.config import EmaOptions


def decay_at(step: int, *, decay: float) -> float:
    """Share of the average that optimizer step `step` (1 is the first) keeps.

    Rises as (1 + step) / (10 + step) up to `decay`, so that a short run is not an average over its random start.
    """
    return min(decay, (1 + step) / (10 + step))


class Ema:
    """The averaged parameters beside those of a model; switched off it holds nothing and does nothing.

    Averages depend on the weights and the step alone, so every rank holds the same. Buffers are not averaged.
    """

    def __init__(self, model: nn.Module, options: EmaOptions) -> None:
        self._decay = options.decay
        self._live = dict(model.named_parameters()) if options.enabled else {}
        self._mean = {name: p.detach().to(torch.float32, copy=True) for name, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step`."""
        if self._mean:
            live = [p.detach().float() for p in self._live.values()]
            torch._foreach_lerp_(list(self._mean.values()), live, 1 - decay_at(step, decay=self._decay))

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the averaged weights inside, its own again after."""
        held = {name: p.detach().clone() for name, p in self._live.items()}
        self._copy(self._mean)
        try:
            yield
        finally:
            self._copy(held)

    def tensors(self) -> dict[str, Tensor]:
        """Parameter name -> its average, copied to the CPU; empty when switched off."""
        return {name: value.to("cpu", copy=True) for name, value in self._mean.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from `tensors()` of an earlier run.

        Raises:
            ValueError: that run had it switched otherwise.
        """
        if set(tensors) != set(self._mean):
            had = "with" if tensors else "without"
            raise ValueError(f"the checkpoint was made {had} an average of the weights; resume with the same ema.enabled")
        for name, value in tensors.items():
            self._mean[name].copy_(value)

    @torch.no_grad()
    def _copy(self, source: Mapping[str, Tensor]) -> None:
        for name, value in source.items():
            self._live[name].copy_(value)
