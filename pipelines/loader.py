"""A built pipeline as an iterator of batches on the device, with the time it made the caller wait."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tarpon.pipelines import culprits, host_memory
from tarpon.pipelines.augment_share import measure_augment_share
from tarpon.pipelines.decode_groups import DecodeGroups, choose_group_size
from tarpon.pipelines.feed import Feed, Request
from tarpon.pipelines.graph_shell import Graph, build_pipeline
from tarpon.pipelines.output_hold import OutputHold, record_on_current_stream
from tarpon.pipelines.output_tensor import to_torch
from tarpon.pipelines.read_ahead import Batch as Arrays
from tarpon.pipelines.undelivered import Undelivered

Batch = dict[str, Tensor]
BATCHES_IN_USE = 3  # micro-batches beyond a group that the GPU may still have to work on before the loader waits for it


class Loader:
    """Runs one graph over one stream of work after another.

    Args:
        graph: what to build; its batch is that of the work. feed: where arrays come from.
        device: GPU ordinal, or None for a CPU.
        threads: decoding threads; prefetch: decoded batches made ahead of the caller.
        decode_batches: batches of the work that are decoded as one, which changes no tensor; 0: one on a CPU, on a GPU as
            many as its decoders and memory ask for (decode_groups.py).

    Raises:
        ValueError: what is stored cannot be decoded on the device.
    """

    def __init__(
        self,
        graph: Graph,
        feed: Feed,
        *,
        device: int | None,
        threads: int = 2,
        prefetch: int = 2,
        decode_batches: int = 0,
    ) -> None:
        self.feed, self._graph, self._device = feed, graph, device
        fields = feed.fields
        fields.check(feed.manifest, device=device)
        memory = None if device is None else torch.cuda.mem_get_info(device)[1]
        self.decode_batches = choose_group_size(
            decode_batches, batch=graph.batch, sample_bytes=fields.sample_bytes, memory_bytes=memory
        )
        record = None if device is None else record_on_current_stream(device)
        self._hold = OutputHold(record, limit=self.decode_batches + BATCHES_IN_USE)
        self._source: Iterator[Arrays] = iter(())
        # arrays handed to DALI without a copy must outlive their batch: what is queued, in the making and just delivered
        self._held: deque[Arrays] = deque(maxlen=2 * prefetch + 4)
        host_memory.keep_freed_memory()
        self._threads, self._prefetch = threads, prefetch
        self._pipeline = self._build()
        self._unfinished = False  # a run was left before its end, with batches of it still in the pipeline
        self.wait_s = 0.0  # that callers waited for batches
        self.batches = 0

    def _build(self):
        return build_pipeline(
            self._graph,
            self._next_arrays,
            names=self.feed.fields.names,
            banks=self.feed.fields.banks,
            batch=self._graph.batch * self.decode_batches,
            device=self._device,
            threads=self._threads,
            prefetch=self._prefetch,
        )

    def run(self, work: Iterable[Sequence[Request]]) -> Iterator[Batch]:
        """Batches of the work, in order; then the loader can be run again.

        A batch may be read, by work queued on torch's current stream, until the next one is asked for; to read it later on a
        GPU, keep_freed_memory it until that is done.

        A sample that does not decode is bad as one of wrong bytes is: it spends the budget, and what was under way is made
        again without it.

        Raises:
            ValueError: the budget is spent; or a batch fails of which every sample decodes alone, naming what was in flight.
        """
        self._drain()
        groups = DecodeGroups(self.decode_batches)
        under_way = Undelivered(groups.join(work))
        self._source, self._unfinished = iter(self.feed.batches(under_way)), True
        while (outputs := self._run_pipeline(under_way)) is not None:
            for batch in groups.split(outputs):
                self.batches += 1
                try:
                    yield batch
                finally:  # also of a run that is left here
                    self._hold.hand_back(outputs)

    def measure_augment_share(self) -> float | None:
        """Of the time that decoding and augmenting take, the share of augmenting, 0..1, on batches that were under way.

        Changes nothing of what `run` delivers; None where it cannot be measured.
        """
        fields = self.feed.fields
        settings = {"names": fields.names, "banks": fields.banks, "device": self._device, "threads": self._threads}
        return measure_augment_share(self._graph, list(self._held), **settings) if self._held else None

    def _run_pipeline(self, under_way: Undelivered[Request]) -> Batch | None:
        """Tensors of the next decoded batch; None at the end of the work."""
        begun = time.perf_counter()
        while True:
            try:
                outputs = self._pipeline.run()
                break
            except StopIteration:
                self._unfinished = False
                self._pipeline.reset()
                return None
            except RuntimeError as error:
                self._reject(under_way, error)
        under_way.mark_delivered()
        self.wait_s += time.perf_counter() - begun
        return {name: to_torch(output.as_tensor()) for name, output in zip(self._graph.outputs, outputs, strict=True)}

    def _reject(self, under_way: Undelivered[Request], error: RuntimeError) -> None:
        """Find what does not decode, and begin again with the batch that failed; ValueError where nothing is found."""
        found: dict[int, str] = {}
        if not culprits.blames_the_machine(error):
            for group in under_way.groups:  # the oldest first: it is the one that failed
                samples = ((self._row_of(sample), sample) for sample in map(self.feed.sample, group))
                if found := culprits.find(samples, self._build_single):
                    break
        if not found:
            raise ValueError(self._in_flight(error)) from error
        for row, reason in found.items():
            self.feed.reject(row, f"does not decode ({reason})")
        self._pipeline = self._build()  # a GPU's pipeline does not go on after an error
        under_way.again()
        self._source = iter(self.feed.batches(under_way))

    def _row_of(self, sample: Mapping) -> int:
        """The stored row whose content a sample holds."""
        row = int(sample["row"])
        return row if row >= 0 else self.feed.filler.row

    def _build_single(self, batches: Callable[[], Arrays]):
        names, banks = self.feed.fields.names, self.feed.fields.banks
        return build_pipeline(
            self._graph, batches, names=names, banks=banks, batch=1, device=self._device, threads=1, prefetch=1
        )

    def _in_flight(self, error: RuntimeError) -> str:
        """The reason in one line, with the keys of all samples that may be it."""
        rows = sorted({int(row) for arrays in self._held for row in arrays["row"]})
        keys = ", ".join(str(self.feed.manifest.value(row, "key")) for row in rows if row >= 0)
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        return f"DALI could not decode a batch ({reason[:300]}); samples in flight: {keys}; run `tarpon lint` on the shards"

    def _next_arrays(self) -> Arrays:
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
