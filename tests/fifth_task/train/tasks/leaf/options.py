"""What can be set for the leaf task."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LeafOptions:
    """Everything of the leaf task beside the run."""

    image_size: int = 64  # pixels, side of the crop in the middle
    width: int = 16  # channels of the first layer
    flip: bool = True  # every other training picture mirrored

    def __post_init__(self) -> None:
        if min(self.image_size, self.width) < 8:
            raise ValueError(f"image_size={self.image_size} and width={self.width} must be at least 8")
