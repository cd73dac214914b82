"""Microscope pages of 8 or 16 bits -> crops of 0..1 grey on the device, at full depth until the last pass.

One DALI graph, on a GPU (`mixed` decode) or a CPU.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

INPUTS = 8  # arrays a sample, as PageFields names them
OUTPUTS = ("page", "row")


@dataclass(frozen=True, kw_only=True)
class PageGraph:
    """The graph: what it makes of a feed."""

    size: int  # pixels, both sides
    stretch: bool = True  # False where every page has that size as stored: DALI would filter it all the same
    batch: int  # pages
    mean: float = 0.5  # of 0..1, taken off
    std: float = 0.25  # and divided by
    augment: bool = True  # False leaves flips, turn, brightness, contrast and noise out

    def build(self, source: Callable[[], tuple[list[np.ndarray], ...]], *, device: int | None, threads: int, prefetch: int):
        """The built DALI pipeline.

        Args:
            source: called for each batch; lists of arrays in the order of PageFields.names; StopIteration ends the epoch.
            device: GPU ordinal, or None for a CPU.
            threads: decoding threads. prefetch: batches made ahead.

        Outputs: page (B, 1, size, size) float32 on the device, row (B,) int64 on the CPU.
        """
        from nvidia.dali import fn, pipeline_def, types
        from nvidia.dali import math as dali_math

        size = self.size

        def linear(x, factor, shift):
            """factor * x + shift: a tenth of the time that `x * factor + shift` takes on a CPU."""
            return fn.brightness_contrast(x, brightness=factor, brightness_shift=shift, dtype=types.FLOAT)

        def clipped(x):
            """Within 0..1; half the time of `clamp`."""
            return dali_math.max(dali_math.min(x, 1.0), 0.0)

        @pipeline_def(
            batch_size=self.batch, num_threads=threads, device_id=device, prefetch_queue_depth=prefetch, exec_dynamic=True
        )
        def graph():
            # no_copy: the loader keeps each batch's arrays alive until DALI is done with them
            encoded, scale, shift, turn, factor, offset, noise, row = fn.external_source(
                source=source, num_outputs=INPUTS, batch=True, no_copy=True
            )
            pixels = fn.decoders.image(
                encoded, device="cpu" if device is None else "mixed", output_type=types.GRAY, dtype=types.UINT16
            )
            # in 16 bits to the end of all geometry: on a CPU half the time of floating point
            if self.stretch:
                pixels = fn.resize(
                    pixels, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=True, dtype=types.UINT16
                )
            if self.augment:
                pixels = fn.experimental.warp_perspective(pixels, matrix=turn, border_mode="reflect", pixel_origin="corner")
            page = clipped(linear(fn.cast(pixels, dtype=types.FLOAT), scale, shift))
            if self.augment:
                page = clipped(linear(page, factor, offset) + (noise if device is None else noise.gpu()))
            page = linear(page, 1 / self.std, -self.mean / self.std)
            return fn.transpose(page, perm=[2, 0, 1]), row

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The external source node")  # outputs that a graph leaves out
            pipeline = graph()
            pipeline.build()
        return pipeline
