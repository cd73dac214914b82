"""Row numbers on their way to another process: the same, and small."""

import pickle

import numpy as np
import pytest

from tarpon.train.packed_rows import join_packed, pack_rows, sort_answered, unpack_rows


@pytest.mark.parametrize(
    "rows", [[], [0], [7], [3, 4, 5, 260, 261], [10**12, 10**12 + 1, 2 * 10**12], [0, 2**33, 2**40]], ids=str
)
def test_rows_come_back(rows):
    back = unpack_rows(pack_rows(np.array(rows, np.int64)))
    assert back.dtype == np.int64
    assert back.tolist() == rows


def test_rows_that_lie_close_take_a_byte_each():
    rows = 10**9 + np.cumsum(np.random.default_rng(0).integers(1, 256, 10_000))
    assert len(pickle.dumps(pack_rows(rows))) < 10_500


def test_parts_follow_each_other():
    assert join_packed([pack_rows(np.array(part, np.int64)) for part in ([5, 9], [], [1])]).tolist() == [5, 9, 1]
    assert join_packed([]).tolist() == []


def test_a_row_twice_and_no_row_are_refused():
    rows, order = sort_answered(np.array([5, 1, 9]), unit="pages")
    assert (rows.tolist(), order.tolist()) == ([1, 5, 9], [1, 0, 2])
    with pytest.raises(ValueError, match="2 pages of the split were answered more than once"):
        sort_answered(np.array([5, 1, 5, 5]), unit="pages")
    with pytest.raises(ValueError, match="no pages: the split is empty"):
        sort_answered(np.array([], np.int64), unit="pages")
