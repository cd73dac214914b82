"""Loss terms of an embedding: pairs of photographs (circle, triplet) and, where the model has one, its identity classifier.

All rows of a step, of all processes, are compared with each other. Everything is float32, whatever autocast says.

G rows, D features, I identities.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import CircleLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor

SLOPE_EPS = 1e-6  # a cosine of exactly 1 has no finite slope in its angle


@dataclass(frozen=True, kw_only=True)
class MetricLoss:
    """The terms and their weights; 0 switches one off."""

    circle_weight: float = 0.7
    circle_margin: float = 0.25  # m of Sun et al. (CVPR 2020)
    circle_gamma: float = 64.0
    triplet_weight: float = 0.3
    triplet_margin: float = 0.3  # of cosine distances
    identity_weight: float = 0.0
    arc_margin: float = 0.5  # radians, of Deng et al. (CVPR 2019)
    arc_scale: float = 64.0

    def __post_init__(self) -> None:
        weights = {name: getattr(self, f"{name}_weight") for name in ("circle", "triplet", "identity")}
        if min(weights.values()) < 0 or not sum(weights.values()) > 0:
            told = ", ".join(f"{name}_weight={value}" for name, value in weights.items())
            raise ValueError(f"loss: {told} must be at least 0, and one of them above")
        if not 0 <= self.circle_margin < 1 or min(self.circle_gamma, self.arc_scale) <= 0:
            raise ValueError(
                f"loss: circle_margin={self.circle_margin} must be in [0, 1), circle_gamma={self.circle_gamma} and "
                f"arc_scale={self.arc_scale} above 0"
            )
        if not 0 <= self.triplet_margin <= 2 or not 0 <= self.arc_margin < math.pi / 2:
            raise ValueError(
                f"loss: triplet_margin={self.triplet_margin} must be in [0, 2], "
                f"arc_margin={self.arc_margin} in [0, pi/2) radians"
            )


def metric_losses(
    out: Mapping[str, Tensor], identity: Tensor, *, options: MetricLoss, anchors: Tensor | None = None
) -> dict[str, Tensor]:
    """The terms, weighted, ready to be added up; a term of weight 0 is absent.

    A pair term is a mean over the anchors that have a positive and a negative; without any it is 0, with a graph. So is
    "identity" where `out` has no cosines, as in evaluation.

    Args:
        out: "embedding" (G, D), of any length; "cosine" (G, I) where there is an identity loss.
        identity: (G,) int64 in 0..I-1; -1 for rows that count for nothing.
        anchors: (G,) bool, rows that may be anchors of pairs; the others are only negatives of theirs. None: all.
    """
    embedding = out["embedding"]
    if len(identity) != len(embedding):
        raise ValueError(
            f"{len(embedding)} embeddings and {len(identity)} identities do not belong together; gather both, or neither"
        )
    known = identity >= 0
    embedding, identity, terms = embedding.float()[known], identity[known], {}
    asked = torch.ones_like(identity, dtype=torch.bool) if anchors is None else anchors[known]
    with torch.autocast(embedding.device.type, enabled=False):
        if options.circle_weight:
            each, used = circle(embedding, identity, margin=options.circle_margin, gamma=options.circle_gamma)
            terms["circle"] = options.circle_weight * _mean(each, used & asked, embedding)
        if options.triplet_weight:
            each, used = triplet(embedding, identity, margin=options.triplet_margin)
            terms["triplet"] = options.triplet_weight * _mean(each, used & asked, embedding)
        if options.identity_weight:
            terms["identity"] = 0.0 * embedding.sum()
            if "cosine" in out:
                cosine = out["cosine"].float()[known]
                each = arcface(cosine, identity, margin=options.arc_margin, scale=options.arc_scale)
                terms["identity"] = options.identity_weight * _mean(each, torch.ones_like(asked), cosine)
    return terms


def circle(embedding: Tensor, identity: Tensor, *, margin: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Circle loss on pairs (Sun et al., CVPR 2020).

    Per anchor softplus(LSE_p(-gamma a_p (s_p - 1 + m)) + LSE_n(gamma a_n (s_n - m))), s cosines, a_p = [1 + m - s_p]+ and
    a_n = [s_n + m]+ without gradient.

    Args:
        embedding, identity: (G, D) float32, (G,) int64.

    Returns:
        Per anchor (G,), and which of them have a positive and a negative (G,) bool; 0 for the others.
    """
    used = _has_both(identity)
    if not used.any():
        return embedding.new_zeros(len(identity)), used
    loss = CircleLoss(m=margin, gamma=gamma, reducer=DoNothingReducer())
    return loss(embedding, identity)["loss"]["losses"].view(-1), used  # the library's is (G, 1)


def triplet(embedding: Tensor, identity: Tensor, *, margin: float) -> tuple[Tensor, Tensor]:
    """Batch-hard triplet loss (Hermans, Beyer and Leibe 2017) on cosine distances; arguments and returns as of `circle`.

    Per anchor [d(hardest positive) - d(hardest negative) + margin]+.
    """
    used, each = _has_both(identity), embedding.new_zeros(len(identity))
    if not used.any():  # the miner fails on no rows, and the loss answers a number
        return each, used
    chosen = BatchHardMiner(distance=CosineSimilarity())(embedding, identity)
    loss = TripletMarginLoss(margin=margin, distance=CosineSimilarity(), reducer=DoNothingReducer())
    return each.index_put((chosen[0],), loss(embedding, identity, chosen)["loss"]["losses"]), used


def arcface(cosine: Tensor, identity: Tensor, *, margin: float, scale: float) -> Tensor:
    """Additive angular margin (Deng et al., CVPR 2019): cosine (G, I) float32, identity (G,) -> loss of each row (G,).

    Where the angle and its margin pass a half turn, the cosine falls on linearly, so that it never rises again.
    """
    own = cosine.gather(1, identity[:, None]).clamp(SLOPE_EPS - 1, 1 - SLOPE_EPS)
    angle = own.acos()
    moved = torch.where(angle <= math.pi - margin, (angle + margin).cos(), own - margin * math.sin(margin))
    return F.cross_entropy(cosine.scatter(1, identity[:, None], moved) * scale, identity, reduction="none")


def _has_both(identity: Tensor) -> Tensor:
    """(G,) -> (G,) bool: rows with another row of their identity and one of another identity."""
    alike = (identity[:, None] == identity).sum(1)
    return (alike > 1) & (alike < len(identity))


def _mean(each: Tensor, used: Tensor, source: Tensor) -> Tensor:
    """Mean of each (G,) where used (G,) is True; 0 that hangs on `source` where nowhere."""
    return torch.where(used, each, 0.0).sum() / used.sum().clamp(min=1) + 0.0 * source.sum()
