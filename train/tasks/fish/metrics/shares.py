"""What processes that answered shares of a split hand on, for rank 0 to score the whole of it. N rows, L habitats.

Counts are added up. An area under a curve ranks every row with every other, so habitats' probabilities travel, 4 L bytes a row;
so do the two trophic levels, whose errors are drawn again by group and must sum as in one process. Answers stay where they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.train.packed_rows import PackedRows, join_packed, pack_rows, sort_answered
from tarpon.train.tasks.fish.metrics.counts import AttributeCounts, CountedRows, add_counts
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributePart:
    """What one process hands on: some 45 bytes a row with eight habitats."""

    rows: PackedRows
    counts: AttributeCounts
    bits: np.ndarray  # (N, 1 or more) uint8: the four of `CountedRows.taxa`, whether habitats are known, L true habitats
    habitat_prob: np.ndarray  # (M, L) float32 of the M rows whose habitats are known
    troph: np.ndarray  # (N,) float32
    troph_pred: np.ndarray  # (N,) float32


def take_part(numbers: np.ndarray, counted: CountedRows) -> AttributePart:
    """Of rows in the order of their numbers (N,)."""
    known = (counted.habitat >= 0).all(1)
    return AttributePart(
        rows=pack_rows(numbers),
        counts=counted.counts,
        bits=np.packbits(np.concatenate([counted.taxa, known[:, None], counted.habitat == 1], 1), axis=1),
        habitat_prob=counted.habitat_prob[known],
        troph=counted.troph,
        troph_pred=counted.troph_pred,
    )


def join_parts(parts: Sequence[AttributePart], *, names: AttributeNames, groups: np.ndarray) -> CountedRows:
    """All rows in their order; a process without any hands on no part.

    A probability of habitats that are not known is NaN: nothing asks for it.

    Args:
        groups: by row of the table.

    Raises:
        ValueError: a row is there twice, or there is none.
    """
    rows, order = sort_answered(join_packed([part.rows for part in parts]), unit="rows")
    columns = [_unpack(part, len(names.habitats)) for part in parts]
    whole = {name: np.concatenate([own[name] for own in columns])[order] for name in columns[0]}
    return CountedRows(names=names, counts=add_counts([part.counts for part in parts]), group=groups[rows], **whole)


def _unpack(part: AttributePart, num_habitats: int) -> dict[str, np.ndarray]:
    bits = np.unpackbits(part.bits, axis=1, count=5 + num_habitats).astype(bool)
    known, habitat = bits[:, 4], bits[:, 5:].astype(np.int8)
    habitat[~known] = -1
    prob = np.full(habitat.shape, np.nan, np.float32)
    prob[known] = part.habitat_prob
    return {
        "taxa": bits[:, :4],
        "habitat": habitat,
        "habitat_prob": prob,
        "troph": part.troph,
        "troph_pred": part.troph_pred,
    }
