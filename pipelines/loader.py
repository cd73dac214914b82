"""A built pipeline as an iterator of batches on the device, with the time it made the caller wait."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from tarpon.pipelines import host_memory
from tarpon.pipelines.clip import ClipGraph
from tarpon.pipelines.feed import ClipFeed, Window
from tarpon.pipelines.image import ImageGraph
from tarpon.pipelines.image_feed import ImageFeed, Shot

Batch = dict[str, Tensor]


class Loader:
    """Runs one graph over one stream of work after another.

    Args:
        graph: what to build; feed: where arrays come from; outputs: names of what the graph delivers, in its order.
        device: GPU ordinal, or None for a CPU.
        threads: decoding threads; prefetch: batches made ahead of the caller.
    """

    def __init__(
        self,
        graph: ClipGraph | ImageGraph,
        feed: ClipFeed | ImageFeed,
        *,
        outputs: Sequence[str],
        device: int | None,
        threads: int = 2,
        prefetch: int = 2,
    ) -> None:
        self.feed, self._outputs = feed, tuple(outputs)
        self._source: Iterator = iter(())
        # arrays handed to DALI without a copy must outlive their batch: what is queued, in the making and just delivered
        self._held: deque = deque(maxlen=2 * prefetch + 4)
        host_memory.keep()
        self._pipeline = graph.build(self._next, device=device, threads=threads, prefetch=prefetch)
        self._unfinished = False  # a run was left before its end, with batches of it still in the pipeline
        self.wait_s = 0.0  # that callers waited for batches
        self.batches = 0

    def _next(self) -> tuple:
        arrays = next(self._source)
        self._held.append(arrays)
        return arrays

    def _drain(self) -> None:
        """Throw away what a run that was left early has in the pipeline; DALI's reset keeps it."""
        self._source = iter(())
        while self._unfinished:
            try:
                self._pipeline.run()
            except StopIteration:
                self._unfinished = False
                self._pipeline.reset()
            except RuntimeError:  # a bad sample among what is thrown away
                continue

    def run(self, work: Iterable[Sequence[Window]] | Iterable[Sequence[Shot]]) -> Iterator[Batch]:
        """Batches of the work, in order; then the loader can be run again.

        Raises:
            ValueError: a sample does not decode, naming the samples that were in flight.
        """
        self._drain()
        self._source, self._unfinished = iter(self.feed.batches(work)), True
        while True:
            begun = time.perf_counter()
            try:
                outputs = self._pipeline.run()
            except StopIteration:
                self._unfinished = False
                self._pipeline.reset()
                return
            except RuntimeError as error:
                rows = sorted({int(row) for arrays in self._held for row in arrays[self.feed.NAMES.index("row")]})
                keys = ", ".join(str(self.feed.manifest.value(row, "key")) for row in rows if row >= 0)
                reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
                raise ValueError(
                    f"DALI could not decode a batch ({reason[:300]}); samples in flight: {keys}; "
                    f"run `tarpon lint` on the shards"
                ) from error
            self.wait_s += time.perf_counter() - begun
            self.batches += 1
            yield {name: torch.from_dlpack(output.as_tensor()) for name, output in zip(self._outputs, outputs, strict=True)}
