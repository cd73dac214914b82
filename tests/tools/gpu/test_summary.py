"""Rows of several visits become one record and one Markdown file."""

import json

import pytest

from tarpon.tools.gpu import summary
from tarpon.tools.gpu.journal import Journal

MACHINE = {"gpu": "NVIDIA X1", "cpu": "C", "cores": 2, "memory_gib": 4.0, "versions": {"torch": "2"}}
TIME = {"op": "mix", "shape": [2, 3], "pass": "both", "ceiling_ms": 0.5, "graph_ms": None}


def visited(folder, part: str, step: str, *rows: dict, ok: bool = True) -> None:
    journal = Journal(folder, part)
    journal.write("begin", step)
    for row in rows:
        journal.write(**row, step=step)
    journal.write("step", step, ok=ok, seconds=1.0, said="")


def test_the_last_attempt_that_went_well_counts(tmp_path):
    for number, ok in ((1.0, True), (2.0, True), (3.0, False)):
        row = {"kind": "speed", "name": "loader", "per_second": number, "unit": "frames"}
        visited(tmp_path / f"visit{number:g}", "pipelines", "loader vp9", row, ok=ok)
    summed = summary.collect([tmp_path])
    assert [row["per_second"] for row in summed["rows"]] == [2.0]
    assert [step["ok"] for step in summed["steps"]] == [True]


def test_one_file_of_all_parts(tmp_path):
    visited(tmp_path, "train", "resident", {"kind": "speed", "name": "resident batch", "per_second": 10.0, "unit": "frames"})
    visited(tmp_path, "kernels", "machine", {"kind": "fact", "name": "machine", "value": MACHINE})
    visited(
        tmp_path, "kernels", "time mix",
        {"kind": "time", "name": "a", "way": "eager", "ms": 2.0, "host_ms": 2.0, **TIME},
        {"kind": "time", "name": "b", "way": "fused", "ms": 1.0, "host_ms": 1.0, **TIME},
    )  # fmt: skip
    Journal(tmp_path, "tests").write("step", "tests/a.py::b", ok=False, seconds=1.0, said="assert | 1\n== 2")
    path = summary.write(summary.collect([tmp_path]), tmp_path / "made")
    assert path.name == "nvidia_x1.json"
    assert json.loads(path.read_text())["machine"] == MACHINE
    text = path.with_suffix(".md").read_text()
    assert "| mix | 2x3 | fused | both | 1.0000 |  | 0.5000 | 2.00 |" in text
    assert "| resident batch | 10.0 | frames |" in text
    assert "| tests | tests/a.py::b | assert / 1 == 2 |" in text
    assert "4 steps and tests, 1 not well" in text


def test_a_step_that_was_cut_off_keeps_its_rows(tmp_path):
    journal = Journal(tmp_path, "train")
    journal.write("begin", "resident")
    journal.write("speed", "resident batch", per_second=3.0, unit="frames", step="resident")
    summed = summary.collect([tmp_path])
    assert [row["per_second"] for row in summed["rows"]] == [3.0]
    assert summed["gpu"] is None


@pytest.mark.parametrize(("name", "file"), [("NVIDIA H200", "nvidia_h200"), ("Tesla T4 (x2)/1", "tesla_t4_x2_1")])
def test_files_are_named_for_the_gpu(name, file):
    assert summary.file_name(name) == file
