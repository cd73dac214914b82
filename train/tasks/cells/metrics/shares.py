"""What processes that answered shares of a split hand on, for rank 0 to score the whole of it. N pages.

Areas under curves rank every page with every other, so each page's answers travel; what is known of pages comes in kinds
(a stack with its class and onset; an hour of the clock with its target) and travels once a kind. Keys, paths and page numbers
stay with whoever writes them. What rank 0 puts together is the same, to the bit, as one process would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarpon.train.packed_rows import PackedRows, join_packed, pack_rows, sort_answered
from tarpon.train.tasks.cells.metrics.coded import Coded, encode
from tarpon.train.tasks.cells.metrics.predictions import PageRows, constant_answers

SOURCE, TIME = ("stack", "well", "position", "label", "onset"), ("clock", "target")  # columns that come in kinds
ANSWERS = ("prob", "predicted")


@dataclass(frozen=True, kw_only=True, eq=False)
class PagePart:
    """What one process hands on: some 12 bytes a page."""

    rows: PackedRows
    source: Coded  # of SOURCE
    time: Coded  # of TIME
    answers: dict[str, np.ndarray]  # of ANSWERS, (N,) float32

    def column(self, name: str) -> np.ndarray:
        """(N,) of PageRows."""
        if name in ANSWERS:
            return self.answers[name]
        return (self.source if name in SOURCE else self.time).column(name)


def take_part(numbers: np.ndarray, rows: PageRows) -> PagePart:
    """Of pages in the order of their row numbers (N,)."""
    source, time, answers = ({name: getattr(rows, name) for name in names} for names in (SOURCE, TIME, ANSWERS))
    return PagePart(rows=pack_rows(numbers), source=encode(source), time=encode(time), answers=answers)


def join_parts(parts: Sequence[PagePart], *, clamp_range: tuple[float, float], medians: tuple[float, float, float]) -> PageRows:
    """All pages in order of row; a process without any hands on no part.

    Args:
        medians: of the training targets: of all pages, of uninfected, of infected ones.

    Raises:
        ValueError: a row is there twice, or there is none.
    """
    _, order = sort_answered(join_packed([part.rows for part in parts]), unit="pages")
    names = (*SOURCE, *TIME, *ANSWERS)
    columns = {name: np.concatenate([part.column(name) for part in parts])[order] for name in names}
    return PageRows(clamp_range=clamp_range, **constant_answers(columns["label"], medians), **columns)
