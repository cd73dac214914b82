"""Configurations and weights of VideoMAEs: from the hub, from a folder, or random."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tarpon.models.backbones.frames import first_line
from tarpon.models.backbones.hub import asking_hub
from tarpon.models.backbones.video_backbone import CHOICES, VideoBackbone

if TYPE_CHECKING:
    from transformers import VideoMAEConfig

SIZES = {  # as published, for random weights; what is not said is VideoMAEConfig's own default
    "small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "huge": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120},
}


def build_random(backbone: VideoBackbone) -> nn.Module:
    """A VideoMAE of the size that the name or the overrides say."""
    from transformers import VideoMAEConfig, VideoMAEModel  # here: 1.5 s that a command without VideoMAE need not wait

    given, size, allowed = backbone.overrides or {}, re.search(r"videomae-([a-z]+)", backbone.name), list_overrides()
    if unknown := sorted(set(given) - set(allowed)):
        raise ValueError(f"overrides has unknown {', '.join(unknown)}; allowed are {', '.join(allowed)}")
    known = SIZES.get(size[1]) if size else None
    if known is None and "hidden_size" not in given:
        raise ValueError(
            f"name={backbone.name} says no size, and pretrained=false needs one: videomae-SIZE with SIZE of {', '.join(SIZES)}"
        )
    try:
        config = VideoMAEConfig(**{**(known or {}), **given, "image_size": backbone.image_size})
    except StrictDataclassError as error:
        raise ValueError(f"overrides={given}: {' '.join(str(error).split())}") from error
    _check(backbone, config)
    return VideoMAEModel(config)


def list_overrides() -> list[str]:
    """Names that `overrides` may hold: all that VideoMAEConfig adds to a configuration, less what is set elsewhere."""
    from transformers import VideoMAEConfig

    own = set(VideoMAEConfig.__annotations__) - {"model_type", "image_size", "num_channels"}
    return sorted(name for name in own if not name.startswith(("decoder_", "norm_pix")))  # no decoder here


def load_config(backbone: VideoBackbone) -> "VideoMAEConfig":
    """The configuration that comes with the weights, checked."""
    from transformers import VideoMAEConfig

    source, _ = _find_weights(backbone)
    try:
        with asking_hub() if backbone.weights is None else nullcontext():
            found, _ = VideoMAEConfig.get_config_dict(source, local_files_only=backbone.weights is not None)
        if found.get("model_type") != "videomae":
            raise ValueError(f"{source} is a model of type {found.get('model_type')!r}, not videomae; {CHOICES}")
        config = VideoMAEConfig.from_dict(found)
    except (OSError, StrictDataclassError) as error:
        raise ValueError(f"weights of {source} cannot be had ({first_line(error)}); {CHOICES}") from error
    _check(backbone, config)
    return config


def build_pretrained(backbone: VideoBackbone) -> nn.Module:
    """A VideoMAE with all its weights; ValueError where they cannot be had or are not whole."""
    from transformers import VideoMAEModel

    (source, file), config = _find_weights(backbone), load_config(backbone)
    try:
        with asking_hub() if backbone.weights is None else nullcontext():
            net, report = VideoMAEModel.from_pretrained(
                source if file is None else None,
                config=config,
                state_dict=None if file is None else load_file(file),
                dtype=torch.float32,  # not the file's own, which may be half precision
                output_loading_info=True,
                local_files_only=backbone.weights is not None,
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"weights of {file or source} cannot be had ({first_line(error)}); {CHOICES}") from error
    # transformers fills what it does not find with random numbers and a warning. Published files call two biases of a
    # layer q_bias and v_bias: the first releases of transformers 5 do not know these names.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"weights of {backbone.weights or backbone.name} lack {len(missing)} of the {len(net.state_dict())} tensors "
            f"({', '.join(missing[:3])}, ...); give a whole VideoMAE; if all are query or value biases, update transformers"
        )
    return net


def _find_weights(backbone: VideoBackbone) -> tuple[str, Path | None]:
    """(hub name or folder of config.json, file of weights or None for its own)."""
    if backbone.weights is None:
        return backbone.name, None
    path = Path(backbone.weights)
    file = path if path.suffix == ".safetensors" else None
    folder = path.parent if file else path
    if not (folder / "config.json").is_file() or not (file is None or file.is_file()):
        raise ValueError(f"weights={path} is neither a folder with a config.json nor a .safetensors file beside one; {CHOICES}")
    return str(folder), file


def _check(backbone: VideoBackbone, config: "VideoMAEConfig") -> None:
    """The image and the clips fit the model."""
    image, patch = read_side(config.image_size), read_side(config.patch_size)
    if image != backbone.image_size:
        raise ValueError(
            f"image_size={backbone.image_size}, but {backbone.weights or backbone.name} takes {image} only; set it to that"
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
    if backbone.stride >= config.num_frames:
        raise ValueError(f"stride={backbone.stride} must be below the {config.num_frames} frames of a clip: clips overlap")


def read_side(size: int | tuple[int, int] | list[int]) -> int:
    """Pixels along a square's side."""
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise ValueError(f"image and patch of the VideoMAE must be square, got {tuple(size)}; choose another model")
    return size[0]
