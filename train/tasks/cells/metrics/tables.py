"""Predictions of pages as tables for other programs: CSV and Parquet, one row a page. N pages."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tarpon.shards import atomic
from tarpon.shards.spreadsheet import guard_table
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows, save_rows

TABLES = (".csv", ".parquet")


def tabulate(rows: PageRows) -> pa.Table:
    """One row a page, in the order of `rows`; times in hours, by their columns' names."""
    classes = np.array(CONDITIONS)
    return pa.table(
        {
            "key": rows.key.astype(str),
            "path": rows.path.astype(str),
            "stack": rows.stack.astype(str),
            "well": rows.well.astype(str),
            "position": rows.position.astype(str),
            "page": rows.page,
            "hours_since_start": rows.clock,
            "true_class": classes[rows.label],
            "predicted_class": classes[(rows.prob >= THRESHOLD).astype(int)],
            "probability_infected": rows.prob,
            "true_hours": rows.target,
            "predicted_hours": rows.predicted,
        }
    )


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as its suffix says, whole or not at all; in a CSV no name starts a formula.

    Raises:
        ValueError: another suffix.
    """
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(guard_table(table), draft)
        else:
            pq.write_table(table, draft, compression="zstd")


def check_suffix(path: Path) -> None:
    """ValueError unless a table can be written there."""
    if path.suffix not in TABLES:
        raise ValueError(f"{path}: a table's name must end in {' or '.join(TABLES)}")


def write_rows(path: Path, rows: PageRows) -> None:
    """Predictions as npz, or as the table that the suffix says."""
    if path.suffix in TABLES:
        write_table(path, tabulate(rows))
    else:
        save_rows(path, rows)
