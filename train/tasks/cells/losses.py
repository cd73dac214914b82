"""Targets and loss terms of pages: a class, and hours since a class's own start.

A term is a sum over a batch's real rows / the rows of the batch, padding included: every process and every micro-batch divides
by the same number, so any split of a global batch gives the same gradient.

B rows.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def target_hours(
    hours: np.ndarray,
    infected: np.ndarray,
    *,
    onset: float | np.ndarray = 2.0,
    clamp_range: tuple[float, float] = (0.0, 48.0),
) -> np.ndarray:
    """What the hours head learns: hours since infection onset where infected (0 before it), hours since start elsewhere.

    Args:
        hours: (N,) of the clock, since the first page.
        infected: (N,) bool.
        onset: hour of the clock at which the infection sets in, of all or (N,) of each.
        clamp_range: (lowest, highest) target.

    Returns:
        (N,) float32.
    """
    low, high = clamp_range
    if not low < high:
        raise ValueError(f"clamp_range={list(clamp_range)} must be two rising numbers of hours")
    since = np.where(infected, np.maximum(hours - onset, 0.0), hours)
    return np.clip(since, low, high).astype(np.float32)


def hours_losses(
    out: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    *,
    classification_weight: float = 1.0,
    regression_weight: float = 1.0,
    beta: float = 1.0,
) -> dict[str, Tensor]:
    """The two terms, ready to be added up.

    Args:
        out: "label" (B, 2) scores, "hours" (B,).
        batch: "label" (B,) int64, "target" (B,) float32 hours, "row" (B,), -1 for padding, whose values may be anything.
        beta: hours at which smooth L1 turns from square to linear.
    """
    real = batch["row"] >= 0
    label = torch.where(real, batch["label"].long(), 0)  # -1 never indexes: on a GPU that is an assertion, not an error
    target = torch.where(real, batch["target"].float(), 0.0)  # NaN times 0 would be NaN
    class_loss = F.cross_entropy(out["label"].float(), label, reduction="none")
    hours_loss = F.smooth_l1_loss(out["hours"].float(), target, beta=beta, reduction="none")
    return {
        "label": classification_weight * (class_loss * real).sum() / len(real),
        "hours": regression_weight * (hours_loss * real).sum() / len(real),
    }
