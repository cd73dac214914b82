"""Loss terms on windows: each is a mean within every window, then over windows, so that it depends on neither the number
of GPUs nor the accumulation, and padding counts for nothing.

B windows, T frames, C classes, K points.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.train.class_weights import balanced_weights
from tarpon.train.tasks.mouse.options import LossOptions

CHANGE_CAP = 4.0  # of a log-probability in a frame, beyond which the boundary term has no slope, as published


def action_weights(counts: np.ndarray, *, device: torch.device) -> Tensor:
    """(C,) float32 inverse-frequency weights of the classes. counts: (C,) labelled training frames."""
    return balanced_weights(torch.tensor(counts, dtype=torch.float32)).to(device)


def window_losses(
    out: Mapping[str, Tensor], batch: Mapping[str, Tensor], *, options: LossOptions, weights: Tensor | None
) -> dict[str, Tensor]:
    """The terms, weighted, ready to be added up; a term of weight 0 is absent.

    Args:
        out: action (B, T, C) scores; keypoints (B, T, K, 2) in 0..1 with a pose head; action_stages (B, S, T, C) of a network
            that refines its scores: the action terms are then means over the stages, so that their weight beside the keypoints
            does not grow with S.
        batch: actions (B, T) int64, -1 unlabelled; valid (B, T) bool; keypoints (B, T, K, 3) x, y, visible.
        weights: (C,) of the classes, or None.
    """
    gamma, smoothing = options.focal_gamma, options.label_smoothing
    scores, actions, valid = out["action"], batch["actions"], batch["valid"]
    if "action_stages" in out:  # each stage's answer to a window counts as a window
        stages, scores = out["action_stages"].shape[1], out["action_stages"].flatten(0, 1)
        actions, valid = actions.repeat_interleave(stages, 0), valid.repeat_interleave(stages, 0)
    terms = {"action": focal_loss(scores, actions, gamma=gamma, smoothing=smoothing, weights=weights)}
    if options.lambda_smooth:
        terms["smooth"] = options.lambda_smooth * smoothness_loss(scores, valid)
    if options.lambda_boundary:
        terms["boundary"] = options.lambda_boundary * boundary_loss(scores, actions)
    if "keypoints" in out and options.lambda_kp:
        terms["keypoints"] = options.lambda_kp * keypoint_loss(out["keypoints"], batch["keypoints"], beta=options.kp_beta)
    return terms


def window_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, ...) where mask (B, ...) is True, window by window, then over the B windows; 0 for an empty one."""
    mask = mask.flatten(1).to(values.dtype)
    return ((values.flatten(1) * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


def focal_loss(scores: Tensor, actions: Tensor, *, gamma: float, smoothing: float, weights: Tensor | None) -> Tensor:
    """Focal loss (Lin et al. 2017) on smoothed targets, weighted by the hard label.

    Args:
        scores: (B, T, C) float32 before the softmax.
        actions: (B, T) int64, -1 leaves a frame out.
        weights: (C,) or None.
    """
    known, labels = actions >= 0, actions.clamp(min=0)
    log_p = F.log_softmax(scores, -1)
    hard = labels[..., None] == torch.arange(scores.shape[-1], device=labels.device)  # one_hot looks at the values first
    target = hard.to(log_p.dtype) * (1 - smoothing) + smoothing / scores.shape[-1]
    p_true = (log_p.exp() * target).sum(-1)
    loss = (1 - p_true).clamp(min=1e-8) ** gamma * -(target * log_p).sum(-1)
    if weights is not None:
        loss = loss * weights[labels]
    return window_mean(loss, known)


def smoothness_loss(scores: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute change of log-probabilities between neighbouring valid frames (after Farha and Gall 2019).

    scores: (B, T, C) before the softmax. valid: (B, T) bool.
    """
    log_p = F.log_softmax(scores, -1)
    return window_mean((log_p[:, 1:] - log_p[:, :-1]).abs().mean(-1), valid[:, 1:] & valid[:, :-1])


def boundary_loss(scores: Tensor, actions: Tensor) -> Tensor:
    """Truncated mean square of the change of log-probabilities within labelled bouts, after GS-TMSE (Ishikawa et al. 2021).

    There each change is weighed by how alike the features of its two frames are, so that the term weakens where an action
    gives way to another. Here the labels say where that is: the weight is 1 between two frames of one label, else 0.
    As in T-MSE (Farha and Gall 2019) changes count up to CHANGE_CAP and only the later frame of two gets a slope.

    scores: (B, T, C) before the softmax. actions: (B, T) int64, -1 unlabelled or padding: both of its changes are left out.
    """
    log_p = F.log_softmax(scores, -1)
    change = (log_p[:, 1:] - log_p[:, :-1].detach()).square().clamp(max=CHANGE_CAP**2).mean(-1)
    return window_mean(change, (actions[:, 1:] == actions[:, :-1]) & (actions[:, 1:] >= 0))


def keypoint_loss(predicted: Tensor, keypoints: Tensor, *, beta: float) -> Tensor:
    """Smooth L1 over visible points.

    Args:
        predicted: (B, T, K, 2) in 0..1. keypoints: (B, T, K, 3) x, y, visible.
        beta: where it turns from square to linear, in shares of the frame; at 1 it would be all but switched off here.
    """
    loss = F.smooth_l1_loss(predicted, keypoints[..., :2], beta=beta, reduction="none").mean(-1)
    return window_mean(loss, keypoints[..., 2] > 0)
