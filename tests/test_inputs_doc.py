"""docs/inputs.md: every row of its tables names tests, and they exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROWS = [line for line in (ROOT / "docs" / "inputs.md").read_text().splitlines() if line.startswith("| ")]


@pytest.fixture(scope="module")
def tests() -> set[str]:
    trees = (ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_tests_that_exist(tests):
    rows = [row for row in ROWS if not row.endswith("| test |")]
    assert len(rows) > 60
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rsplit(" | ", 1)[1])
        assert named, f"no test: {row}"
        assert set(named) <= tests, f"no such test: {sorted(set(named) - tests)}"
