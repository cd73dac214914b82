"""Microscope pages of 8 or 16 bits -> crops of 0..1 grey on the device, at full depth until the last pass.

One DALI graph, on a GPU (`mixed` decode) or a CPU.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

INPUTS = 10  # arrays a sample, as PageFields names them
OUTPUTS = ("page", "row")
MARGIN = 0.125  # of the side mirrored onto each border before a turn: a turn of 15 degrees looks 0.112 beyond


@dataclass(frozen=True, kw_only=True)
class PageGraph:
    """The graph: what it makes of a feed."""

    size: int  # pixels, both sides; the page is stretched to it
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

        size, margin = self.size, round(MARGIN * self.size)

        def padded(x, axis: int):
            """Mirrored by `margin` at both ends of an axis."""
            mirrored = fn.flip(x, horizontal=int(axis == 1), vertical=int(axis == 0))
            first = fn.slice(mirrored, size - margin, margin, axes=[axis], normalized_anchor=False, normalized_shape=False)
            last = fn.slice(mirrored, 0, margin, axes=[axis], normalized_anchor=False, normalized_shape=False)
            return fn.cat(first, x, last, axis=axis)

        @pipeline_def(
            batch_size=self.batch, num_threads=threads, device_id=device, prefetch_queue_depth=prefetch, exec_dynamic=True
        )
        def graph():
            # no_copy: the loader keeps each batch's arrays alive until DALI is done with them
            encoded, low, scale, flip_x, flip_y, angle, brightness, contrast, noise, row = fn.external_source(
                source=source, num_outputs=INPUTS, batch=True, no_copy=True
            )
            pixels = fn.decoders.image(
                encoded, device="cpu" if device is None else "mixed", output_type=types.GRAY, dtype=types.UINT16
            )
            pixels = fn.resize(pixels, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=True, dtype=types.FLOAT)
            page = dali_math.clamp((pixels - low) * scale, 0.0, 1.0)
            if self.augment:
                page = fn.flip(page, horizontal=flip_x, vertical=flip_y)
                page = fn.rotate(padded(padded(page, 0), 1), angle=angle, keep_size=True, fill_value=0)
                page = fn.crop(page, crop=(size, size))
                if device is not None:
                    noise = noise.gpu()
                page = (page - 0.5) * contrast + 0.5
                page = dali_math.clamp(page * brightness + fn.cast(noise, dtype=types.FLOAT), 0.0, 1.0)
            page = (page - self.mean) * (1 / self.std)
            return fn.transpose(page, perm=[2, 0, 1]), row

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The external source node")  # outputs that a graph leaves out
            pipeline = graph()
            pipeline.build()
        return pipeline
