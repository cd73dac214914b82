"""The photograph graph: encoded photographs -> normalised squares on the device, by DALI on a GPU (`mixed` decode) or a CPU.

A photograph is shown whole, its longest side as long as the square, on black (letterbox). In training it is augmented by its
draw: all geometry in one warp, all colour in one matrix, all linear filters in one kernel, other steps only where drawn.
Colour comes before geometry, so that the border is as black as in evaluation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from tarpon.pipelines.graph_shell import Graph
from tarpon.pipelines.noise import NoiseBank


@dataclass(frozen=True, kw_only=True)
class PhotoGraph(Graph):
    """Decoding and augmentation of photographs."""

    batch: int  # photographs
    size: int  # pixels, both sides
    augment: bool = True  # False: draws are ignored

    outputs: ClassVar[tuple[str, ...]] = ("image", "row")
    device_inputs: ClassVar[tuple[str, ...]] = ("kernel", "haze", "water", "keep")

    def noise_inputs(self, *, gpu: bool) -> tuple[str, ...]:
        return ("luma", "chroma") if self.augment else ()

    def plain(self) -> "PhotoGraph":
        return replace(self, augment=False)

    def __post_init__(self) -> None:
        if self.size < 8 or self.batch < 1:
            raise ValueError(f"image_size={self.size} must be 8 or more, and the batch={self.batch} 1 or more")

    def steps(self, inputs: Mapping[str, Any], *, gpu: bool) -> tuple:
        """image (B, 3, size, size) float32 on the device, of a CPU (B, size, size, 3); row (B,) int64 on the CPU."""
        from tarpon.pipelines.photo import steps

        image, decoder, layout = steps.vary if self.augment else steps.show, "mixed" if gpu else "cpu", "CHW" if gpu else "HWC"
        return image(inputs, size=self.size, decoder=decoder, layout=layout), inputs["row"]

    def finish(self, made: dict[str, Tensor], banks: Mapping[str, NoiseBank], *, gpu: bool) -> dict[str, Tensor]:
        # on a CPU a convolutional network takes half as long again of channels that do not lie last
        return made if gpu else made | {"image": made["image"].permute(0, 3, 1, 2)}
