"""Noise that is drawn once and taken a stretch at a time, on whichever device adds it.

Drawing anew for each sample takes 10 to 40 times as long. A feed names a stretch; the graph's shell looks it up in the bank,
which lies where the pixels are: on a GPU nothing but the bank itself, once, is copied from the host.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

SLACK = 1 << 16  # places that a stretch can start at

Values = TypeVar("Values")  # a NumPy array, or a tensor: both are cut and reshaped alike


@dataclass(frozen=True, slots=True)
class NoiseSlice:
    """Where some noise lies in its bank."""

    first: int
    shape: tuple[int, ...]

    def view(self, values: Values) -> Values:
        """A view of the bank's values (N,) in the shape; nothing is copied."""
        return values[self.first : self.first + math.prod(self.shape)].reshape(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseBank:
    """Normal noise, the same in every process, with zeros after it."""

    values: np.ndarray  # (N,)
    zeros: int  # how many of them, at the end

    @classmethod
    def normal(cls, rng: np.random.Generator, *, count: int, sd: float, dtype: type, zeros: int = 1) -> "NoiseBank":
        """Noise for stretches of up to `count` numbers; integers are rounded and end at +-127."""
        drawn = rng.standard_normal(count + SLACK, dtype=np.float32) * sd if sd else np.zeros(0)
        if np.dtype(dtype).kind == "i":
            drawn = np.clip(np.rint(drawn), -127, 127)
        return cls(values=np.concatenate([drawn.astype(dtype), np.zeros(zeros, dtype)]), zeros=zeros)

    def slice_noise(self, start: float, shape: tuple[int, ...]) -> NoiseSlice:
        """The noise of a draw. start: in [0, 1)."""
        return NoiseSlice(int(start * SLACK), shape)

    def slice_zeros(self, *shape: int) -> NoiseSlice:
        """Zeros, as many as the bank ends in at most."""
        return NoiseSlice(len(self.values) - self.zeros, shape)
