"""Encoded images -> normalised crops on the device: one DALI graph, on a GPU (`mixed` decode) or a CPU.

Pixels stay uint8 until the last pass, which crops, mirrors, normalises and turns the layout in one go.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

INPUTS = 5  # arrays a sample, as ImageFields names them
OUTPUTS = ("image", "row")


@dataclass(frozen=True, kw_only=True)
class ImageGraph:
    """The graph: what it makes of a feed.

    Sides and places are whole numbers as torchvision counts them (Resize, then CenterCrop), so that features agree with
    published ones; DALI's own rounding is up to a pixel off. Images are turned upright by their EXIF orientation.
    """

    batch: int  # images
    size: int = 224  # pixels, both sides of the crop in the middle
    resize: int = 256  # pixels, shorter side before the crop; bicubic, antialiased

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise ValueError(
                f"image_size={self.size} must be at least 1 and at most resize={self.resize}: the crop lies inside the image"
            )

    def build(self, source: Callable[[], tuple[list[np.ndarray], ...]], *, device: int | None, threads: int, prefetch: int):
        """The built DALI pipeline.

        Args:
            source: called for each batch; lists of arrays in the order of ImageFields.names; StopIteration ends the epoch.
            device: GPU ordinal, or None for a CPU.
            threads: decoding threads. prefetch: batches made ahead.

        Outputs: image (B, 3, size, size) float32 on the device, row (B,) int64 on the CPU.
        """
        from nvidia.dali import fn, pipeline_def, types
        from nvidia.dali import math as dali_math

        @pipeline_def(
            batch_size=self.batch,
            num_threads=threads,
            device_id=device,
            prefetch_queue_depth=prefetch,
            exec_dynamic=True,
        )
        def graph():
            # no_copy: the loader keeps each batch's arrays alive until DALI is done with them
            encoded, mean, std, mirror, row = fn.external_source(source=source, num_outputs=INPUTS, batch=True, no_copy=True)
            sides = fn.peek_image_shape(encoded, dtype=types.INT32)[:2]
            sides = sides * self.resize // fn.reductions.min(sides)
            spare = sides - self.size
            half = spare // 2
            # a half is rounded to the even number, as Python's round() does
            first = half + (spare - 2 * half) * (half - half // 2 * 2)
            place = first / dali_math.max(spare, 1)
            # the GPU decoder is asked for the CPU decoder's chroma upsampling, so that both see the same picture
            pixels = fn.decoders.image(
                encoded,
                device="cpu" if device is None else "mixed",
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,
            )
            pixels = fn.resize(pixels, size=fn.cast(sides, dtype=types.FLOAT), interp_type=types.INTERP_CUBIC, antialias=True)
            image = fn.crop_mirror_normalize(
                pixels,
                crop=(self.size, self.size),
                crop_pos_y=place[0],
                crop_pos_x=place[1],
                mean=mean,
                std=std,
                mirror=mirror,
                output_layout="CHW",
                dtype=types.FLOAT,
            )
            return image, row

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The external source node")  # outputs that a graph leaves out
            pipeline = graph()
            pipeline.build()
        return pipeline
