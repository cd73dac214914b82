"""One vector an image from a frozen timm model: the class token where the model has one, its pooled vector elsewhere.

N images, D channels.
"""

import copy
import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tarpon.models.backbones.frame_backbone import FrameBackbone

SCALES = (1.0, 0.5**0.5, 0.5)  # of DINOv3's multi-scale retrieval features (Simeoni et al. 2025)


class ImageEncoder(nn.Module):
    """A timm model in evaluation mode, without gradients.

    The class token is the final norm's, also where timm would pool the patches (its DINOv3 models do).

    Args:
        multi_scale: mean over SCALES of the image, each side rounded to a whole number of patches.
        l2: vectors of length 1, after that mean.

    Attributes:
        dim: channels of the vector.

    Raises:
        ValueError: the model is unknown, its weights cannot be had, or it takes one image size only and `multi_scale` is set.
    """

    def __init__(self, backbone: FrameBackbone, *, l2: bool = True, multi_scale: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # random weights, where asked for, are the same in every process and run
            encoder = backbone.build()
        self.net, self.l2, self.size = encoder.net, l2, backbone.image_size
        self.sizes = tuple(_round_to_patches(self.net, scale * self.size) for scale in SCALES) if multi_scale else (self.size,)
        fixed = encoder.only_size is not None and not getattr(self.net, "dynamic_img_size", False)
        if fixed and multi_scale and not hasattr(self.net, "set_input_size"):
            raise ValueError(f"{backbone.name} takes images of {self.size} pixels only; leave multi_scale out")
        nets = [_resize_net(self.net, size) if fixed and size != self.size else self.net for size in self.sizes]
        self._forwards: list[Callable[[Tensor], Tensor]] = [_PooledForward(net) for net in nets]
        self._others = nn.ModuleList(net for net in nets if net is not self.net)  # so that they move and cast with this one
        self.requires_grad_(False).train(False)
        self.dim = self(torch.zeros(1, 3, self.size, self.size)).shape[-1]

    def train(self, mode: bool = True) -> "ImageEncoder":
        """Stays in evaluation mode: a cached vector must not depend on its neighbours in the batch."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, size, size) float, already normalised -> (N, D) float32."""
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, self.size, self.size):
            raise ValueError(f"images must be (N, 3, {self.size}, {self.size}), got {tuple(images.shape)}; set image_size")
        total = 0.0
        for size, forward in zip(self.sizes, self._forwards, strict=True):
            scaled = images if size == self.size else F.interpolate(images, size=(size, size), mode="bilinear")
            total = total + forward(scaled).float()
        mean = total / len(self.sizes)
        return F.normalize(mean, dim=-1) if self.l2 else mean

    def weights_sha256(self) -> str:
        """Hash of the model's tensors: names, shapes, dtypes and bytes, in the order of their names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.net.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


class _PooledForward:
    """(N, 3, H, W) -> (N, D) by one net."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __call__(self, images: Tensor) -> Tensor:
        features = self.net.forward_features(images)
        if getattr(self.net, "cls_token", None) is None or features.ndim != 3:
            return self.net.forward_head(features, pre_logits=True)
        # a model made to average its patches has its final norm behind the pooling
        return getattr(self.net, "fc_norm", nn.Identity())(features[:, 0])


def _round_to_patches(net: nn.Module, side: float) -> int:
    """`side` in pixels rounded to a multiple of the patch; to a pixel where there are no patches."""
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", 1)
    patch = patch[0] if isinstance(patch, tuple) else patch
    return max(round(side / patch), 1) * patch


def _resize_net(net: nn.Module, size: int) -> nn.Module:
    """A copy with shared weights for another image size; only what depends on the size (position embeddings) is new."""
    kept = copy.deepcopy(net, {id(parameter): parameter for parameter in net.parameters()})
    kept.set_input_size(img_size=(size, size))
    return kept
