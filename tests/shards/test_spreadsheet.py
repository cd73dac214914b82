"""No cell of a CSV that Tarpon writes starts a formula."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards.spreadsheet import Writer, guard, guard_row, guard_table
from tarpon.tools.mouse.label_files import write_actions

ROOT = Path(__file__).resolve().parents[2]
RISKY = ["=1+1", "+cmd", "-cmd|'/C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "--5", "=", "-", "+49 30 12"]
PLAIN = ["grooming", "", "a=b", "-5", "+3.5", "-1e-5", "-inf", "nan", "'=1", "Überzug"]


@pytest.mark.parametrize("text", RISKY)
def test_what_would_start_a_formula_is_text(text):
    assert guard(text) == f"'{text}"


@pytest.mark.parametrize("cell", [*PLAIN, -5, -2.5, 0, None, True])
def test_all_else_stays(cell):
    assert guard(cell) is cell


def test_rows_and_tables_are_guarded_alike():
    out = io.StringIO()
    writer = Writer(out)
    writer.writerow(RISKY)
    writer.writerows([PLAIN, [1, -2.5]])
    rows = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert rows == [[f"'{text}" for text in RISKY], PLAIN, ["1", "-2.5"]]
    assert guard_row({"=name": "=1", "b": 2}) == {"=name": "'=1", "b": 2}
    table = pa.table({"name": [*RISKY, *PLAIN, None], "number": [-1.5] * (len(RISKY) + len(PLAIN) + 1)})
    safe = guard_table(table)
    kept = [text for text in PLAIN if text not in ("-inf",)]
    found = safe["name"].to_pylist()
    assert found[: len(RISKY)] == [f"'{text}" for text in RISKY]
    assert [text for text in found if text in kept] == kept
    assert found[-1] is None
    assert safe["number"].equals(table["number"])
    assert safe.schema == table.schema


def test_a_class_with_a_formulas_name_is_written_as_text(tmp_path):
    write_actions(tmp_path / "a.csv", np.array([0, 1]), np.eye(2), ["=HYPERLINK(1)", "rest"])
    rows = list(csv.reader((tmp_path / "a.csv").open(newline="")))
    assert rows[0] == ["Frame", "Action", "'=HYPERLINK(1)_prob", "rest_prob"]
    assert rows[1][1] == "'=HYPERLINK(1)"


def test_there_is_no_other_writer():
    """Demo data are written to be read by Tarpon."""
    sources = [path for layer in ("shards", "pipelines", "models", "train", "tools") for path in (ROOT / layer).rglob("*.py")]
    plain = [path.name for path in sources if "csv.writer(" in path.read_text() and "demo" not in path.parts]
    assert plain == ["spreadsheet.py"]
