"""Which VideoMAE encodes frames by clips, and the source of its weights: light to import, for options and command lines."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tarpon.models.backbones.video import VideoEncoder

CHOICES = (
    "choose one: `pretrained: true` with a network or a filled Hugging Face cache, `weights: FOLDER` for a local folder "
    "of config.json and model.safetensors (or that file itself), or `pretrained: false` for random weights"
)


@dataclass(frozen=True, kw_only=True)
class VideoBackbone:
    """A VideoMAE, the source of its weights, and the overlap of its clips."""

    name: str = "MCG-NJU/videomae-base-finetuned-kinetics"  # name on the hub; without weights its size word alone counts
    pretrained: bool = True  # weights from the hub or its cache; local `weights` come first
    weights: str | None = None  # local folder of save_pretrained, or a .safetensors file beside its config.json
    image_size: int = 224  # pixels, square; a pretrained model has one size only
    stride: int = 8  # frames between the starts of clips; an odd one also pairs frames into tubelets both ways
    clips_per_pass: int | None = None  # clips through the model at once, for less memory; null: all
    overrides: dict[str, bool | int | float | str] | None = None  # values of VideoMAEConfig, with pretrained=false only

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size={self.image_size} must be at least 1 pixel")
        if self.stride < 1:
            raise ValueError(f"stride={self.stride} must be at least 1 frame")
        if self.clips_per_pass is not None and self.clips_per_pass < 1:
            raise ValueError(f"clips_per_pass={self.clips_per_pass} must be at least 1, or null for no limit")
        if self.weights is not None and not self.pretrained:
            raise ValueError(f"weights={self.weights} with pretrained=false contradict each other; {CHOICES}")
        if self.overrides and self.pretrained:
            raise ValueError("overrides shape a model of random weights; set pretrained=false, or leave them out")

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per-channel (mean, std) of RGB in [0, 1]: ImageNet's, with which every published VideoMAE was trained."""
        from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    def build(self) -> "VideoEncoder":
        """The encoder, float32, on the CPU, in training mode, not frozen."""
        from tarpon.models.backbones.video import VideoEncoder
        from tarpon.models.backbones.video_weights import build_pretrained, build_random

        net = build_pretrained(self) if self.pretrained else build_random(self)
        return VideoEncoder(net.train(), stride=self.stride, clips_per_pass=self.clips_per_pass)

    def without_weights(self) -> "VideoBackbone":
        """A copy with random weights, into which trained ones can be loaded without any other file or network access.

        Call it where this backbone can be built: the architecture is read from the config.json of its weights.
        """
        if not self.pretrained:
            return self
        from tarpon.models.backbones.video_weights import list_overrides, load_config

        config, allowed = load_config(self), list_overrides()
        overrides = {name: value for name, value in config.to_dict().items() if name in allowed}
        return replace(self, pretrained=False, weights=None, overrides=overrides)
