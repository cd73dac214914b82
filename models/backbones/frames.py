"""Image backbones applied frame by frame: one vector and one feature map for every frame of a clip.

B clips, T frames, N = B*T frames of all clips, D channels, h x w cells of the feature map.
"""

from collections.abc import Callable
from contextlib import nullcontext

import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.backbones.freezing import FreezableEncoder
from tarpon.models.backbones.hub import asking_hub
from tarpon.models.backbones.weights import (
    check_file,
    check_name,
    first_line,
    has_source,
    load_weights,
    make_unavailable_error,
)

COLOURS = 3  # channels of a picture that pretrained weights are of


def build_encoder(backbone: FrameBackbone, *, channels: int = 3) -> "FrameEncoder":
    """The encoder that a description asks for, on the CPU, in training mode, not frozen.

    channels: of a picture. With others than 3 timm makes the first layer's trained weights fit: those of red, green and blue
    by turns, scaled so that their sum keeps its size.
    """
    check_name(backbone.name)
    if backbone.weights is not None:
        check_file(backbone.weights)
    net, sized = _create_net(backbone, channels=channels)
    if backbone.weights is not None:
        load_weights(net, backbone.weights, channels=channels)
    return FrameEncoder(
        net,
        channels=channels,
        image_size=backbone.image_size,
        any_size=not sized,
        grid_stride=backbone.grid_stride,
        frames_per_pass=backbone.frames_per_pass,
    )


def _create_net(backbone: FrameBackbone, *, channels: int) -> tuple[nn.Module, bool]:
    """The timm model, and whether it was built for one image size only."""
    name, wanted = backbone.name, {"pretrained": backbone.pretrained and backbone.weights is None, "num_classes": 0}
    wanted |= {"in_chans": channels} if channels != COLOURS else {}
    asks = wanted["pretrained"] or has_source(name)
    try:
        with asking_hub() if asks else nullcontext():
            try:
                return timm.create_model(name, img_size=backbone.image_size, **wanted), True
            except TypeError as error:  # timm has no list of the models that take a size
                if "img_size" not in first_line(error):
                    raise
            return timm.create_model(name, **wanted), False
    except (OSError, RuntimeError) as error:
        if not asks:
            raise
        raise make_unavailable_error(name, error) from error


class FrameEncoder(FreezableEncoder):
    """A timm model as an encoder of frames.

    Attributes:
        channels: of a frame that it takes.
        dim: channels of the pooled vector.
        grid_dim: channels of the feature map.
        grid_size: (h, w) of the feature map at `image_size`.
        reach: frames on either side that a frame's output depends on: 0 here.
        phase: the start of a chunk must be a multiple of it, for the same output as on the whole video: 1 here.
    """

    reach, phase = 0, 1

    def __init__(
        self,
        net: nn.Module,
        *,
        channels: int = COLOURS,
        image_size: int,
        any_size: bool = False,
        grid_stride: int | None = None,
        frames_per_pass: int | None = None,
    ) -> None:
        super().__init__(net)
        self.only_size = None if any_size else image_size
        self.frames_per_pass = frames_per_pass
        self.stage = None if grid_stride is None else _find_stage(net, grid_stride)
        _check_patch(net, image_size)
        self._side, self.channels = image_size, channels
        self._probe(image_size)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every frame independently.

        Args:
            clip: (B, T, channels, H, W) float, already normalised; cast to the dtype of the parameters.

        Returns:
            pooled (B, T, dim) and grid (B, T, h, w, grid_dim); without gradient while frozen.
            With `frames_per_pass`, a pass is computed again in the backward, which bounds memory at the cost of
            one more forward; batch-norm statistics are then those of a pass, not of the batch.
        """
        size = tuple(clip.shape[-2:])
        if clip.ndim != 5 or clip.shape[2] != self.channels or (self.only_size and size != (self.only_size, self.only_size)):
            raise ValueError(
                f"clip must be (B, T, {self.channels}, H, W) with H = W = {self.only_size or 'any'}, got {tuple(clip.shape)}; "
                f"set image_size of the backbone and of the pipeline to the same number"
            )
        frames = clip.flatten(0, 1).to(next(self.net.parameters()).dtype)
        with self.with_gradient():
            pooled, grid = encode_in_passes(self._encode, frames, size=self.frames_per_pass)
        return pooled.unflatten(0, clip.shape[:2]), grid.unflatten(0, clip.shape[:2])

    def extract_maps(self, images: Tensor, *, stages: int = 1) -> tuple[Tensor, ...]:
        """Feature maps at the ends of the last stages. A transformer whose blocks all have one stride counts as four stages.

        Args:
            images: (N, channels, H, W) float, already normalised, of any size that the model takes; H and W may differ.

        Returns:
            `stages` maps (N, channels, h, w), finest first, the last one behind the model's final norm; without gradient
            while frozen. `frames_per_pass` bounds memory as in `forward`.
        """
        size = tuple(images.shape[-2:])
        fits = not self.only_size or size == (self.only_size, self.only_size) or getattr(self.net, "dynamic_img_size", False)
        if images.ndim != 4 or images.shape[1] != self.channels or not fits:
            raise ValueError(
                f"images must be (N, {self.channels}, H, W) with H = W = {self.only_size or 'any'}, got {tuple(images.shape)}; "
                f"set image_size of the backbone and of the pipeline to the same number"
            )
        for side in set(size):
            _check_patch(self.net, side)
        ends = _find_stage_ends(self.net, stages)
        images = images.to(next(self.net.parameters()).dtype)
        with self.with_gradient():
            return encode_in_passes(lambda some: self._extract_maps(some, ends), images, size=self.frames_per_pass)

    def restrict_to_maps(self, *, stages: int) -> list[int]:
        """Take out of training all parameters that `extract_maps` of so many stages does not depend on.

        Returns:
            Channels of the maps.
        """
        mode, parameters = self.net.training, list(self.net.parameters())
        blank = parameters[0].new_zeros(1, self.channels, self._side, self._side)
        self.net.eval()
        with torch.enable_grad():
            made = self._extract_maps(blank, _find_stage_ends(self.net, stages))
        self.net.train(mode)
        slopes = torch.autograd.grad(sum(each.sum() for each in made), parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.requires_grad_(slope is not None)
        return [each.shape[1] for each in made]

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that timm says must not decay (position embeddings, tokens, bias tables)."""
        listed = getattr(self.net, "no_weight_decay", set)()
        return {f"net.{name}" for name in listed}

    def _encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) -> (N, dim), (N, h, w, grid_dim)."""
        if self.stage is None:
            features = self.net.forward_features(frames)
            grid = self.to_grid(features, frames.shape[-2:])
        else:
            features, (middle,) = self.net.forward_intermediates(frames, indices=[self.stage], output_fmt="NCHW")
            grid = middle.permute(0, 2, 3, 1)
        return self.net.forward_head(features, pre_logits=True), grid

    def _extract_maps(self, images: Tensor, ends: list[int]) -> tuple[Tensor, ...]:
        """Images -> an (N, channels, h, w) for each of `ends`, indices of timm's feature maps, and for the last map."""
        if ends:
            features, middles = self.net.forward_intermediates(images, indices=ends, output_fmt="NCHW")
        else:
            features, middles = self.net.forward_features(images), []
        return (*middles, self.to_grid(features, images.shape[-2:]).permute(0, 3, 1, 2))

    def to_grid(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """The model's own layout (NCHW, NHWC or tokens) -> (N, h, w, grid_dim)."""
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise ValueError(f"{type(self.net).__name__} returns no single feature map; choose another timm model")
        if features.ndim == 4:
            return features if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else features.permute(0, 2, 3, 1)
        tokens = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        rows = round((tokens.shape[1] * size[0] / size[1]) ** 0.5)
        if rows == 0 or tokens.shape[1] % rows:
            raise ValueError(
                f"{type(self.net).__name__}: {tokens.shape[1]} tokens do not fill a grid; choose another timm model"
            )
        return tokens.unflatten(1, (rows, -1))

    def _probe(self, image_size: int) -> None:
        """Measure the output widths on one blank frame: timm's `num_features` is not the pooled width of every model."""
        self.net.eval()
        with torch.no_grad():
            pooled, grid = self._encode(torch.zeros(1, self.channels, image_size, image_size))
        self.net.train(self._requested_mode)
        self.dim, self.grid_dim = pooled.shape[-1], grid.shape[-1]
        self.grid_size = (grid.shape[1], grid.shape[2])


def encode_in_passes(encode: Callable[[Tensor], tuple[Tensor, ...]], items: Tensor, *, size: int | None) -> tuple[Tensor, ...]:
    """`encode(items)` by at most `size` rows at a time; with a gradient, each pass is computed again in the backward."""
    if size is None or len(items) <= size:
        return encode(items)
    chunks = items.split(size)
    if torch.is_grad_enabled():
        parts = [checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks]
    else:
        parts = [encode(chunk) for chunk in chunks]
    return tuple(torch.cat(same) for same in zip(*parts, strict=True))


def _check_patch(net: nn.Module, image_size: int) -> None:
    """ValueError unless patches tile the image: timm would silently leave out the right and lower border."""
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) else patch
    if side and image_size % side:
        below = image_size // side * side
        raise ValueError(
            f"image_size={image_size} is not a multiple of the patch of {side} pixels; use {below or side} or {below + side}"
        )


def _find_stage(net: nn.Module, grid_stride: int) -> int | None:
    """Index of the deepest map of at most `grid_stride` pixels a cell; None where that is the model's last map."""
    strides = [info["reduction"] for info in getattr(net, "feature_info", [])]
    if not strides or not hasattr(net, "forward_intermediates"):
        raise ValueError(f"{type(net).__name__} offers only its last feature map; set grid_stride to null")
    if strides[-1] <= grid_stride:
        return None
    fitting = [index for index, stride in enumerate(strides) if stride <= grid_stride]
    if not fitting:
        raise ValueError(
            f"grid_stride={grid_stride} is finer than any map of {type(net).__name__}; it has {sorted(set(strides))}"
        )
    return fitting[-1]


def _find_stage_ends(net: nn.Module, stages: int) -> list[int]:
    """Indices of timm's feature maps at the ends of the last `stages` stages, without the final one."""
    strides = [info["reduction"] for info in getattr(net, "feature_info", [])]
    blocks = len(strides)
    plain = blocks > 1 and len(set(strides)) == 1
    all_ends = sorted({max(round(blocks * quarter / 4), 1) - 1 for quarter in (1, 2, 3, 4)}) if plain else list(range(blocks))
    have = len(all_ends) if hasattr(net, "forward_intermediates") else 1
    if not 1 <= stages <= max(have, 1):
        raise ValueError(f"stages={stages} must be in 1..{max(have, 1)} for {type(net).__name__}")
    return all_ends[:-1][len(all_ends) - stages :]
