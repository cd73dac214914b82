"""A run folder is written, reported, and the page is parsed as a browser would: sections, tables, images, addresses."""

import json

import numpy as np
import pytest

from tarpon.tools.report import write_report


@pytest.fixture(scope="module")
def whole(tmp_path_factory, report_runs):
    """(run folder, its page, the frames that were asked for)"""
    run = report_runs.make_run(tmp_path_factory.mktemp("runs") / "mouse-7", groups=("m1", "m2", "m3"), curves=True)
    asked = {}
    return run, report_runs.Page(write_report(run, frames=report_runs.grey_frames(asked))), asked


def test_every_section_is_there_in_order_with_its_pictures(whole, report_runs):
    run, page, _ = whole
    assert [name for name in page.text if name != "head"] == report_runs.SECTIONS
    assert "Run mouse-7" in page.text["head"]
    assert {name: len(page.pictures(name)) for name in report_runs.SECTIONS} == {
        "result": 0,
        "how-the-split-was-made": 0,
        "training": 2,
        "classes": 2,
        "bouts": 0,
        "labels-from-probabilities": 0,
        "trials": 0,
        "ethograms": 1,
        "keypoints": 3,
        "how-the-scores-are-measured": 0,
        "all-metrics": 0,
        "configuration-and-machine": 0,
    }
    assert all(picture.std() > 5 for name in report_runs.SECTIONS for picture in page.pictures(name))  # not blank
    assert (run / "report.html").stat().st_size < 3e6


def test_nothing_is_fetched_and_nothing_runs(whole):
    run, page, _ = whole
    assert page.addresses
    within = {address for address in page.addresses if address.startswith("#")}
    assert all(address.startswith("data:image/png;base64,") for address in {*page.addresses} - within)
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
    text = (run / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_headlines_are_the_test_scores_with_interval_and_bar(whole):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    text = page.text["result"]
    for name in (
        "macro_f1",
        "f1_paw_withdraw",
        "accuracy",
        "segment_f1_50",
        "edit",
        "keypoint_mae",
        "macro_f1_low",
        "macro_f1_high",
        "majority_macro_f1",
    ):
        assert f"{scores[name]:.3f}" in text, name
    assert f"95% interval over groups {scores['macro_f1_low']:.3f} to {scores['macro_f1_high']:.3f}" in text
    assert "always the commonest class: 0.600" in text  # three fifths of every trial are rest
    assert f"{scores['keypoint_mae_px']:.1f} px" in text


def test_every_headline_leads_to_how_it_was_measured(whole):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    names = ("macro_f1", "f1_paw_withdraw", "accuracy", "segment_f1_50", "edit", "keypoint_mae")
    links = [address.removeprefix("#") for address in page.addresses if address.startswith("#")]
    assert links == [f"measured-{name}" for name in names]
    assert set(links) <= page.ids
    text = page.text["how-the-scores-are-measured"]
    assert all(f"In metrics.json: test, {name}." in text for name in names)
    with_interval = sum(f"{name}_low" in scores for name in names)
    assert text.count("1,000 resamples of whole groups") == with_interval == 3


def test_pictures_say_what_they_show(whole):
    loss, scores = whole[1].alternatives["training"]
    assert loss == "Loss, lines, over optimizer step: training loss from 1 to 0.333."
    assert scores.startswith("Scores on validation, lines, over optimizer step: macro F1 from 0.4 to 0.4")
    bars, confusion = whole[1].alternatives["classes"]
    assert bars.startswith("bars, over F1 (n = true frames): rest ")
    assert "paw_withdraw " in confusion
    assert confusion.startswith("a map of 3 rows and 3 columns, true over predicted: rest ")


def test_every_table_has_heads_of_columns_and_of_rows(whole):
    page = whole[1]
    assert {*page.heads} == {"col", "row"}
    rows = sum(len(rows) for rows in page.rows.values())
    tables = (whole[0] / "report.html").read_text().count("<table>")
    assert page.heads.count("row") == rows - tables


def test_the_split_is_told_in_words(whole):
    text = whole[1].text["how-the-split-was-made"]
    assert "test: 3 trials of 3 groups (test m1, test m2, test m3)." in text
    assert "Test was read once" in text
    assert "Leak" not in text


def test_the_class_table_agrees_with_the_metrics(whole, report_runs):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    header, *rows = page.rows["classes"]
    assert header == ["class", "true frames", "share", "precision", "recall", "F1", "95% of F1"]
    assert [row[0] for row in rows] == report_runs.CLASSES
    for name, frames, share, precision, recall, f1, interval in rows:
        assert int(frames) == scores[f"support_{name}"]
        assert share == f"{scores[f'support_{name}'] / 120:.1%}"
        got = (float(precision), float(recall), float(f1))
        assert got == pytest.approx([scores[f"{kind}_{name}"] for kind in ("precision", "recall", "f1")], abs=6e-4)
        ends = [scores[f"f1_{name}_{end}"] for end in ("low", "high")]
        assert [float(end) for end in interval.split(" to ")] == pytest.approx(ends, abs=6e-4)


def test_the_bout_table_agrees_with_the_metrics(whole, report_runs):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    rows = page.rows["bouts"][: 1 + len(report_runs.CLASSES)]
    assert rows[0][:4] == ["class", "true bouts", "predicted bouts", "found"]
    for name, true, predicted, found, length, *_ in rows[1:]:
        assert int(true) == scores[f"bouts_true_{name}"]
        assert int(predicted) == scores[f"bouts_pred_{name}"]
        assert int(found) <= int(true)
        assert int(length) % 4 == 0  # every bout of the made trials is 8, 16 or 24 frames long


def test_the_trial_table_has_one_row_a_trial(whole):
    header, *rows = whole[1].rows["trials"]
    assert [row[:3] for row in rows] == [[f"test_trial_{i}", f"test m{i + 1}", "40"] for i in range(3)]
    assert {len(row) for row in rows} == {len(header)}
    assert all(row[-1] == "0.010" for row in rows)  # every predicted point is 0.01 off


def test_frames_are_asked_for_in_order_and_the_points_table_has_the_error(whole):
    _, page, asked = whole
    assert list(asked) == [f"test_trial_{i}" for i in range(3)]
    assert all(places == sorted(set(places)) and {10, 30} <= set(places) for places in asked.values())
    rows = {row[0]: row[1:] for row in page.rows["keypoints"]}
    assert rows["mouth"][:3] == ["120", "0.0100", f"{0.01 * (64 + 48) / 2:.1f}"]
    assert rows["all points"][0] == "240"
    yellow = [(np.abs(image.astype(int) - (255, 213, 0)).max(-1) < 40).sum() for image in page.pictures("keypoints")]
    assert min(yellow) > 20


def test_configuration_machine_and_all_scores_are_listed(whole):
    run, page, _ = whole
    assert (run / "run.yaml").read_text() in page.text["configuration-and-machine"]
    assert ["machine.gpu", "one H200"] in page.rows["configuration-and-machine"]
    assert ["versions.torch", "2.11"] in page.rows["configuration-and-machine"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row[0] for row in page.rows["all-metrics"][1:]} == set(metrics["test"]) | set(metrics["val"])
