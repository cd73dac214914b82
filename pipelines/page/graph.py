"""The page graph: microscope pages of 8 or 16 bits -> grey 0..1 on the device, at full depth until the last pass.

By DALI on a GPU (`mixed` decode) or a CPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tarpon.pipelines.graph_shell import Graph


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

    outputs: ClassVar[tuple[str, ...]] = ("page", "row")

    def noise_inputs(self, *, gpu: bool) -> tuple[str, ...]:
        return ("noise",) if self.augment else ()

    def plain(self) -> "PageGraph":
        return replace(self, augment=False)

    def steps(self, inputs: Mapping[str, Any], *, gpu: bool) -> tuple:
        """page (B, channels, size, size) float32 on the device, row (B,) int64 on the CPU."""
        from nvidia.dali import fn, types
        from nvidia.dali import math as dali_math

        def linear(x, factor, shift):
            """factor * x + shift: a tenth of the time that `x * factor + shift` takes on a CPU."""
            return fn.brightness_contrast(x, brightness=factor, brightness_shift=shift, dtype=types.FLOAT)

        def clip(x):
            """Within 0..1; half the time of `clamp`."""
            return dali_math.max(dali_math.min(x, 1.0), 0.0)

        def finish(pixels, given):
            """One channel's stored levels (size, size, 1) -> (1, size, size)."""
            if self.augment:
                pixels = fn.experimental.warp_perspective(
                    pixels, matrix=inputs["matrix"], border_mode="reflect", pixel_origin="corner"
                )
            # casts and scales to 0..1 in one pass
            page = clip(
                fn.crop_mirror_normalize(
                    pixels, mean=given["black"], std=given["range"], output_layout="HWC", dtype=types.FLOAT
                )
            )
            if self.augment:
                page = clip(linear(page, given["factor"], given["offset"]) + given["noise"])
            page = linear(page, 1 / self.std, -self.mean / self.std)
            return fn.reshape(page, src_dims=[2, 0, 1], layout="CHW")  # of one channel, so that nothing moves

        # in 16 bits to the end of all geometry: on a CPU half the time of floating point
        if gpu:
            pixels = self._decode(inputs["page"], "mixed")
        elif inputs["ready"]:
            pixels = fn.reinterpret(inputs["pixels"], layout="HWC")
        else:
            pixels = self._decode(inputs["page"], "cpu")
        if self.channels == 1:
            return finish(pixels, inputs), inputs["row"]
        made = []
        for channel in range(self.channels):
            given = {name: inputs[name][channel] for name in ("black", "range", "factor", "offset")}
            given["noise"] = inputs["noise"][:, :, channel : channel + 1] if self.augment else None
            made.append(finish(fn.slice(pixels, start=self.size * channel, shape=self.size, axes=[0]), given))
        return fn.cat(*made, axis=0), inputs["row"]

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
