"""Which timm model encodes single frames, and the source of its weights: light to import, for options and command lines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tarpon.models.backbones.frames import FrameEncoder

CHOICES = (
    "choose one: `pretrained: true` with a network or a filled Hugging Face cache, "
    "`weights: FILE` for a local .safetensors or .pt file, or `pretrained: false` for random weights"
)


@dataclass(frozen=True, kw_only=True)
class FrameBackbone:
    """A timm model for single frames, and the source of its weights."""

    # name of a timm model, with or without tag; hf_hub:OWNER/NAME; local-dir:FOLDER
    name: str = "vit_small_patch14_dinov2.lvd142m"
    pretrained: bool = True  # weights from the hub or its cache; a `weights` file comes first
    weights: str | None = None  # local .safetensors or .pt file of this architecture
    image_size: int = 224  # pixels, square, that a picture is shown at
    grid_stride: int | None = None  # pixels a cell of the feature map; null: the model's last map
    frames_per_pass: int | None = None  # frames through the model at once, for less memory; null: all

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size={self.image_size} must be at least 1 pixel")
        if self.grid_stride is not None and self.grid_stride < 1:
            raise ValueError(f"grid_stride={self.grid_stride} must be at least 1 pixel, or null for the model's last map")
        if self.frames_per_pass is not None and self.frames_per_pass < 1:
            raise ValueError(f"frames_per_pass={self.frames_per_pass} must be at least 1, or null for no limit")
        if self.weights is not None and not self.pretrained:
            raise ValueError(f"weights={self.weights} with pretrained=false contradict each other; {CHOICES}")

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per-channel (mean, std) of RGB in [0, 1] that the weights were trained with; ImageNet's where timm knows none."""
        from tarpon.models.backbones.weights import find_normalisation

        return find_normalisation(self.name)

    def build(self, *, channels: int = 3) -> "FrameEncoder":
        """The encoder of pictures of so many channels, on the CPU, in training mode, not frozen."""
        from tarpon.models.backbones.frames import build_encoder

        return build_encoder(self, channels=channels)
