"""Encoded photographs -> normalised squares on the device: one DALI graph, on a GPU (`mixed` decode) or a CPU.

A photograph is shown whole, its longest side as long as the square, on black (letterbox). In training its draw varies it: all
geometry in one warp, all colour in one matrix, all linear filters in one kernel, the rest on the photographs that drew it.
Colour comes before geometry, so that what lies beyond the photograph is as black as in evaluation.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

INPUTS = 34  # arrays a sample, as PhotoFields names them
OUTPUTS = ("image", "row")


@dataclass(frozen=True, kw_only=True)
class PhotoGraph:
    """The graph: what it makes of a feed."""

    batch: int  # photographs
    size: int  # pixels, both sides
    augment: bool = True  # False: draws are not looked at

    def __post_init__(self) -> None:
        if self.size < 8 or self.batch < 1:
            raise ValueError(f"image_size={self.size} must be 8 or more, and the batch={self.batch} 1 or more")

    def build(self, source: Callable[[], tuple[list[np.ndarray], ...]], *, device: int | None, threads: int, prefetch: int):
        """The built DALI pipeline.

        Args:
            source: called for each batch; lists of arrays in the order of PhotoFields.names; StopIteration ends the epoch.
            device: GPU ordinal, or None for a CPU.
            threads: decoding threads. prefetch: batches made ahead.

        Outputs: image (B, 3, size, size) float32 on the device, row (B,) int64 on the CPU.
        """
        from nvidia.dali import pipeline_def

        from tarpon.pipelines import photo_steps

        @pipeline_def(
            batch_size=self.batch,
            num_threads=threads,
            device_id=device,
            prefetch_queue_depth=prefetch,
            exec_dynamic=True,
            enable_conditionals=True,
        )
        def graph():
            return photo_steps.deliver(source, inputs=INPUTS, size=self.size, augment=self.augment, gpu=device is not None)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The external source node")  # outputs that a graph leaves out
            pipeline = graph()
            pipeline.build()
        return pipeline
