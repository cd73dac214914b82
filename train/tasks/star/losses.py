"""Loss terms of an embedding: pairs of photographs (circle, triplet) and, where the model has one, its identity classifier.

All rows of a step, of all processes, are compared with each other. Everything is float32, whatever autocast says. Rows are
masked, never picked out, so that the host need not know how many there are: it would have to wait for the GPU.

G rows, D features, I identities.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.train.tasks.star.loss_options import MetricLoss

SLOPE_EPS = 1e-6  # a cosine of exactly 1 has no finite slope in its angle


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
    embedding, terms = _blank(embedding, known), {}
    anchors = known if anchors is None else known & anchors
    with torch.autocast(embedding.device.type, enabled=False):
        if options.circle_weight:
            each, used = circle(embedding, identity, margin=options.circle_margin, gamma=options.circle_gamma)
            terms["circle"] = options.circle_weight * _mean(each, used & anchors, embedding)
        if options.triplet_weight:
            each, used = triplet(embedding, identity, margin=options.triplet_margin)
            terms["triplet"] = options.triplet_weight * _mean(each, used & anchors, embedding)
        if options.identity_weight:
            terms["identity"] = 0.0 * embedding.sum()
            if "cosine" in out:
                cosine = _blank(out["cosine"], known)
                each = arcface(cosine, identity.clamp(min=0), margin=options.arc_margin, scale=options.arc_scale)
                terms["identity"] = options.identity_weight * _mean(each, known, cosine)
    return terms


def circle(embedding: Tensor, identity: Tensor, *, margin: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Circle loss on pairs (Sun et al., CVPR 2020).

    Per anchor softplus(LSE_p(-gamma a_p (s_p - 1 + m)) + LSE_n(gamma a_n (s_n - m))), s cosines, a_p = [1 + m - s_p]+ and
    a_n = [s_n + m]+ without gradient.

    Args:
        embedding, identity: (G, D) float32, (G,) int64; rows of identity -1 are in no pair.

    Returns:
        Per anchor (G,), and which of them have a positive and a negative (G,) bool; 0 for the others.
    """
    cosine, same, other = _pairs(embedding, identity)
    pull = -gamma * (1 + margin - cosine.detach()).relu() * (cosine - (1 - margin))
    push = gamma * (cosine.detach() + margin).relu() * (cosine - margin)
    used = same.any(1) & other.any(1)
    both = _log_sum_exp(pull, same) + _log_sum_exp(push, other)
    return torch.where(used, F.softplus(both), 0.0), used


def triplet(embedding: Tensor, identity: Tensor, *, margin: float) -> tuple[Tensor, Tensor]:
    """Batch-hard triplet loss (Hermans, Beyer and Leibe 2017) on cosine distances; arguments and returns as of `circle`.

    Per anchor [d(hardest positive) - d(hardest negative) + margin]+.
    """
    cosine, same, other = _pairs(embedding, identity)
    positive = torch.where(same, cosine, torch.inf).min(1).values  # one pair an anchor has the gradient, also of several alike
    negative = torch.where(other, cosine, -torch.inf).max(1).values
    used = same.any(1) & other.any(1)
    # blanked in front of the difference: the gradient through an infinity would be NaN
    gap = torch.where(used, negative, 0.0) - torch.where(used, positive, 0.0)
    return torch.where(used, (gap + margin).relu(), 0.0), used


def arcface(cosine: Tensor, identity: Tensor, *, margin: float, scale: float) -> Tensor:
    """Additive angular margin (Deng et al., CVPR 2019): cosine (G, I) float32, identity (G,) -> loss of each row (G,).

    Where the angle and its margin pass a half turn, the cosine falls on linearly, so that it never rises again.
    """
    own = cosine.gather(1, identity[:, None]).clamp(SLOPE_EPS - 1, 1 - SLOPE_EPS)
    angle = own.acos()
    moved = torch.where(angle <= math.pi - margin, (angle + margin).cos(), own - margin * math.sin(margin))
    return F.cross_entropy(cosine.scatter(1, identity[:, None], moved) * scale, identity, reduction="none")


def _pairs(embedding: Tensor, identity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines (G, G), and (G, G) bool: pairs of two rows of one identity, and of two identities; -1 is in no pair."""
    unit, known = F.normalize(embedding, dim=1), identity >= 0
    alike, both = identity[:, None] == identity, known[:, None] & known
    itself = torch.eye(len(identity), dtype=torch.bool, device=identity.device)
    return unit @ unit.T, alike & both & ~itself, ~alike & both


def _log_sum_exp(values: Tensor, mask: Tensor) -> Tensor:
    """(G, G) -> (G,) over the columns where mask is True; 0 where nowhere."""
    masked = values.masked_fill(~mask, torch.finfo(values.dtype).min)
    return torch.where(mask.any(1), masked.logsumexp(1), 0.0)


def _blank(values: Tensor, known: Tensor) -> Tensor:
    """(G, n) float32 with zeros, and no gradient, in rows that are not known. To leave the rows out would wait for the GPU."""
    return values.float().masked_fill(~known[:, None], 0.0)


def _mean(each: Tensor, used: Tensor, source: Tensor) -> Tensor:
    """Mean of each (G,) where used (G,) is True; 0 with a graph through `source` where nowhere."""
    return torch.where(used, each, 0.0).sum() / used.sum().clamp(min=1) + 0.0 * source.sum()
