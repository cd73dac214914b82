"""`--ann-root` of the published trainer: the labels lie with the features already, so the files may only agree with them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tarpon.shards.features import FeatureTable
from tarpon.shards.sources.fish.rows import ORDERS, read_rows

LABELS = ("family", "order", "troph", "feeding", "habitat")


def compare_labels(table: FeatureTable, annotations: Path) -> str:
    """Compare the features' labels with a folder of train.csv and test.csv; returns a line with the number of rows that agree.

    Raises:
        ValueError: a file is missing, no row is of these features, or a label differs: naming the first.
    """
    if "source" not in table.labels.column_names:
        raise ValueError(f"annotations={annotations}: these features do not tell their images' names; leave --ann-root out")
    wrong = {column: _differences(table, annotations, order_column=column) for column in ORDERS[:1]}
    if wrong[ORDERS[0]][1].startswith("order"):  # perhaps packed with the orders as the sources name them
        wrong[ORDERS[1]] = _differences(table, annotations, order_column=ORDERS[1])
    found, said = min(wrong.values(), key=lambda one: bool(one[1]))
    if not found:
        raise ValueError(
            f"annotations={annotations}: no row is of an image of {table.root}, e.g. {table.labels['source'][0]}; the "
            f"features' labels count, so leave --ann-root out or give the folder they were made with"
        )
    if said:
        raise ValueError(
            f"annotations={annotations} contradict the labels of {table.root}: {said}; pack or import again with these "
            f"annotations, or leave --ann-root out"
        )
    return f"labels    those of the features; {annotations} holds {found} of {len(table)} rows, and they are the same"


def _differences(table: FeatureTable, annotations: Path, *, order_column: str) -> tuple[int, str]:
    """Rows of the features that the files hold, and what is wrong with the first that differs, or ""."""
    rows, _ = read_rows(annotations, order_column=order_column)
    source = table.labels["source"].combine_chunks()
    index = pc.index_in(source, value_set=rows["source"].combine_chunks())
    has_row = index.is_valid().to_numpy(zero_copy_only=False)
    annotated = rows.take(index.drop_null())
    own = table.labels.filter(pa.array(has_row))
    for name in LABELS:
        if name not in own.column_names:
            continue
        ours, theirs = own[name].to_pylist(), annotated[name].to_pylist()
        for at, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if not _same(one, other):
                return len(own), f"{name} of {own['source'][at]} is {one} here and {other} there"
    return int(has_row.sum()), ""


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.float32(one) == np.float32(other))  # as a table keeps it
    return one == other
