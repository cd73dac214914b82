"""Runs of every kind have a report: unfinished ones, those without points or a test split, and those that hold a fault."""

import json

import numpy as np
import pytest

from tarpon.tools.report import run, write_report
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials


def test_every_bout_of_the_rare_class_is_told(tmp_path, report_runs):
    run = report_runs.make_run(tmp_path / "run", splits=("test",), groups=("m1",))
    true = np.array([0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0])
    answers = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    blind = Trial(key="blind", group="m", actions=true, probs=np.eye(3, dtype=np.float32)[0 * true], size=(64, 48))
    seen = Trial(key="seen", group="m", actions=true, probs=np.eye(3, dtype=np.float32)[answers], size=(64, 48))
    save_trials(run / "predictions" / "test.npz", [blind, seen], classes=report_runs.CLASSES, points=[])
    rows = report_runs.Page(write_report(run)).rows["bouts"][1 + len(report_runs.CLASSES) :]
    assert rows == [
        ["trial with paw_withdraw", "true onset", "true offset", "predicted onset", "predicted offset", "overlap"],
        ["blind", "2", "5", "–", "–", "0.00"],
        ["blind", "9", "9", "–", "–", "0.00"],
        ["seen", "2", "5", "4", "7", "0.33"],
        ["seen", "9", "9", "4", "7", "0.00"],
    ]


def test_a_long_list_of_rare_bouts_is_cut_and_says_so(tmp_path, report_runs):
    run = report_runs.make_run(tmp_path / "run", splits=("test",), groups=("m1",))
    true = np.arange(140) % 2
    trial = Trial(key="flicker", group="m", actions=true, probs=np.eye(3, dtype=np.float32)[true], size=(64, 48))
    save_trials(run / "predictions" / "test.npz", [trial], classes=report_runs.CLASSES, points=[])
    page = report_runs.Page(write_report(run))
    assert len(page.rows["bouts"]) == 1 + len(report_runs.CLASSES) + 1 + 50
    assert "The first 50 of 70 are listed." in page.text["bouts"]


def test_a_run_that_names_no_task_gets_what_every_task_has_and_an_unknown_task_is_refused(tmp_path, report_runs):
    run = report_runs.make_run(tmp_path / "run", splits=("test",))
    (run / "run.json").unlink()
    page = report_runs.Page(write_report(run))
    general = ["result", "how-the-split-was-made", "training", "all-metrics", "configuration-and-machine"]
    assert [name for name in page.text if name != "head"] == general
    assert "does not say which task" in page.text["result"]
    assert "test: 2 samples of 2 groups" in page.text["how-the-split-was-made"]
    assert "not recorded" in page.text["configuration-and-machine"]
    (run / "run.json").write_text('{"task": "weather"}')
    with pytest.raises(ValueError, match=r"'weather' run; there is: mouse"):
        write_report(run)


def test_the_frame_with_the_largest_error_is_shown(tmp_path, report_runs):
    run = report_runs.make_run(tmp_path / "run", splits=("test",), groups=("m1",))
    trial = report_runs.make_trial("only", "m", seed=1)
    trial.keypoints_pred[17] += 0.3
    save_trials(run / "predictions" / "test.npz", [trial], classes=report_runs.CLASSES, points=report_runs.POINTS)
    asked = {}
    write_report(run, frames=report_runs.grey_frames(asked))
    assert asked == {"only": [10, 17, 30]}


def test_words_from_the_folder_are_text_and_never_markup(tmp_path, report_runs):
    evil = "<script>alert(1)</script>"
    classes = ["rest", f"{evil}\"'&", "walk"]
    run = report_runs.make_run(tmp_path / "a <b>&amp; run", classes=classes, groups=(evil, "m2"))
    (run / "run.yaml").write_text(f"note: '</pre>{evil}'\n")
    (run / "run.json").write_text(json.dumps({"task": "mouse", evil: {"<img src=x onerror=y>": evil}}))
    (run / "metrics.json").write_text(json.dumps({"test": {"macro_f1": 0.5, evil: 0.25}}))
    path = write_report(run)
    page = report_runs.Page(path)
    assert "<script" not in path.read_text()
    assert "<img src=x" not in path.read_text()
    assert "script" not in page.tags
    assert page.rows["classes"][2][0] == classes[1]
    assert page.rows["trials"][1][1] == f"test {evil}"
    assert [evil, "0.2500"] in page.rows["all-metrics"]
    assert evil in page.text["configuration-and-machine"]
    assert "a <b>&amp; run" in page.text["head"]


def test_without_a_test_split_val_is_shown_and_said_to_flatter(tmp_path, report_runs):
    page = report_runs.Page(write_report(report_runs.make_run(tmp_path / "run", splits=("val",))))
    assert "val: Macro F1" in page.text["result"]
    assert "There is no test split" in page.text["result"]
    assert "Test was read once" not in page.text["how-the-split-was-made"]
    assert page.rows["trials"][1][0] == "val_trial_0"


def test_without_keypoints_their_figures_are_left_out_with_a_sentence(tmp_path, report_runs):
    page = report_runs.Page(
        write_report(report_runs.make_run(tmp_path / "run", keypoints=False), frames=report_runs.grey_frames({}))
    )
    assert "no predicted keypoints" in page.text["keypoints"]
    assert "Not defined in this run: Keypoint error." in page.text["result"]
    assert page.pictures("keypoints") == []
    assert page.rows["trials"][1][-1] == "–"


def test_without_stored_frames_the_points_table_stays(tmp_path, report_runs):
    page = report_runs.Page(write_report(report_runs.make_run(tmp_path / "run")))
    assert "No stored frames were given" in page.text["keypoints"]
    assert page.pictures("keypoints") == []
    assert page.rows["keypoints"][1][0] == "mouth"


def test_a_run_that_has_just_begun_has_a_report_of_sentences(tmp_path, report_runs):
    page = report_runs.Page(write_report(begun(tmp_path)))
    assert [name for name in page.text if name != "head"] == report_runs.SECTIONS
    assert page.images == {}
    assert "no bouts to compare" in page.text["bouts"]
    assert "training has not finished" in page.text["result"]
    assert "no curves" in page.text["training"]


def test_one_group_has_no_interval_and_says_so(tmp_path, report_runs):
    page = report_runs.Page(write_report(report_runs.make_run(tmp_path / "run", groups=("m1",))))
    assert "no interval" in page.text["result"]
    assert "test: 1 trial of 1 group (test m1)." in page.text["how-the-split-was-made"]


def test_a_leak_and_a_test_split_read_twice_are_told(tmp_path, report_runs):
    run = report_runs.make_run(tmp_path / "run", groups=("m1",))
    save_trials(
        run / "predictions" / "val.npz",
        [report_runs.make_trial("v", "test m1", seed=0)],
        classes=report_runs.CLASSES,
        points=report_runs.POINTS,
    )
    (run / "metrics.jsonl").write_text('{"step": 4, "test/macro_f1": 0.4}\n{"step": 5, "test/macro_f1": 0.5}\n')
    text = report_runs.Page(write_report(run)).text["how-the-split-was-made"]
    assert "Leak: test m1" in text
    assert "never by frame" not in text
    assert "2 readings of test" in text
    assert "Test was read once" not in text


def begun(folder):
    """The folder of a run that has just begun."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text("seed: 1\n")
    (folder / "run.json").write_text('{"task": "mouse"}')
    (folder / "metrics.jsonl").write_text("")
    return folder


def test_the_command_says_where_the_page_is(tmp_path, capsys):
    assert run(str(begun(tmp_path))) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out


def test_another_place_can_be_asked_for_and_no_draft_stays(tmp_path):
    run = begun(tmp_path / "run")
    assert write_report(run, out=tmp_path / "page.html") == tmp_path / "page.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]
    assert not (run / "report.html").exists()


def test_what_could_not_be_read_is_told_with_the_scores_and_listed(tmp_path, report_runs):
    folder = report_runs.make_run(tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"] |= {"rows": 7.0, "rows_of": 9.0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    line = {"tar": "shard-00001.tar", "key": "<b>k7</b>", "offset": 512, "error": "clip: checksum differs", "process": 1}
    (folder / "quarantine.jsonl").write_text(json.dumps(line) + "\n")
    html = write_report(folder).read_text()
    assert "over 7 of 9 rows of test" in html
    assert "1 sample could not be read" in html
    assert "shard-00001.tar" in html
    assert "<b>k7</b>" not in html
    (folder / "quarantine.jsonl").unlink()
    assert "could not be read. In training" not in write_report(folder).read_text()
