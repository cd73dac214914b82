"""The DALI pipeline around the steps of any graph: named inputs from the feed, copied to the device where needed."""

import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tarpon.pipelines.noise import NoiseBank
from tarpon.pipelines.output_tensor import to_torch
from tarpon.pipelines.read_ahead import Batch


class Graph(ABC):
    """Decoding and augmentation of a kind of sample: a frozen record, which imports DALI only inside `steps`."""

    batch: int  # samples
    outputs: ClassVar[tuple[str, ...]]  # names of the delivered tensors
    device_inputs: ClassVar[tuple[str, ...]] = ()  # inputs to copy to the device

    def noise_inputs(self, *, gpu: bool) -> tuple[str, ...]:
        """Inputs of the steps that are noise slices."""
        return ()

    @abstractmethod
    def steps(self, inputs: Mapping[str, Any], *, gpu: bool) -> tuple:
        """DALI nodes of what is made, from the nodes of the inputs by name."""

    def made(self, *, gpu: bool) -> tuple[str, ...]:
        """Names of what the steps make."""
        return self.outputs

    def finish(self, made: dict[str, Tensor], banks: Mapping[str, NoiseBank], *, gpu: bool) -> dict[str, Tensor]:
        """The delivered tensors, of what the steps made."""
        return made

    def plain(self) -> "Graph":
        """The same without augmentation."""
        return self


def read_outputs(graph: Graph, outputs: Sequence, banks: Mapping[str, NoiseBank], *, gpu: bool) -> dict[str, Tensor]:
    """The delivered tensors of what a run of the pipeline gives: views of DALI's memory, or made of them on the host."""
    tensors = (to_torch(output.as_tensor()) for output in outputs)
    return graph.finish(dict(zip(graph.made(gpu=gpu), tensors, strict=True)), banks, gpu=gpu)


class InputSource:
    """The feed's batches for DALI's external sources: arrays by one call, noise slices by another, in any order.

    Args:
        batches: called once a batch; StopIteration ends the epoch.
        arrays: names of plain arrays.
        noise: name -> the bank's values on the device.
    """

    def __init__(self, batches: Callable[[], Batch], *, arrays: Sequence[str], noise: Mapping[str, Any]) -> None:
        self._batches, self._names, self._banks = batches, tuple(arrays), dict(noise)
        self._waiting: dict[str, deque[Batch]] = {"arrays": deque(), "noise": deque()} if noise else {"arrays": deque()}

    def arrays(self) -> tuple[list[np.ndarray], ...]:
        """Lists of arrays of the next batch, in the order of the names."""
        batch = self._next("arrays")
        return tuple(batch[name] for name in self._names)

    def noise(self) -> tuple[list, ...]:
        """Lists of views of the banks for the next batch, in the order of the banks."""
        batch = self._next("noise")
        return tuple([noise_slice.view(values) for noise_slice in batch[name]] for name, values in self._banks.items())

    def _next(self, asker: str) -> Batch:
        if not self._waiting[asker]:
            batch = self._batches()
            for queue in self._waiting.values():
                queue.append(batch)
        return self._waiting[asker].popleft()


def build_pipeline(
    graph: Graph,
    batches: Callable[[], Batch],
    *,
    names: Sequence[str],
    banks: Mapping[str, NoiseBank],
    batch: int,
    device: int | None,
    threads: int,
    prefetch: int,
):
    """The built DALI pipeline of a graph.

    Args:
        batches: called once a batch; returns lists of arrays and noise slices by name; StopIteration ends the epoch.
        names: of the inputs.
        banks: noise banks by the names of the inputs that are slices of them.
        batch: most samples of a batch.
        device: GPU ordinal, or None for a CPU.
        threads: decoding threads, each with its own video decoder.
        prefetch: batches made ahead.
    """
    from nvidia.dali import fn, pipeline_def

    arrays = [name for name in names if name not in banks]
    gpu = device is not None
    noise = {name: copy_values(banks[name], device) for name in graph.noise_inputs(gpu=gpu)}
    source = InputSource(batches, arrays=arrays, noise=noise)

    def named_inputs() -> dict[str, Any]:
        # no_copy: the loader keeps each batch's arrays alive until DALI is done with them
        fed = fn.external_source(source.arrays, num_outputs=len(arrays), batch=True, no_copy=True)
        nodes = {name: fed[i] for i, name in enumerate(arrays)}  # DALI's conversion of this code does not support strict zip
        if gpu:
            nodes |= {name: nodes[name].gpu() for name in graph.device_inputs}
        if noise:
            # views of memory that is on the device already: nothing is copied from the host
            device_name = "gpu" if gpu else "cpu"
            views = fn.external_source(source.noise, num_outputs=len(noise), batch=True, no_copy=True, device=device_name)
            nodes |= {name: views[i] for i, name in enumerate(noise)}
        return nodes

    @pipeline_def(
        batch_size=batch,
        num_threads=threads,
        device_id=device,
        prefetch_queue_depth=prefetch,
        exec_dynamic=True,
        enable_conditionals=True,
    )
    def pipeline():
        return graph.steps(named_inputs(), gpu=gpu)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The external source node")  # inputs that a graph leaves out
        built = pipeline()
        built.build()
    return built


def copy_values(bank: NoiseBank, device: int | None) -> np.ndarray | torch.Tensor:
    """The bank's values for the device: the array itself on a CPU (None), else a copy on the GPU."""
    if device is None:
        return bank.values
    values = torch.from_numpy(bank.values).to(torch.device("cuda", device))
    torch.cuda.synchronize(device)  # DALI reads them on streams of its own
    return values
