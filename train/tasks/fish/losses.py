"""Loss terms on rows whose attributes may be unknown.

A term is the sum over a batch's known rows / (rows of the batch x share of training rows that are known). The mean over the
known rows of a batch would be simpler, but its denominator is each process's own: with 3 known rows on one GPU and 5 on the
other, the mean of the two means is not the mean of the 8, so training would depend on how rows fall on GPUs and on the
accumulation. Here every micro-batch divides by the same number, so any split of a global batch gives the same gradient, and
over an epoch the term is the mean over known rows. In validation it is off by the ratio of the two splits' known shares.

B rows, C classes, L labels of yes or no.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tarpon.train.class_weights import balanced_weights
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS, NUMBER


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainFacts:
    """What the losses know of the training rows, on the device of the batches."""

    share: Mapping[str, float]  # attribute -> share of rows where it is known
    class_weights: Mapping[str, Tensor]  # attribute with classes -> (C,); 0 for a class without training rows
    positive_weights: Mapping[str, Tensor]  # attribute of flags -> (L,) weight of a yes; 1 where it is missing
    offsets: Mapping[str, Tensor]  # attribute with classes -> (C,) added to its scores in training; none where it is missing


def train_facts(
    labels: Mapping[str, Tensor], *, classes: Mapping[str, int], balanced: bool, adjustment: float = 0.0
) -> TrainFacts:
    """Read them off the labels of all training rows.

    Args:
        labels: attribute -> labels of every training row, as in a batch.
        classes: attribute -> number of classes, for the attributes that have such.
        balanced: weigh a class by N / (classes present x its rows), a yes by (no) / (yes), both from known rows only.
        adjustment: times the log of a class's share of the known rows is the offset of its score (Menon et al., ICLR 2021,
            eq. 10; at 1 the balanced softmax of Ren et al., NeurIPS 2020). A class without rows counts as one of one row.

    Raises:
        ValueError: an attribute without any known training row.
    """
    share, weights, positive, offsets = {}, {}, {}, {}
    for attribute, label in labels.items():
        kind = HEADS[attribute].kind
        known = known_rows(kind, label)
        share[attribute] = known.double().mean().item()
        if not share[attribute] > 0:
            raise ValueError(f"no training row has a known {attribute}; leave the attribute out, or look at the annotations")
        if kind == CLASSES:
            counts = torch.bincount(label[known].long(), minlength=classes[attribute]).float()
            weights[attribute] = balanced_weights(counts) if balanced else (counts > 0).float()
            if adjustment:
                offsets[attribute] = adjustment * (counts.clamp(min=1) / counts.clamp(min=1).sum()).log()
        elif kind == FLAGS and balanced:
            yes = label[known].float().sum(0)
            positive[attribute] = (known.sum() - yes) / yes.clamp(min=1)
    return TrainFacts(share=share, class_weights=weights, positive_weights=positive, offsets=offsets)


def attribute_losses(
    out: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    *,
    facts: TrainFacts,
    weights: Mapping[str, float],
    smoothing: float = 0.0,
) -> dict[str, Tensor]:
    """One term for each attribute, ready to be added up.

    With "log_variance" s among the outputs a term L becomes w * (exp(-s) L + s / 2) for classes and labels, and
    w * (exp(-s) L / 2 + s / 2) for a number (Kendall, Gal and Cipolla, CVPR 2018); w moves no optimum of s, so the fixed
    weights keep their say. Such terms can be negative.

    Args:
        out: attribute -> scores, as from `MMoE`; attributes in the order of `weights`, which is that of log_variance.
        batch: attribute -> labels (B, ...), and "row" (B,), -1 for padding, which counts 0.
        weights: attribute -> factor of its term.
        smoothing: share of a class target spread evenly over the classes that have training rows.
    """
    real = batch["row"] >= 0
    terms = {}
    for k, (attribute, weight) in enumerate(weights.items()):
        each = _each(attribute, out[attribute], batch[attribute], facts=facts, smoothing=smoothing)
        term = (each * real).sum() / (len(each) * facts.share[attribute])
        if "log_variance" in out:
            s = out["log_variance"][k]
            precision = torch.exp(-s) * (0.5 if HEADS[attribute].kind == NUMBER else 1.0)
            term = precision * term + 0.5 * s * real.float().mean()
        terms[attribute] = weight * term
    return terms


def known_rows(kind: str, label: Tensor) -> Tensor:
    """(B,) bool: rows whose label of a head of this kind is known."""
    if kind == NUMBER:
        return torch.isfinite(label)
    return (label >= 0).all(1) if kind == FLAGS else label >= 0


def cross_entropy(scores: Tensor, labels: Tensor, *, weights: Tensor, smoothing: float) -> Tensor:
    """(B,) cross-entropy with smoothed targets, weighted by the hard label; 0 where the label is -1.

    Args:
        scores: (B, C) before the softmax.
        weights: (C,); a class of weight 0 is absent: it takes no part in the smoothing.
    """
    known, labels = labels >= 0, labels.clamp(min=0).long()  # -1 never indexes: on a GPU that is an assertion, not an error
    log_p = F.log_softmax(scores, -1)
    present = (weights > 0).to(log_p.dtype)
    spread = (log_p * present).sum(-1) / present.sum().clamp(min=1)
    loss = -(1 - smoothing) * log_p.gather(1, labels[:, None])[:, 0] - smoothing * spread
    return loss * weights[labels] * known


def binary_cross_entropy(scores: Tensor, labels: Tensor, *, positive_weights: Tensor | None) -> Tensor:
    """(B,) mean over the L labels of a row; 0 where they are unknown. scores, labels: (B, L)."""
    known = known_rows(FLAGS, labels)
    target = torch.where(known[:, None], labels, torch.zeros_like(labels)).to(scores.dtype)
    loss = F.binary_cross_entropy_with_logits(scores, target, pos_weight=positive_weights, reduction="none")
    return loss.mean(1) * known


def smooth_l1(predicted: Tensor, labels: Tensor) -> Tensor:
    """(B,) smooth L1 of (B, 1) against (B,), square below a difference of 1; 0 where the label is NaN."""
    known = known_rows(NUMBER, labels)
    target = torch.where(known, labels, torch.zeros_like(labels)).to(predicted.dtype)  # NaN times 0 would be NaN
    return F.smooth_l1_loss(predicted[:, 0], target, reduction="none") * known


def _each(attribute: str, scores: Tensor, labels: Tensor, *, facts: TrainFacts, smoothing: float) -> Tensor:
    kind = HEADS[attribute].kind
    if kind == FLAGS:
        return binary_cross_entropy(scores, labels, positive_weights=facts.positive_weights.get(attribute))
    if kind == NUMBER:
        return smooth_l1(scores, labels)
    if attribute in facts.offsets:
        scores = scores + facts.offsets[attribute]
    return cross_entropy(scores, labels, weights=facts.class_weights[attribute], smoothing=smoothing)
