"""What is read of a run folder, and what is refused by name."""

import json

import numpy as np
import pytest

from tarpon.tools.record import read_run
from tarpon.tools.report import write_report
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials

LOG = "".join(json.dumps({"step": step, "epoch": 0, "loss": 1.0 / step}) + "\n" for step in (1, 2, 3))


@pytest.fixture
def run(tmp_path):
    """A run in progress, without scores."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.yaml").write_text("task: mouse\n")
    (folder / "metrics.jsonl").write_text(LOG)
    return folder


def add_trials(run, split):
    (run / "predictions").mkdir(exist_ok=True)
    trial = Trial(key=split, group="g", actions=np.array([0, 1]), probs=np.eye(2, dtype=np.float32), size=(8, 8))
    save_trials(run / "predictions" / f"{split}.npz", [trial], classes=["rest", "walk"], points=[])


def test_a_run_in_progress_is_read_with_empty_parts(run):
    record = read_run(run)
    assert (record.name, record.config, record.split) == ("run", "task: mouse\n", "")
    assert [line["step"] for line in record.lines] == [1, 2, 3]
    assert (record.task, record.metrics, record.machine, record.predictions) == ("", {}, {}, {})
    assert (record.groups, record.classes) == ({}, [])


def test_test_is_reported_where_there_is_one_and_val_otherwise(run):
    add_trials(run, "val")
    assert read_run(run).split == "val"
    add_trials(run, "test")
    record = read_run(run)
    assert record.split == "test"
    assert record.predictions == {split: run / "predictions" / f"{split}.npz" for split in ("test", "val")}
    assert record.groups == {"test": ["g"], "val": ["g"]}
    assert record.classes == ["rest", "walk"]


def test_predictions_of_a_task_without_groups_or_classes_are_no_fault_and_half_a_file_is(run):
    (run / "predictions").mkdir()
    np.savez(run / "predictions" / "val.npz", hours=np.zeros(3))
    record = read_run(run)
    assert (record.split, record.groups, record.classes) == ("val", {"val": []}, [])
    whole = (run / "predictions" / "val.npz").read_bytes()
    (run / "predictions" / "val.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"val\.npz: not an npz file"):
        read_run(run)


def test_the_task_is_that_of_run_json(run):
    (run / "run.json").write_text(json.dumps({"task": "mouse", "gpu": "two"}))
    assert read_run(run).task == "mouse"


def test_the_machine_is_taken_from_its_file_and_else_from_the_scores(run):
    (run / "metrics.json").write_text(json.dumps({"val": {"accuracy": 0.5}, "machine": {"gpu": "one"}}))
    assert read_run(run).machine == {"gpu": "one"}
    (run / "run.json").write_text(json.dumps({"gpu": "two"}))
    record = read_run(run)
    assert record.machine == {"gpu": "two"}
    assert record.metrics == {"val": {"accuracy": 0.5}}


@pytest.mark.parametrize(
    ("absent", "missing"),
    [
        (("run.yaml", "metrics.jsonl"), "no run.yaml and no metrics.jsonl"),
        (("metrics.jsonl",), "no metrics.jsonl"),
        (("run.yaml",), "no run.yaml"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_by_what_it_lacks(run, absent, missing):
    for name in absent:
        (run / name).unlink()
    with pytest.raises(ValueError, match=missing):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_half_written_last_line_is_passed_over_and_any_other_is_named(run):
    log = run / "metrics.jsonl"
    log.write_text(LOG + '{"step": 9, "lo')
    assert len(read_run(run).lines) == 3
    log.write_text('{"step": 9, "lo\n' + LOG)
    with pytest.raises(ValueError, match=r"metrics\.jsonl:1: "):
        read_run(run)
    log.write_text('{"loss": 1.0}\n' + LOG)
    with pytest.raises(ValueError, match=r"metrics\.jsonl:1: .*with a step"):
        read_run(run)


@pytest.mark.parametrize("text", ["{", "[1, 2]"])
def test_scores_that_are_no_object_are_refused_by_name(run, text):
    (run / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.json: .*one JSON object"):
        read_run(run)
