"""Grad-CAM (Selvaraju et al., ICCV 2017): heat maps of the parts of a page that a prediction depends on.

B pages, W pages of a window, N = B*W, h x w cells of the last feature map, D channels.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tarpon.models.backbones.frames import FrameEncoder
from tarpon.models.pages.reader import PageReader

Score = Callable[[Mapping[str, Tensor]], Tensor]  # outputs of the model -> (B,), the number that is explained


def score_infected(out: Mapping[str, Tensor]) -> Tensor:
    """Score of the infected class before the softmax, as the paper explains classes."""
    return out["label"][:, 1]


def score_uninfected(out: Mapping[str, Tensor]) -> Tensor:
    """Score of the uninfected class before the softmax."""
    return out["label"][:, 0]


def score_hours(out: Mapping[str, Tensor]) -> Tensor:
    """The predicted hours: warm cells make the prediction later; what makes it earlier is not shown."""
    return out["hours"]


def compute_heat_maps(model: PageReader, clip: Tensor, valid: Tensor, *, of: Score, relative: bool = True) -> Tensor:
    """Heat map of the middle page of every window, in evaluation mode, whatever the model's mode and whether frozen or not.

    Channels of the last feature map are weighted by the mean of the score's gradient over the cells; the rectified sum is
    enlarged to the page. A model that predicts from its class token after the last block has no gradient at the patches
    there, so the maps of a transformer are taken before its last attention.

    Args:
        clip, valid: as in `PageReader.forward`.
        of: what to explain: `score_infected`, `score_uninfected`, `score_hours`, or another function of the outputs.
        relative: to each page's own hottest cell; False: as it is, to compare pages with one another.

    Returns:
        (B, H, W') float32 from 0 on; relative, the hottest cell of each page is about 1. A page without positive evidence is
        all 0.
    """
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            maps, out = _run_with_maps(model, clip, valid)
            (slope,) = torch.autograd.grad(of(out).sum(), maps)
    finally:
        model.train(training)
    middle = model.window // 2
    maps, slope = (_to_grid(model.encoder, value, clip)[:, middle].float() for value in (maps.detach(), slope))
    weight = slope.mean((1, 2), keepdim=True)
    heat = torch.relu((weight * maps).sum(-1))  # (B, h, w)
    if relative:
        peak = heat.amax((1, 2), keepdim=True)
        heat = heat / torch.where(peak > 0, peak, torch.ones_like(peak))
    return F.interpolate(heat[:, None], size=clip.shape[-2:], mode="bilinear")[:, 0]


def _run_with_maps(model: PageReader, clip: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Feature maps in the backbone's layout, and the outputs computed from them.

    Not by the encoder's forward: a frozen one gives no gradient, and its grid may be of another depth than its vector.
    """
    net = model.encoder.net
    frames = clip.flatten(0, 1).to(next(net.parameters()).dtype).detach().requires_grad_()
    seen: list[Tensor] = []
    layer = _find_last_norm(net)
    hook = layer.register_forward_hook(lambda module, given, answer: seen.append(answer)) if layer is not None else None
    try:
        features = net.forward_features(frames)
    finally:
        if hook is not None:
            hook.remove()
    maps = seen[0] if seen else features
    pooled = net.forward_head(features, pre_logits=True).unflatten(0, clip.shape[:2])
    return maps, model.read(pooled, valid)


def _find_last_norm(net: nn.Module) -> nn.Module | None:
    """The norm in front of the last attention of a transformer of tokens; None for every other net."""
    blocks = getattr(net, "blocks", None)
    tokens = getattr(net, "num_prefix_tokens", None) is not None
    return getattr(blocks[-1], "norm1", None) if tokens and blocks is not None else None


def _to_grid(encoder: FrameEncoder, maps: Tensor, clip: Tensor) -> Tensor:
    """(N, ...) in the backbone's own layout -> (B, W, h, w, D)."""
    return encoder.to_grid(maps, clip.shape[-2:]).unflatten(0, clip.shape[:2])
