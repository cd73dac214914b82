"""Checks of timm model names and weight files before anything is built, and loading of weights."""

import sys
from difflib import get_close_matches
from pathlib import Path

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import adapt_input_conv, get_pretrained_cfg, list_models, load_checkpoint, parse_model_name
from torch import nn

from tarpon.models.backbones.frame_backbone import CHOICES
from tarpon.models.backbones.hub import asking_hub

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def first_line(error: Exception) -> str:
    """The first line of a library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def has_source(name: str) -> bool:
    """Whether a name says where its configuration lies (`hf_hub:OWNER/NAME`, `local-dir:FOLDER`)."""
    return ":" in name


def check_name(name: str) -> None:
    """ValueError unless the name is one of timm's, with a tag that exists, or has a source that timm knows."""
    if has_source(name):
        parse_model_name(name)
        return
    architecture, _, tag = name.partition(".")
    known = list_models()
    if architecture not in known:
        close = get_close_matches(architecture, known, n=4) or ["resnet18", "vit_small_patch14_dinov2.lvd142m"]
        raise ValueError(f"unknown backbone {name!r}; timm has names like {', '.join(close)}")
    tagged = list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in tagged:
        raise ValueError(f"backbone {architecture} has no weights tagged {tag!r}; timm has {', '.join(tagged) or 'none'}")


def check_file(path: str) -> None:
    """ValueError unless the path is a file with one of WEIGHT_SUFFIXES."""
    if Path(path).suffix not in WEIGHT_SUFFIXES:
        raise ValueError(f"weights={path} must end in {', '.join(WEIGHT_SUFFIXES)}")
    if not Path(path).is_file():
        raise ValueError(f"weights={path} is not a file; {CHOICES}")


def find_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel (mean, std) of RGB in [0, 1] that the weights were trained with; ImageNet's where timm knows none."""
    check_name(name)
    known = _load_description(name) if has_source(name) else get_pretrained_cfg(name)
    known = {} if known is None else vars(known) if not isinstance(known, dict) else known
    return tuple(known.get("mean") or IMAGENET_DEFAULT_MEAN), tuple(known.get("std") or IMAGENET_DEFAULT_STD)


def load_weights(net: nn.Module, path: str, *, channels: int = 3) -> None:
    """Load all weights from a local file; ValueError for a file that does not fit or holds only part of them.

    channels: that the net takes; a file of the same model for red, green and blue is made to fit, as timm does it.
    """
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)  # timm's own, one a model file

    def fit(held: dict, model: nn.Module) -> dict:
        held = convert(held, model) if convert else held
        first = getattr(model, "pretrained_cfg", {}).get("first_conv") or ()
        for name in (first,) if isinstance(first, str) else first:
            weight = held.get(f"{name}.weight")
            if weight is not None and weight.shape[1] != channels:
                held[f"{name}.weight"] = adapt_input_conv(channels, weight)
        return held

    try:
        result = load_checkpoint(net, path, strict=False, filter_fn=convert if channels == 3 else fit)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"weights={path} do not fit {type(net).__name__}: {first_line(error)}") from error
    if result.missing_keys:
        some = ", ".join(result.missing_keys[:3])
        raise ValueError(
            f"weights={path} lack {len(result.missing_keys)} of the {len(net.state_dict())} tensors of "
            f"{type(net).__name__} ({some}, ...); give a file of the same timm model"
        )


def _load_description(name: str) -> dict:
    """timm's configuration of a model with a source."""
    try:
        with asking_hub():
            return timm.create_model(name, pretrained=False, num_classes=0).pretrained_cfg
    except (OSError, RuntimeError) as error:
        raise make_unavailable_error(name, error) from error


def make_unavailable_error(name: str, error: Exception) -> ValueError:
    """The error for weights that are neither stored here nor reachable."""
    without = "; without its config, name the architecture itself beside `weights`" if has_source(name) else ""
    return ValueError(f"weights of {name} cannot be had ({first_line(error)}); {CHOICES}{without}")
