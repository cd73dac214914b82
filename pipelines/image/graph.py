"""The image graph: encoded images -> normalised crops on the device, by DALI on a GPU (`mixed` decode) or a CPU.

Pixels stay uint8 until the last pass, which crops, mirrors, normalises and transposes at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tarpon.pipelines.graph_shell import Graph


@dataclass(frozen=True, kw_only=True)
class ImageGraph(Graph):
    """Decoding, resize and centre crop of images.

    Sizes and positions are rounded as in torchvision (Resize, then CenterCrop), so that features agree with published ones;
    DALI's own rounding is up to a pixel off. Images are turned upright by their EXIF orientation.
    """

    batch: int  # images
    size: int = 224  # pixels, both sides of the crop in the middle
    resize: int = 256  # pixels, shorter side before the crop; bicubic, antialiased

    outputs: ClassVar[tuple[str, ...]] = ("image", "row")

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise ValueError(
                f"image_size={self.size} must be at least 1 and at most resize={self.resize}: the crop lies inside the image"
            )

    def steps(self, inputs: Mapping[str, Any], *, gpu: bool) -> tuple:
        """image (B, 3, size, size) float32 on the device, row (B,) int64 on the CPU."""
        from nvidia.dali import fn, types
        from nvidia.dali import math as dali_math

        encoded = inputs["image"]
        sides = fn.peek_image_shape(encoded, dtype=types.INT32)[:2]
        sides = sides * self.resize // fn.reductions.min(sides)
        spare = sides - self.size
        half = spare // 2
        # a half is rounded to the even number, as Python's round() does
        first = half + (spare - 2 * half) * (half - half // 2 * 2)
        place = first / dali_math.max(spare, 1)
        # the GPU decoder is asked for the CPU decoder's chroma upsampling, so that both see the same picture
        decoder = "mixed" if gpu else "cpu"
        pixels = fn.decoders.image(encoded, device=decoder, output_type=types.RGB, jpeg_fancy_upsampling=True)
        pixels = fn.resize(pixels, size=fn.cast(sides, dtype=types.FLOAT), interp_type=types.INTERP_CUBIC, antialias=True)
        image = fn.crop_mirror_normalize(
            pixels,
            crop=(self.size, self.size),
            crop_pos_y=place[0],
            crop_pos_x=place[1],
            mean=inputs["mean"],
            std=inputs["std"],
            mirror=inputs["mirror"],
            output_layout="CHW",
            dtype=types.FLOAT,
        )
        return image, inputs["row"]
