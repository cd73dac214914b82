"""Predictions as CSV and Parquet: the same rows, the same numbers, and names that start no formula."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from tarpon.train.tasks.cells.metrics.predictions import load_rows
from tarpon.train.tasks.cells.metrics.tables import tabulate, write_rows, write_table


def test_csv_and_parquet_hold_the_predictions(made, tmp_path):
    rows = made([0, 1, 1], [0.25, 0.5, 0.1], [0, 0.5, 1], [0, 2, 3], target=[0, 1, 2], stack=["=a", "b", "b"])
    for suffix in (".csv", ".parquet", ".npz"):
        write_rows(tmp_path / f"p{suffix}", rows)
    with open(tmp_path / "p.csv", newline="") as file:
        told = list(csv.DictReader(file))
    stored = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [line["predicted_class"] for line in told] == ["uninfected", "infected", "uninfected"]  # 0.5 is a yes
    assert [line["true_class"] for line in stored] == ["uninfected", "infected", "infected"]
    assert [line["stack"] for line in told] == ["'=a", "b", "b"]
    for name, values in (("probability_infected", rows.prob), ("predicted_hours", rows.predicted), ("true_hours", rows.target)):
        np.testing.assert_allclose([float(line[name]) for line in told], values)
        np.testing.assert_array_equal(np.float32([line[name] for line in stored]), values)
    np.testing.assert_array_equal(load_rows(tmp_path / "p.npz").prob, rows.prob)


def test_another_suffix_is_refused(made, tmp_path):
    rows = replace(made([0], [0.1], [0], [0]))
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet"):
        write_table(tmp_path / "p.xlsx", tabulate(rows))
    assert not list(tmp_path.iterdir())
