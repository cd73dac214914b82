"""Columns by kinds: the same to the bit, and small."""

import numpy as np

from tarpon.train.tasks.cells.metrics.coded import encode


def test_columns_come_back_to_the_bit():
    rng = np.random.default_rng(0)
    columns = {
        "hour": rng.choice(np.array([0.0, -0.0, 0.1, np.nan, np.inf], np.float32), 500),
        "name": rng.choice(np.array(["b_p1", "c_p22", ""]), 500),
        "label": rng.integers(-1, 2, 500),
    }
    coded = encode(columns)
    for name, column in columns.items():
        back = coded.column(name)
        assert back.dtype == column.dtype
        assert back.tobytes() == column.tobytes()
    assert coded.number.dtype == np.uint8  # 45 kinds
    assert len(coded.kinds["hour"]) == 45  # 0 and -0 are two hours


def test_no_rows_have_no_kinds():
    coded = encode({"hour": np.empty(0, np.float32), "name": np.empty(0, str)})
    assert coded.column("hour").shape == coded.column("name").shape == (0,)


def test_a_kind_a_row_still_comes_back():
    column = np.arange(70_000).astype(np.float32)
    coded = encode({"hour": column})
    assert coded.number.dtype == np.uint32
    np.testing.assert_array_equal(coded.column("hour"), column)
