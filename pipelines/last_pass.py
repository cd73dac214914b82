"""What the last passes over a batch's pixels on a CPU share: memory that is used again, and one thread of torch.

DALI does one operation after the other over everything, by way of memory each time; these passes work in blocks that stay in a
core's cache.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

BLOCK = 1 << 18  # numbers made at a time: 1 MiB of float32; a quarter of it delivers a tenth fewer frames
BATCHES = 3  # delivered batches whose memory is used again: the caller's, its last one and the one being made


class Memory:
    """Memory for delivered batches, used again when no tensor of it is left.

    New memory of that size is a page fault every 4 KiB, or lies scattered among what DALI keeps.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """A float32 tensor of any content."""
        for array in self._arrays:
            if array.shape == shape and sys.getrefcount(array) <= 3:  # the list's, `array` and the call's: no tensor's
                return torch.from_numpy(array)
        array = np.empty(shape, np.float32)
        self._arrays = [*self._arrays[1 - BATCHES :], array]
        return torch.from_numpy(array)


@contextmanager
def one_thread() -> Iterator[None]:
    """The other cores decode meanwhile: threads of torch would wait for each other at every block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
