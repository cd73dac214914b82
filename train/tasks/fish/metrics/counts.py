"""What the scores and figures of a split are made of: counts of its rows, and the few columns that no count stands for.

N rows, F families, O orders, L habitats, K tasks, E experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, AttributeRows

TOP = 5  # families among which the true one is looked for
UNIT = 2**30  # of a weight: sums of 2**31 rows fit
TAXA = ("family", "order")


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeCounts:
    """Counts of some rows; those of all are their sums."""

    rows: int
    family: np.ndarray  # (2, F) int64 known rows of each true class, and those of them that are right
    order: np.ndarray  # (2, O) int64
    near: int  # rows whose true family is among the first TOP
    consistent: np.ndarray  # (2,) int64 rows whose predicted family has a known order, and those that were given it
    feeding: np.ndarray | None  # (2,) int64 known and right; None: not predicted
    gates: np.ndarray | None  # (2, K, E + 1) int64 of `sum_gates`; None: a model without


@dataclass(frozen=True, kw_only=True, eq=False)
class CountedRows:
    """A split's counts, and what is needed of each row: to draw its group again, and to rank it by its habitats."""

    names: AttributeNames
    counts: AttributeCounts
    group: np.ndarray  # (N,) str, the unit of the bootstrap
    taxa: np.ndarray  # (N, 4) bool: family known, right, order known, right
    habitat: np.ndarray  # (N, L) whole numbers 0 or 1, a row of -1 unknown
    habitat_prob: np.ndarray  # (N, L) float32
    troph: np.ndarray  # (N,) float32, NaN unknown
    troph_pred: np.ndarray  # (N,) float32

    def __len__(self) -> int:
        return self.counts.rows


def count_rows(rows: AttributeRows) -> CountedRows:
    """Count a split, or one process's share of it."""
    known = [getattr(rows, taxon) >= 0 for taxon in TAXA]
    right = [at & (getattr(rows, taxon) == getattr(rows, f"{taxon}_pred")) for taxon, at in zip(TAXA, known, strict=True)]
    expected = rows.names.family_order[rows.family_pred]
    told = expected >= 0
    feeding = None
    if rows.feeding is not None:
        labelled = rows.feeding >= 0
        feeding = np.array([labelled.sum(), (rows.feeding == rows.feeding_pred)[labelled].sum()])
    counts = AttributeCounts(
        rows=len(rows),
        family=count_classes(rows.family, rows.family_pred, len(rows.names.families)),
        order=count_classes(rows.order, rows.order_pred, len(rows.names.orders)),
        near=int(((rows.family_rank >= 0) & (rows.family_rank < TOP)).sum()),
        consistent=np.array([told.sum(), (expected == rows.order_pred)[told].sum()]),
        feeding=feeding,
        gates=None if rows.gates is None else sum_gates(rows.gates),
    )
    return CountedRows(
        names=rows.names,
        counts=counts,
        group=rows.group,
        taxa=np.stack([known[0], right[0], known[1], right[1]], 1),
        **{name: getattr(rows, name) for name in ("habitat", "habitat_prob", "troph", "troph_pred")},
    )


def add_counts(parts: Sequence[AttributeCounts]) -> AttributeCounts:
    """Counts of all the parts' rows, of one part at least."""
    first = parts[0]
    return AttributeCounts(
        rows=sum(part.rows for part in parts),
        family=sum(part.family for part in parts),
        order=sum(part.order for part in parts),
        near=sum(part.near for part in parts),
        consistent=sum(part.consistent for part in parts),
        feeding=None if first.feeding is None else sum(part.feeding for part in parts),
        gates=None if first.gates is None else sum(part.gates for part in parts),
    )


def count_classes(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(2, C) int64 known rows of each true class, and how many of them are right."""
    known = truth >= 0
    right = known & (truth == predicted)
    return np.stack([np.bincount(truth[at], minlength=num_classes) for at in (known, right)])


def sum_gates(gates: np.ndarray) -> np.ndarray:
    """Sums over the rows of the experts' weights (N, K, E) and, last, of the entropy of a row's, in nats: (2, K, E + 1) int64.

    In units of 1 / UNIT and, of what that leaves, of 1 / UNIT**2: whole numbers have one sum in whatever order, real ones not.
    """
    gates = gates.astype(np.float64)
    share = np.log(gates, out=np.zeros_like(gates), where=gates > 0)
    values = np.concatenate([gates, np.abs(gates * share).sum(-1, keepdims=True)], -1) * UNIT
    whole = np.rint(values)
    return np.stack([part.astype(np.int64).sum(0) for part in (whole, np.rint((values - whole) * UNIT))])


def average_gates(counts: AttributeCounts) -> tuple[np.ndarray, np.ndarray]:
    """(K, E) mean weights, (K,) mean over rows of the entropy of a row's weights, in nats; of a model with gates."""
    whole, rest = counts.gates / counts.rows
    means = (whole + rest / UNIT) / UNIT
    return means[:, :-1], means[:, -1]
