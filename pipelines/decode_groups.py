"""Several micro-batches decoded as one batch, and handed out one by one.

A GPU decodes each clip of a batch by a decoder of its own: a micro-batch of two clips uses two of the seven units of an H100.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeVar

from torch import Tensor

Item = TypeVar("Item")

DECODERS = 8  # samples that a GPU should have to decode at once: an H100 has 7 units, an A100 5
WORD = 16  # bytes that compiled kernels ask pointers to be a multiple of
MEMORY_SHARE = 1 / 32  # of the GPU's memory, for the delivered tensors of one decoded batch; DALI holds about six times that


def group_size(asked: int, *, batch: int, sample_bytes: int, memory_bytes: int | None) -> int:
    """Micro-batches to decode as one.

    Args:
        asked: that many; 0: one on a CPU, on a GPU as many as give all decoders work, within the share of memory.
        batch: samples of a micro-batch. sample_bytes: of one delivered sample.
        memory_bytes: of the GPU; None: a CPU.
    """
    if asked < 0:
        raise ValueError(f"decode_batches={asked} must be 0 (chosen by the device) or more")
    if asked or memory_bytes is None:
        return asked or 1
    fit = int(memory_bytes * MEMORY_SHARE) // (batch * sample_bytes)
    return max(1, min(math.ceil(DECODERS / batch), fit))


class DecodeGroups:
    """Joins batches of one stream of work and takes what was made of them apart again, in order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sizes: deque[list[int]] = deque()  # samples of each micro-batch, for each group under way

    def join(self, work: Iterable[Sequence[Item]]) -> Iterator[list[Item]]:
        """Groups of the work; the last may be smaller."""
        rest = iter(work)
        while group := list(islice(rest, self._size)):
            self._sizes.append([len(items) for items in group])
            yield list(chain.from_iterable(group))

    def split(self, outputs: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """The micro-batches of the next group: views of its tensors (samples, ...), or copies (see `align`)."""
        first = 0
        for size in self._sizes.popleft():
            yield {name: align(tensor[first : first + size]) for name, tensor in outputs.items()}
            first += size


def align(part: Tensor) -> Tensor:
    """The part, or a copy where it starts between two words: kernels are compiled anew for such a tensor (a mask of bytes)."""
    return part.clone() if part.data_ptr() % WORD else part
