"""The loader: a built pipeline as an iterator of batches on the device, with the time that the caller waited."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from tarpon.pipelines import host_memory
from tarpon.pipelines.decode_groups import DecodeGroups, choose_group_size
from tarpon.pipelines.feed import Feed, Request
from tarpon.pipelines.graph_shell import Graph, build_pipeline
from tarpon.pipelines.output_hold import OutputHold, record_on_current_stream
from tarpon.pipelines.read_ahead import Batch as Arrays

Batch = dict[str, Tensor]
BATCHES_IN_USE = 3  # micro-batches beyond a group that the GPU may still have to work on before the loader waits for it


class Loader:
    """Runs one graph over one stream of work after another.

    Args:
        graph: what to build; its batch is that of the work.
        feed: the source of its inputs.
        device: GPU ordinal, or None for a CPU.
        threads: number of decoding threads.
        prefetch: batches decoded ahead.
        decode_batches: batches of the work that are decoded as one, without effect on the tensors; 0: one on a CPU, on a GPU
            as its decoders and memory allow (decode_groups.py).

    Attributes:
        wait_s: seconds that callers waited for batches.
        batches: number of batches delivered.

    Raises:
        ValueError: the stored samples cannot be decoded on the device.
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
        self.feed, self._outputs = feed, graph.outputs
        fields = feed.fields
        fields.check(feed.manifest, device=device)
        memory = None if device is None else torch.cuda.mem_get_info(device)[1]
        self.decode_batches = choose_group_size(
            decode_batches, batch=graph.batch, sample_bytes=fields.sample_bytes, memory_bytes=memory
        )
        record = None if device is None else record_on_current_stream(device)
        self._hold = OutputHold(record, limit=self.decode_batches + BATCHES_IN_USE)
        self._source: Iterator[Arrays] = iter(())
        # DALI reads the arrays without a copy, so they must outlive their batch: queued, being decoded, and just delivered
        self._in_flight: deque[Arrays] = deque(maxlen=2 * prefetch + 4)
        host_memory.keep_freed_memory()
        self._pipeline = build_pipeline(
            graph,
            self._next_arrays,
            names=fields.names,
            banks=fields.banks,
            batch=graph.batch * self.decode_batches,
            device=device,
            threads=threads,
            prefetch=prefetch,
        )
        self._unfinished = False  # a run was left before its end, and the pipeline still holds batches of it
        self.wait_s = 0.0
        self.batches = 0

    def run(self, work: Iterable[Sequence[Request]]) -> Iterator[Batch]:
        """Batches of the work, in order; afterwards the loader can be run again.

        A batch may be used by work queued on torch's current stream before the next batch is requested; for later use on a
        GPU, hold a reference until that work is done.

        Raises:
            ValueError: a sample does not decode, naming the samples that were in flight.
        """
        self._drain()
        groups = DecodeGroups(self.decode_batches)
        self._source, self._unfinished = iter(self.feed.batches(groups.join(work))), True
        while (outputs := self._run_pipeline()) is not None:
            for batch in groups.split(outputs):
                self.batches += 1
                try:
                    yield batch
                finally:  # also of a run that is left here
                    self._hold.hand_back(outputs)

    def _run_pipeline(self) -> Batch | None:
        """Tensors of the next decoded batch; None at the end of the work."""
        begun = time.perf_counter()
        try:
            outputs = self._pipeline.run()
        except StopIteration:
            self._unfinished = False
            self._pipeline.reset()
            return None
        except RuntimeError as error:
            raise ValueError(self._describe_failure(error)) from error
        self.wait_s += time.perf_counter() - begun
        return {name: torch.from_dlpack(output.as_tensor()) for name, output in zip(self._outputs, outputs, strict=True)}

    def _describe_failure(self, error: RuntimeError) -> str:
        """The message for a batch that does not decode: the reason, and the keys of all samples in flight."""
        rows = sorted({int(row) for arrays in self._in_flight for row in arrays["row"]})
        keys = ", ".join(str(self.feed.manifest.value(row, "key")) for row in rows if row >= 0)
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        return f"DALI could not decode a batch ({reason[:300]}); samples in flight: {keys}; run `tarpon lint` on the shards"

    def _next_arrays(self) -> Arrays:
        arrays = next(self._source)
        self._in_flight.append(arrays)
        return arrays

    def _drain(self) -> None:
        """Discard the batches of an earlier, unfinished run; DALI's reset keeps them."""
        self._source = iter(())
        while self._unfinished:
            try:
                self._pipeline.run()
            except StopIteration:
                self._unfinished = False
                self._pipeline.reset()
            except RuntimeError:  # a bad sample among the discarded ones
                continue
