"""Several runs on one page: what stands beside each other, and what may not."""

import json
import shutil

import pytest

from tarpon.tools import cli
from tarpon.tools.compare import name_runs
from tarpon.tools.record import read_run


@pytest.fixture
def runs(tmp_path, report_runs):
    """Three finished runs on the same trials: two that differ in an option, one of two outings of the same name."""

    def make(place: str, rate: str) -> None:
        folder = report_runs.make_run(tmp_path / place, groups=("m1", "m2"), curves=True)
        (folder / "run.yaml").write_text(f"data: shards\nout: {place}\noptim:\n  lr: {rate}\n")

    make("a/first", "0.001")
    make("a/second", "0.002")
    make("b/first", "0.001")
    return tmp_path


def test_scores_stand_beside_each_other_with_their_intervals(runs, report_runs, capsys):
    metrics = json.loads((runs / "a/second/metrics.json").read_text())
    metrics["test"] |= {"macro_f1": 0.25, "macro_f1_low": 0.125, "macro_f1_high": 0.5}
    del metrics["test"]["edit"]
    (runs / "a/second/metrics.json").write_text(json.dumps(metrics))
    assert cli.main(["report", str(runs / "a/first"), str(runs / "a/second")]) == 0
    page = report_runs.Page(runs / "a/compare.html")
    head, *rows = page.rows["scores"]
    assert head == ["on test", "first", "second"]
    found = {row[0].split(":")[0]: row[1:] for row in rows}
    first = json.loads((runs / "a/first/metrics.json").read_text())["test"]
    interval = f"({first['macro_f1_low']:.3f} to {first['macro_f1_high']:.3f})"
    assert found["Macro F1"] == [f"{first['macro_f1']:.3f} {interval}", "0.250 (0.125 to 0.500)"]
    assert found["Edit score"][1] == "–"
    assert "the same 2 samples in every run" in page.text["scores"]
    told = capsys.readouterr().out
    assert f"first {first['macro_f1']:.3f}  second 0.250" in told
    assert told.endswith(f"report: {runs / 'a/compare.html'}\n")


def test_curves_lie_over_each_other_and_only_what_differs_is_listed(runs, report_runs):
    assert cli.main(["report", str(runs / "a/first"), str(runs / "a/second"), "--out", str(runs / "pages")]) == 0
    page = report_runs.Page(runs / "pages/compare.html")
    loss, *scores = page.alternatives["training"]
    assert loss == "Training loss, lines, over optimizer step: first from 1 to 0.333; second from 1 to 0.333."
    assert scores == ["Macro F1 on validation, lines, over optimizer step: first from 0.4 to 0.4; second from 0.4 to 0.4."]
    assert page.rows["options-that-differ"] == [["option", "first", "second"], ["optim.lr", "0.001", "0.002"]]
    assert "In metrics.json: test, macro_f1." in page.text["how-the-scores-are-measured"]


def test_runs_of_one_name_are_told_apart_by_the_folders_above(runs):
    records = [read_run(runs / place) for place in ("a/first", "a/second", "b/first")]
    assert name_runs(records[:2]) == ["first", "second"]
    assert name_runs(records) == ["a/first", "a/second", "b/first"]


def refusal(capsys, *words: str) -> str:
    assert cli.main(["report", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_runs_that_are_not_of_the_same_thing_are_refused_in_a_line(runs, report_runs, capsys):
    first = str(runs / "a/first")
    other = report_runs.make_run(runs / "other", groups=("m1", "m2", "m3"))
    assert "their test splits differ in 1 of 3 samples, such as 'test_trial_2'" in refusal(capsys, first, str(other))
    shutil.rmtree(other)
    report_runs.make_run(other, splits=("val",))
    assert "one was scored on test, the other on val" in refusal(capsys, first, str(other))
    shutil.rmtree(other)
    report_runs.make_run(other, classes=["rest", "lick", "walk"])
    assert "their classes are rest, paw_withdraw, walk and rest, lick, walk" in refusal(capsys, first, str(other))
    (other / "run.json").write_text('{"task": "fish"}')
    assert "one is of the task mouse, the other of fish" in refusal(capsys, first, str(other))
    (other / "metrics.json").unlink()
    assert "its training has not finished" in refusal(capsys, first, str(other))
    assert "a run is given twice" in refusal(capsys, first, f"{first}/../first")
    assert not (runs / "a/compare.html").exists()


def test_a_page_goes_where_it_is_asked_to_and_the_run_folder_stays_as_it_was(runs, report_runs, capsys):
    run = runs / "a/first"
    before = sorted(path.name for path in run.iterdir())
    for out, page in (("pages", "pages/report.html"), ("pages/mine.html", "pages/mine.html")):
        assert cli.main(["report", str(run), "--out", str(runs / out)]) == 0
        assert "Run first" in report_runs.Page(runs / page).text["head"]
    assert sorted(path.name for path in run.iterdir()) == before
    assert "give a folder, or a file that ends with .html" in refusal(capsys, str(run), "--out", str(run / "run.yaml"))


def test_the_whole_of_a_page_that_is_elsewhere_leads_back_to_the_run(runs):
    record = read_run(runs / "a/first", page=runs / "pages")
    assert record.link("review.html") == "../a/first/review.html"
    assert read_run(runs / "a/first").link("review.html") == "review.html"
