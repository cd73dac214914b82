"""Reads FishNet's annotations, train.csv and test.csv, as one Arrow table with a fault for each unusable row."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from tarpon.shards.bounded_text import check_header
from tarpon.shards.quarantine import Fault

HABITATS = ("Tropical", "Temperate", "Subtropical", "Boreal", "Polar", "freshwater", "saltwater", "brackish")
ORDERS = ("NewOrder", "Order")
NUMBER, FLAG = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$", r"^[01](\.0*)?$"


def read_rows(annotations: Path, *, order_column: str) -> tuple[pa.Table, list[Fault]]:
    """The rows of both files, train first.

    Returns:
        table of source (`<Folder>/<base name of image>`), split (train | test), line (of the file, the header is 1), fault
        (why the row cannot be used, or ""), family, order, species, genus, feeding (null where blank), troph (float64), habitat
        ((8,) int8); troph, feeding and habitat are null together. And a fault for each line with another number of cells.

    Raises:
        ValueError: a file or a column is missing, or a file is no CSV in UTF-8.
    """
    tables, faults = [], []
    for split in ("train", "test"):
        cells, lines, wrong = _read_cells(annotations / f"{split}.csv", order_column=order_column)
        faults += wrong
        tables.append(_make_rows(cells, lines, split=split, order_column=order_column))
    return pa.concat_tables(tables).combine_chunks(), faults


def _read_cells(path: Path, *, order_column: str) -> tuple[pa.Table, np.ndarray, list[Fault]]:
    """(the used columns as stripped text, line of each row, faults of lines with another number of cells)."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; FishNet's annotations are train.csv and test.csv")
    check_header(path)
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        header = next(csv.reader(file), [])
    used = ["image", "Folder", "Genus", "species", "Troph", "FeedingPath", *HABITATS, order_column]
    if missing := [name for name in used if name not in header]:
        raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header) or 'nothing'}")
    bad: list[arrow_csv.InvalidRow] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(use_threads=False),  # with threads a refused row has no number
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=used, column_types=dict.fromkeys(used, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a CSV in UTF-8 ({error})") from error
    refused = np.array([row.number for row in bad], int)
    lines = np.setdiff1d(np.arange(2, 2 + len(table) + len(refused)), refused)
    faults = [
        Fault(file=path.name, row=row.number, reason=f"{row.actual_columns} cells, the header has {row.expected_columns}")
        for row in bad
    ]
    stripped = {name: pc.utf8_trim_whitespace(table[name]).combine_chunks() for name in used}
    return pa.table(stripped), lines, faults


def _make_rows(cells: pa.Table, lines: np.ndarray, *, split: str, order_column: str) -> pa.Table:
    habitats = np.stack([_to_text(cells[name]) for name in HABITATS], 1)
    troph, feeding = _to_text(cells["Troph"]), _to_text(cells["FeedingPath"])
    blank = np.concatenate([(troph == "")[:, None], (feeding == "")[:, None], habitats == ""], 1)
    labelled = ~blank.all(1)
    number = _match(cells["Troph"], NUMBER)
    flags = np.stack([_match(cells[name], FLAG) for name in HABITATS], 1).all(1)
    fault = np.select(
        [labelled & blank.any(1), labelled & ~number, labelled & ~flags],
        ["some attributes are blank and some are not", "Troph is not a number", "a habitat is neither 0 nor 1"],
        default="",
    )
    sound = labelled & (fault == "")
    on = np.where(sound[:, None], habitats, "0").astype("U1") == "1"
    order = cells[order_column]
    if order_column == "NewOrder":  # harmonised: `Perciformes/Percoidei` is one of Perciformes' suborders
        order = pc.utf8_trim_whitespace(pc.replace_substring_regex(order, "/.*", ""))
    name = pc.replace_substring_regex(cells["image"], "^.*/", "")
    return pa.table({
        "source": pc.binary_join_element_wise(cells["Folder"], name, "/"),
        "split": pa.array([split] * len(cells), pa.string()),
        "line": pa.array(lines, pa.int64()),
        "fault": pa.array(fault.tolist(), pa.string()),
        "family": cells["Folder"],
        "order": _null_blanks(order),
        "species": _null_blanks(cells["species"]),
        "genus": _null_blanks(cells["Genus"]),
        "troph": pa.array(np.where(sound, troph, "0").astype(float), mask=~sound),
        "feeding": pa.array(feeding.tolist(), pa.string(), mask=~sound),
        "habitat": pa.ListArray.from_arrays(
            pa.array(np.arange(len(cells) + 1) * len(HABITATS), pa.int32()),
            pa.array(on.ravel().astype(np.int8)),
            mask=pa.array(~sound),
        ),
    })  # fmt: skip


def _to_text(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(str)


def _match(column: pa.ChunkedArray, pattern: str) -> np.ndarray:
    return pc.match_substring_regex(column, pattern).to_numpy()


def _null_blanks(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Blank text as null."""
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
