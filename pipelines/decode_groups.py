"""Decodes several micro-batches as one batch and delivers them one by one.

A GPU decodes each clip of a batch on one of its hardware decoders: a micro-batch of two clips uses two of an H100's seven.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeVar

from torch import Tensor

Item = TypeVar("Item")

DECODERS = 8  # samples to decode at once on a GPU: an H100 has 7 decoders, an A100 5
WORD = 16  # bytes: alignment of pointers that compiled kernels assume
MEMORY_SHARE = 1 / 32  # of the GPU's memory, for the delivered tensors of one decoded batch; DALI holds about six times that


def choose_group_size(asked: int, *, batch: int, sample_bytes: int, memory_bytes: int | None) -> int:
    """Number of micro-batches to decode as one.

    Args:
        asked: that number; 0: one on a CPU, on a GPU enough to occupy all decoders, within the share of memory.
        batch: samples of a micro-batch.
        sample_bytes: bytes of one delivered sample.
        memory_bytes: of the GPU; None: a CPU.

    Raises:
        ValueError: asked is negative.
    """
    if asked < 0:
        raise ValueError(f"decode_batches={asked} must be 0 (chosen by the device) or more")
    if asked or memory_bytes is None:
        return asked or 1
    fit = int(memory_bytes * MEMORY_SHARE) // (batch * sample_bytes)
    return max(1, min(math.ceil(DECODERS / batch), fit))


class DecodeGroups:
    """Joins the micro-batches of one stream of work to groups, and splits the groups' outputs, in order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sizes: deque[list[int]] = deque()  # samples of each micro-batch, for each group under way

    def join(self, work: Iterable[Sequence[Item]]) -> Iterator[list[Item]]:
        """The work in groups of `size` micro-batches; the last may be smaller."""
        rest = iter(work)
        while group := list(islice(rest, self._size)):
            self._sizes.append([len(items) for items in group])
            yield list(chain.from_iterable(group))

    def split(self, outputs: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """The micro-batches of the next group's outputs: views of its tensors (samples, ...), or copies (see `align`)."""
        first = 0
        for size in self._sizes.popleft():
            yield {name: align(tensor[first : first + size]) for name, tensor in outputs.items()}
            first += size


def align(part: Tensor) -> Tensor:
    """The part, or a copy where its address is no multiple of WORD: kernels would be compiled anew for such a tensor."""
    return part.clone() if part.data_ptr() % WORD else part
