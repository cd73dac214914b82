"""VideoMAE (Tong et al., NeurIPS 2022) as an encoder of frames: overlapping clips, averaged to one vector a frame.

B windows, T frames of a window, C clips of a window, L frames of a clip, S = L / tubelet token steps of a clip, D channels,
h x w cells of a frame, R = B*C clips of all windows.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from tarpon.models.backbones.frames import encode_in_passes, first_line
from tarpon.models.backbones.freezing import FreezableEncoder

if TYPE_CHECKING:
    from transformers import VideoMAEConfig

CHOICES = (
    "choose one: `pretrained: true` with a network or a filled Hugging Face cache, `weights: FOLDER` for a local folder "
    "of config.json and model.safetensors (or that file itself), or `pretrained: false` for random weights"
)
SIZES = {  # as published, for random weights; what is not said is VideoMAEConfig's own default
    "small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "huge": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120},
}


@dataclass(frozen=True, kw_only=True)
class VideoBackbone:
    """A VideoMAE, the source of its weights, and the overlap of its clips."""

    name: str = "MCG-NJU/videomae-base-finetuned-kinetics"  # of the hub; without weights its size word alone counts
    pretrained: bool = True  # weights from the hub or its cache; local `weights` come first
    weights: str | None = None  # local folder of save_pretrained, or a .safetensors file beside its config.json
    image_size: int = 224  # pixels, square; a pretrained model has one size only
    stride: int = 8  # frames between the starts of clips; an odd one also pairs frames into tubelets both ways
    clips_per_pass: int | None = None  # clips through the model at once; None: all
    overrides: dict[str, bool | int | float | str] | None = None  # of VideoMAEConfig, with pretrained=false only

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
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    def build(self) -> "VideoEncoder":
        """The encoder, float32, on the CPU, in training mode, not frozen."""
        net = self._build_pretrained() if self.pretrained else self._build_random()
        return VideoEncoder(net.train(), stride=self.stride, clips_per_pass=self.clips_per_pass)

    def without_weights(self) -> "VideoBackbone":
        """A copy with random weights, into which trained ones can be loaded without any other file or network access.

        Call it where this backbone can be built: the architecture is read from the config.json of its weights.
        """
        if not self.pretrained:
            return self
        config, allowed = self._load_config(), self._list_overrides()
        overrides = {name: value for name, value in config.to_dict().items() if name in allowed}
        return replace(self, pretrained=False, weights=None, overrides=overrides)

    def _build_random(self) -> nn.Module:
        from transformers import VideoMAEConfig, VideoMAEModel  # here: 1.5 s that a command without VideoMAE need not wait

        given, size, allowed = self.overrides or {}, re.search(r"videomae-([a-z]+)", self.name), self._list_overrides()
        if unknown := sorted(set(given) - set(allowed)):
            raise ValueError(f"overrides has unknown {', '.join(unknown)}; allowed are {', '.join(allowed)}")
        known = SIZES.get(size[1]) if size else None
        if known is None and "hidden_size" not in given:
            raise ValueError(
                f"name={self.name} says no size, and pretrained=false needs one: videomae-SIZE with SIZE of {', '.join(SIZES)}"
            )
        try:
            config = VideoMAEConfig(**{**(known or {}), **given, "image_size": self.image_size})
        except StrictDataclassError as error:
            raise ValueError(f"overrides={given}: {' '.join(str(error).split())}") from error
        self._check(config)
        return VideoMAEModel(config)

    def _list_overrides(self) -> list[str]:
        """Names that `overrides` may hold: all that VideoMAEConfig adds to a configuration, less what is set elsewhere."""
        from transformers import VideoMAEConfig

        own = set(VideoMAEConfig.__annotations__) - {"model_type", "image_size", "num_channels"}
        return sorted(name for name in own if not name.startswith(("decoder_", "norm_pix")))  # no decoder here

    def _load_config(self) -> "VideoMAEConfig":
        """The configuration that comes with the weights, checked."""
        from transformers import VideoMAEConfig

        source, _ = self._find_weights()
        try:
            found, _ = VideoMAEConfig.get_config_dict(source, local_files_only=self.weights is not None)
            if found.get("model_type") != "videomae":
                raise ValueError(f"{source} is a model of type {found.get('model_type')!r}, not videomae; {CHOICES}")
            config = VideoMAEConfig.from_dict(found)
        except (OSError, StrictDataclassError) as error:
            raise ValueError(f"weights of {source} cannot be had ({first_line(error)}); {CHOICES}") from error
        self._check(config)
        return config

    def _build_pretrained(self) -> nn.Module:
        from transformers import VideoMAEModel

        (source, file), config = self._find_weights(), self._load_config()
        try:
            net, report = VideoMAEModel.from_pretrained(
                source if file is None else None,
                config=config,
                state_dict=None if file is None else load_file(file),
                dtype=torch.float32,  # not the file's own, which may be half precision
                output_loading_info=True,
                local_files_only=self.weights is not None,
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"weights of {file or source} cannot be had ({first_line(error)}); {CHOICES}") from error
        # transformers fills what it does not find with random numbers and a warning. Published files call two biases of a
        # layer q_bias and v_bias: the first releases of transformers 5 do not know these names.
        if missing := sorted(report["missing_keys"]):
            raise ValueError(
                f"weights of {self.weights or self.name} lack {len(missing)} of the {len(net.state_dict())} tensors "
                f"({', '.join(missing[:3])}, ...); give a whole VideoMAE; if all are query or value biases, update transformers"
            )
        return net

    def _find_weights(self) -> tuple[str, Path | None]:
        """(hub name or folder of config.json, file of weights or None for its own)."""
        if self.weights is None:
            return self.name, None
        path = Path(self.weights)
        file = path if path.suffix == ".safetensors" else None
        folder = path.parent if file else path
        if not (folder / "config.json").is_file() or not (file is None or file.is_file()):
            raise ValueError(
                f"weights={path} is neither a folder with a config.json nor a .safetensors file beside one; {CHOICES}"
            )
        return str(folder), file

    def _check(self, config: "VideoMAEConfig") -> None:
        """The image and the clips fit the model."""
        image, patch = _read_side(config.image_size), _read_side(config.patch_size)
        if image != self.image_size:
            raise ValueError(
                f"image_size={self.image_size}, but {self.weights or self.name} takes {image} only; set it to that"
            )
        if image % patch:
            below = image // patch * patch
            fits = f"{below or patch} or {below + patch}"
            raise ValueError(f"image_size={image} is not a multiple of the patch of {patch} pixels; use {fits}")
        if config.num_channels != 3 or config.num_frames % config.tubelet_size:
            raise ValueError(
                f"VideoMAE must take 3 channels and whole tubelets, got num_channels={config.num_channels}, "
                f"num_frames={config.num_frames}, tubelet_size={config.tubelet_size}; choose another model"
            )
        if self.stride >= config.num_frames:
            raise ValueError(f"stride={self.stride} must be below the {config.num_frames} frames of a clip: clips overlap")


class VideoEncoder(FreezableEncoder):
    """A VideoMAE as an encoder of frames, with the interface of a `FrameEncoder`.

    Clips of L frames start at every `stride`-th frame of the window, the last ones reaching past its end, where its last
    frame is repeated. So a window that was padded on the right with its last frame answers as the window alone does, and
    a chunk of a video that starts at a multiple of `phase` answers as the whole video does from its frame
    L - `stride` on (from the first where the video begins there) and up to `reach` frames before its end.

    Attributes:
        dim, grid_dim: channels of the pooled vector and of the feature map: the model's width.
        grid_size: (h, w) of the feature map.
        reach: frames on either side that a frame's output depends on, L - 1.
        phase: `stride`.
    """

    def __init__(self, net: nn.Module, *, stride: int, clips_per_pass: int | None = None) -> None:
        super().__init__(net)
        config = net.config
        self.only_size = _read_side(config.image_size)
        self.length, self.tubelet = config.num_frames, config.tubelet_size
        self.stride, self.clips_per_pass = stride, clips_per_pass
        self.reach, self.phase = self.length - 1, stride
        self.dim = self.grid_dim = config.hidden_size
        cells = self.only_size // _read_side(config.patch_size)
        self.grid_size = (cells, cells)
        # transformers keeps the fixed table as a plain tensor, which it would copy from the host in every pass.
        table = net.embeddings.__dict__.pop("position_embeddings", None)
        if table is not None:
            net.embeddings.register_buffer("position_embeddings", table, persistent=False)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every frame in the context of its neighbours.

        Args:
            clip: (B, T, 3, H, W) float, already normalised; any T; cast to the dtype of the parameters.

        Returns:
            pooled (B, T, D), the mean over the cells, and grid (B, T, h, w, D); without gradient while frozen.
            With `clips_per_pass`, a pass is computed again in the backward, which bounds memory at the cost of
            one more forward.
        """
        if clip.ndim != 5 or clip.shape[1] < 1 or tuple(clip.shape[2:]) != (3, self.only_size, self.only_size):
            raise ValueError(
                f"clip must be (B, T, 3, H, W) with T > 0 and H = W = {self.only_size}, got {tuple(clip.shape)}; "
                f"set image_size of the backbone and of the pipeline to the same number"
            )
        windows, frames = clip.shape[:2]
        rows = clip.flatten(0, 1).to(next(self.net.parameters()).dtype)
        starts = clip_starts(frames, stride=self.stride, device=clip.device)
        inside = (starts[:, None] + torch.arange(self.length, device=clip.device)).clamp(max=frames - 1)  # (C, L)
        index = inside + frames * torch.arange(windows, device=clip.device)[:, None, None]
        with self.with_gradient():
            # Clips are gathered a pass at a time, from their indices: all of them are 16 / stride times the window.
            (tokens,) = encode_in_passes(lambda of: self._encode(rows[of]), index.flatten(0, 1), size=self.clips_per_pass)
            weight = weight_frames(frames, starts, length=self.length, tubelet=self.tubelet).to(tokens.dtype)
            tokens = tokens.view(windows, -1, tokens[0, 0].numel())  # (B, C * S, h * w * D)
            grid = (weight.flatten(1) @ tokens).view(windows, frames, *self.grid_size, self.dim)
            return grid.mean((2, 3)), grid

    def no_weight_decay(self) -> set[str]:
        """Empty: the position embeddings are a fixed table, and there is no class token."""
        return set()

    def _encode(self, clips: Tensor) -> tuple[Tensor]:
        """(R, L, 3, H, W) -> (R, S, h * w * D) of tokens."""
        tokens = self.net(clips).last_hidden_state  # row by row of tubelets, then of cells
        return (tokens.reshape(clips.shape[0], self.length // self.tubelet, -1),)


def clip_starts(frames: int, *, stride: int, device: torch.device | None = None) -> Tensor:
    """First frames (C,) of the clips of a window: every `stride`-th frame, to its end.

    Not only until the window is covered: a longer window would then have more clips over the same frames.
    """
    return torch.arange(0, frames, stride, device=device)


def weight_frames(frames: int, starts: Tensor, *, length: int, tubelet: int) -> Tensor:
    """Weight of each token step of each clip in each frame.

    A token step stands for the middle of its `tubelet` frames. Within a clip a frame is interpolated linearly between the two
    nearest steps: repeating a step would give all frames of a tubelet the same vector. Clips over the same frame are averaged
    with triangular weights that peak in the middle of the clip, where a frame has most of its past and future.

    Returns:
        (T, C, S) float32 on the device of `starts`, at least 0, sum 1 in every frame, 0 where the clip does not hold the frame.
    """
    of = {"device": starts.device}
    place = torch.arange(length, **of)
    row = torch.arange(length // tubelet, **of)
    at = ((place - (tubelet - 1) / 2) / tubelet).clamp(0, len(row) - 1)  # in rows; the ends have a row on one side only
    line = (1 - (at[:, None] - row).abs()).clamp(min=0)  # (L, S)
    triangle = torch.minimum(place + 1, length - place)
    offset = torch.arange(frames, **of)[:, None] - starts  # (T, C): place of the frame in the clip
    held = (offset >= 0) & (offset < length)
    offset = offset.clamp(0, length - 1)
    weight = line[offset] * (triangle[offset] * held)[..., None]
    return weight / weight.sum((1, 2), keepdim=True)


def _read_side(size: int | tuple[int, int] | list[int]) -> int:
    """Pixels along a square's side."""
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise ValueError(f"image and patch of the VideoMAE must be square, got {tuple(size)}; choose another model")
    return size[0]
