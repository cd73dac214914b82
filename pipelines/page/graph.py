"""The page graph: microscope pages of 8 or 16 bits -> grey 0..1 on the device, at full depth until the last pass.

By DALI on a GPU (`mixed` decode) or a CPU, where the last pass is torch's (pixels.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tarpon.pipelines.graph_shell import Graph
from tarpon.pipelines.last_pass import Memory
from tarpon.pipelines.noise import NoiseBank
from tarpon.pipelines.page.pixels import Light, finish_pages

LEVELS, LIGHT = ("black", "range"), ("factor", "offset", "noise_first")  # what the last pass needs to know


@dataclass(frozen=True, kw_only=True)
class PageGraph(Graph):
    """Decoding, scaling and augmentation of pages."""

    size: int  # pixels, both sides
    channels: int = 1  # of a page, which are stored one below the other
    resize: bool = True  # False where every page has that size as stored: DALI would filter it all the same
    batch: int  # pages
    mean: float = 0.5  # of 0..1, subtracted
    std: float = 0.25  # then divided by
    augment: bool = True  # False leaves flips, turn, brightness, contrast and noise out
    colours: int = 1  # how many times a page of one channel is delivered, as another channel each
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)  # of batches that are finished on the host

    outputs: ClassVar[tuple[str, ...]] = ("page", "row")

    def noise_inputs(self, *, gpu: bool) -> tuple[str, ...]:
        return ("noise",) if self.augment and gpu else ()

    def plain(self) -> "PageGraph":
        return replace(self, augment=False)

    def made(self, *, gpu: bool) -> tuple[str, ...]:
        return self.outputs if gpu else (*self.outputs, *LEVELS, *(LIGHT if self.augment else ()))

    def steps(self, inputs: Mapping[str, Any], *, gpu: bool) -> tuple:
        """page (B, channels, size, size) float32 on the device, row (B,) int64 on the CPU.

        On a CPU the page is uint16, and what the last pass needs comes after the row.
        """
        from nvidia.dali import fn

        # in 16 bits to the end of all geometry: on a CPU half the time of floating point
        if gpu:
            pixels = self._decode(inputs["page"], "mixed")
        elif inputs["ready"]:
            pixels = fn.reinterpret(inputs["pixels"], layout="HWC")
        else:
            pixels = self._decode(inputs["page"], "cpu")
        made = []
        for channel in range(self.channels):
            plane = pixels
            if self.channels > 1:
                plane = fn.slice(pixels, start=self.size * channel, shape=self.size, axes=[0])
            if self.augment:
                plane = fn.experimental.warp_perspective(
                    plane, matrix=inputs["matrix"], border_mode="reflect", pixel_origin="corner"
                )
            plane = self.finish_plane(plane, inputs, channel) if gpu else plane
            made.append(fn.reshape(plane, src_dims=[2, 0, 1], layout="CHW"))  # of one channel, so that nothing moves
        page = made[0] if self.channels == 1 else fn.cat(*made, axis=0)
        return page, *(inputs[name] for name in self.made(gpu=gpu)[1:])

    def finish(self, made: dict[str, Tensor], banks: Mapping[str, NoiseBank], *, gpu: bool) -> dict[str, Tensor]:
        page, row = made["page"], made["row"]
        if gpu:
            return {"page": page.expand(-1, self.colours, -1, -1) if self.channels == 1 else page, "row": row}
        told = {name: made[name].view(-1, self.channels) for name in (*LEVELS, *LIGHT[:2]) if name in made}
        light = None
        if self.augment:
            noise = torch.from_numpy(banks["noise"].values)
            light = Light(factor=told["factor"], offset=told["offset"], noise_first=made["noise_first"], noise=noise)
        page = finish_pages(
            page,
            black=told["black"],
            span=told["range"],
            light=light,
            mean=self.mean,
            std=self.std,
            colours=self.colours,
            memory=self.memory,
        )
        return {"page": page, "row": row}

    def finish_plane(self, pixels: Any, inputs: Mapping[str, Any], channel: int) -> Any:
        """What `finish_pages` makes of one channel, by DALI: stored levels (size, size, 1) -> float32."""
        from nvidia.dali import fn, types
        from nvidia.dali import math as dali_math

        def linear(x, factor, shift):
            """factor * x + shift in one pass."""
            return fn.brightness_contrast(x, brightness=factor, brightness_shift=shift, dtype=types.FLOAT)

        def clip(x):
            return dali_math.max(dali_math.min(x, 1.0), 0.0)

        given = {name: inputs[name] if self.channels == 1 else inputs[name][channel] for name in (*LEVELS, *LIGHT[:2])}
        # casts and scales to 0..1 in one pass
        page = fn.crop_mirror_normalize(pixels, mean=given["black"], std=given["range"], output_layout="HWC", dtype=types.FLOAT)
        page = clip(page)
        if self.augment:
            noise = inputs["noise"] if self.channels == 1 else inputs["noise"][:, :, channel : channel + 1]
            page = clip(linear(page, given["factor"], given["offset"]) + noise)
        return linear(page, 1 / self.std, -self.mean / self.std)

    def _decode(self, encoded: Any, device: str) -> Any:
        """Pages (channels * size, size, 1) uint16 of encoded ones, each channel resized by itself."""
        from nvidia.dali import fn, types

        def resize(plane):
            size = [self.size, self.size]
            return fn.resize(plane, size=size, interp_type=types.INTERP_LINEAR, antialias=True, dtype=types.UINT16)

        pixels = fn.decoders.image(encoded, device=device, output_type=types.GRAY, dtype=types.UINT16)
        if not self.resize:
            return pixels
        if self.channels == 1:
            return resize(pixels)
        height = fn.cast(fn.peek_image_shape(encoded)[0] // self.channels, dtype=types.INT32)
        planes = [resize(fn.slice(pixels, start=height * channel, shape=height, axes=[0])) for channel in range(self.channels)]
        return fn.cat(*planes, axis=0)
