"""The page of a cells run: its numbers are those of metrics.json and of hand-counted pages, its warnings come first."""

import html
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from PIL import Image

from tarpon.tools import cli
from tarpon.tools.cells import report
from tarpon.tools.cells.report import SECTIONS_OF_RUN
from tarpon.tools.record import read_run
from tarpon.tools.report import run
from tarpon.train.tasks.cells.losses import target_hours
from tarpon.train.tasks.cells.metrics.predictions import PageRows, save_rows
from tarpon.train.tasks.cells.metrics.scores import score

SECTIONS = ["Result", "How the split was made", "Training", "Validation", "Stacks", "Windows of time", "Hours", "Calibration"]
SECTIONS += ["Where it looks", "How the scores are measured", "All metrics", "Configuration and machine"]
COUNT = 16  # pages of a stack: 8 hours


def rows_of(*, wells: tuple[str, ...] = ("b2", "c2"), first: float = 0.0) -> PageRows:
    """A stack a well, of infected ones b; all right but the first two pages of b2, hours told 1 h late.

    Before the onset at 2 h, b2 and c2 are a guess: the AUC is 0.5.
    """
    well, page = np.repeat(wells, COUNT), np.tile(np.arange(COUNT), len(wells))
    label = np.char.startswith(well, "b").astype(int)
    clock = (page / 2 + first * label).astype(np.float32)
    target = target_hours(clock, label == 1)
    missed = (well == "b2") & (page < 2)
    words = {name: np.char.add(well, "_p1") for name in ("key", "stack", "path")}
    return PageRows(
        clamp_range=(0.0, 48.0),
        **words,
        well=well,
        position=np.full(len(page), "1"),
        page=page,
        label=label,
        prob=np.where(missed, 0.3, np.where(label, 0.9, np.where(page < 4, 0.4, 0.1))).astype(np.float32),
        clock=clock,
        target=target,
        predicted=target + np.float32(1),
        constant=np.full(len(page), 3.0, np.float32),
        constant_class=np.full(len(page), 3.0, np.float32),
        onset=np.full(len(page), 2.0, np.float32),
    )


def make_run(folder, *, splits=("val", "test"), data="nowhere", rows=None):
    metrics = {}
    folder.mkdir(exist_ok=True)
    for split in splits:
        held = (rows or {}).get(split) or rows_of()
        save_rows(folder / "predictions" / f"{split}.npz", held)
        metrics[split] = score(held, resamples=50)
    (folder / "metrics.json").write_text(json.dumps(metrics | {"best_step": 1}))
    (folder / "run.yaml").write_text(f"data: {data}\n")
    (folder / "run.json").write_text('{"task": "cells"}')
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 1, "val/auc": 0.5, "val/mae": 3.0}\n')
    return folder


def sections(path):
    """Heading -> (words, table rows, number of images, warnings)."""
    found = {}
    for part in re.findall(r"<section.*?</section>", path.read_text(), flags=re.S):
        heading, body = re.search(r"<h2>(.*?)</h2>(.*)", part, flags=re.S).groups()
        lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in re.findall(r"<tr>(.*?)</tr>", body)]
        body = re.sub(r'src="[^"]*"', "", body)
        warned = [html.unescape(words) for words in re.findall(r'<p class="warn">(.*?)</p>', body)]
        words = html.unescape(re.sub(r"<[^>]+>", " ", body))
        found[heading] = (words, lines, body.count("<img"), warned)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "resnet")
    with redirect_stdout(StringIO()) as said:
        assert run(str(folder)) == 0
    assert "test Error of the hours      1.000" in said.getvalue()
    return folder, sections(folder / "report.html")


def test_every_section_is_there_in_order_with_its_pictures(page):
    _, found = page
    assert list(found) == SECTIONS
    assert [found[name][2] for name in SECTIONS] == [0, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0]


def test_headlines_are_the_scores_with_the_constant_answer_beside(page):
    folder, found = page
    scores = json.loads((folder / "metrics.json").read_text())["test"]
    words = found["Result"][0]
    for name, label, _ in report.HEADLINES:
        assert re.search(rf"test: {label}\s+{scores[name]:.3f}\s", words), name
    assert f"always the median of training: {scores['constant_mae']:.3f}" in words
    assert scores["mae"] == 1.0


def test_the_warning_stands_above_the_result(page):
    words, _, _, warned = page[1]["Result"]
    assert len(warned) == 1
    assert "all uninfected and all infected stacks of test and val come from one well" in warned[0]
    assert words.index("Class and well") < words.index("test: AUC")


def test_wells_that_differ_between_the_splits_are_not_confounded(tmp_path):
    folder = make_run(tmp_path / "run", rows={"val": rows_of(wells=("b3", "c3"))})
    assert report.list_warnings(read_run(folder)) == []


def test_the_card_and_the_clock_warn(tmp_path, cells_lab, pack_cells):
    manifest, _ = pack_cells(cells_lab, tmp_path / "shards")  # split by stack: wells stand on both sides
    rows = rows_of(wells=("b2", "b3", "c2", "c3"), first=4.0)
    warned = report.list_warnings(read_run(make_run(tmp_path / "run", data=manifest.root, rows={"test": rows})))
    assert warned[0].startswith("There are no pages of both classes from before the onset")  # infected ones begin at hour 4
    assert warned[1].startswith("The shards warn: no well holds both classes")
    assert "The clock alone" in warned[-1]
    assert len(warned) == 3


def test_a_control_that_is_no_guess_is_warned_of_and_one_that_is_stands_below_the_headlines(page, tmp_path):
    words, _, _, warned = page[1]["Result"]
    assert "AUC is 0.500: near 0.5, a guess, as it must be" in words
    assert not any("Before the onset" in line for line in warned)
    rows = rows_of(wells=("b2", "b3", "c2", "c3"))
    told = replace(rows, prob=np.where(rows.label == 1, 0.9, 0.1).astype(np.float32))
    folder = make_run(tmp_path / "run", rows={"test": told})
    assert report.list_warnings(read_run(folder))[0].startswith(
        "Before the onset, where nothing of the infection is to be seen"
    )
    assert run(str(folder)) == 0
    words = sections(folder / "report.html")["Result"][0]
    assert "test: AUC before the onset 1.000" in " ".join(words.split())
    assert "95% interval over wells 1.000 to 1.000" in words
    assert "as it must be" not in words


def test_each_well_s_own_onset_stands_in_the_page_the_summary_and_the_results(tmp_path):
    """b3 is infected at hour 5 and told infected from the start: before hour 2, where all is a guess, nothing of it shows."""
    rows = rows_of(wells=("b2", "b3", "c2", "c3"))
    late = rows.well == "b3"
    prob = np.where(late & (rows.clock >= 2), 0.9, np.where(rows.clock < 2, 0.4, rows.prob)).astype(np.float32)
    rows = replace(rows, prob=prob, onset=np.where(late, 5, 2).astype(np.float32))
    folder = make_run(tmp_path / "run", rows={"test": rows})
    assert run(str(folder)) == 0
    # b2's 4 pages tie with 8 healthy ones; b3's 10 pages are held against 20: 4 tie with 8 and lie above 12, 6 above all
    expected = (0.5 * 4 * 8 + 4 * (0.5 * 8 + 12) + 6 * 20) / (4 * 8 + 10 * 20)
    held = json.loads((folder / "results.json").read_text())
    assert held["scores"]["test"]["auc_before_onset"] == pytest.approx(expected)
    assert held["control"]["test"]["meaning"].startswith("Before each well's own onset (2 to 5 h), where nothing")
    assert not held["control"]["test"]["near_guess"]
    assert (
        f"Before each well's own onset (2 to 5 h), where nothing of the infection is to be seen, AUC is {expected:.3f}"
        in (folder / "training_summary.txt").read_text()
    )
    warned = sections(folder / "report.html")["Result"][3]
    assert warned[0].startswith("Before each well's own onset (2 to 5 h)")


def test_data_that_were_moved_are_given_by_option(tmp_path, cells_shards, capsys):
    """A run whose stored folder is gone: one note without --data; with it what the shards tell is in the page."""
    names = {name: np.array(cells_shards.column(name)).astype(str) for name in ("key", "stack", "well")}
    tested = np.flatnonzero(np.array(cells_shards.column("split")) == "test")[:COUNT]
    rows = replace(rows_of(wells=("b2",)), **{name: values[tested] for name, values in names.items()})
    folder = make_run(tmp_path / "run", data="/gone/shards", rows={"test": rows})
    assert run(str(folder)) == 0
    said = capsys.readouterr().out
    assert said.count("note: the run's data /gone/shards are not there") == said.count("give --data FOLDER") == 1
    assert "The shards (/gone/shards) are not there" in sections(folder / "report.html")["How the split was made"][0]
    assert run(str(folder), data=cells_shards.root) == 0
    assert "note:" not in capsys.readouterr().out
    assert "split by well" in sections(folder / "report.html")["How the split was made"][0]


def test_data_that_are_not_the_run_s_are_refused_in_one_line(tmp_path, cells_shards, fish_shards, capsys):
    folder = str(make_run(tmp_path / "run"))
    for data, said in (
        (str(tmp_path / "none"), "are not there; give --data FOLDER, where they are now"),
        (fish_shards.root, "holds fish data, cells is needed"),
        (cells_shards.root, "has not got 2 pages of the run's test"),
    ):
        assert cli.main(["report", folder, "--data", data]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
    assert cli.main(["report", folder, folder, "--data", cells_shards.root]) == 2
    assert "of one run" in capsys.readouterr().err


def test_the_report_says_how_grey_levels_were_scaled_and_warns_of_what_knows_later_pages(tmp_path):
    for contrast, warns in (("first", False), ("stack", True)):
        folder = make_run(tmp_path / contrast)
        (folder / "run.yaml").write_text(f"data: nowhere\ncontrast: {contrast}\n")
        assert any("contrast=first" in line for line in report.list_warnings(read_run(folder))) == warns
        assert f"scaled with contrast {contrast}" in report.describe_result(read_run(folder))


def test_shards_of_several_wells_split_by_well_raise_no_warning(tmp_path, cells_shards):
    assert report.list_warnings(read_run(make_run(tmp_path / "run", data=cells_shards.root))) == []


def test_the_split_tells_whether_test_wells_are_new(tmp_path, cells_shards):
    stack, well = (np.array(cells_shards.column(name)).astype(str) for name in ("stack", "well"))
    own = well == well[0]
    for tested, seen in ((np.unique(stack[own]), False), (stack[:1], True)):  # the well's two stacks, or one of them alone
        rows = rows_of(wells=tuple(f"b{i}" for i in range(len(tested))))
        named = {"stack": np.repeat(tested, COUNT), "well": np.full(len(rows), well[0])}
        rows = PageRows(**{name: getattr(rows, name) for name in (*rows.arrays(), "clamp_range")} | named)
        folder = make_run(tmp_path / f"run_{seen}", data=cells_shards.root, rows={"test": rows})
        words = report.describe_split(read_run(folder))
        assert ('class="warn"' in words) == seen
        assert ("1 of the 1 wells tested have other stacks" in words) == seen
        assert ("None of the 1 wells tested" in words) != seen
        assert "split by well" in words


def test_the_worst_stack_comes_first(page):
    lines = page[1]["Stacks"][1]
    assert lines[1] == ["b2_p1", "b2", "infected", "16", "0.875", "0.825", "1.00", "+1.00"]
    assert lines[2] == ["c2_p1", "c2", "uninfected", "16", "1.000", "0.175", "1.00", "+1.00"]
    assert "1 of 2 stacks have every page" in page[1]["Stacks"][0]


def test_windows_and_hours_agree_with_the_pages(page):
    lines = page[1]["Windows of time"][1]
    assert [line[0] for line in lines[1:]] == ["0 to 6", "3 to 9"]
    assert lines[1][1:4] == ["3", "24", "12"]
    assert lines[1][5] == "0.917"  # 2 of 24 missed
    assert lines[2][4:] == ["1.000"] * 6 + ["1.00"]
    assert page[1]["Hours"][1][1][:3] == ["all", "1.00", "1.00"]
    words = page[1]["Windows of time"][0]
    assert "From hour 6 on AUC is 0.95 or more" in words  # of the window 3 to 9 h; that from 0 to 6 has 0.94
    assert "most of the 32 pages stand in two of them" in words


def test_heat_is_shown_where_it_was_made(page, tmp_path):
    assert "tarpon gradcam RUN" in page[1]["Where it looks"][0]
    folder = make_run(tmp_path / "run")
    Image.fromarray(np.full((60, 110, 3), 200, np.uint8)).save(folder / report.GRADCAM)
    assert "<img" in dict(report.build_sections(read_run(folder)))["Where it looks"]


def test_a_run_that_has_just_begun_is_sentences(tmp_path):
    folder = make_run(tmp_path / "begun", splits=())
    assert run(str(folder)) == 0
    found = sections(folder / "report.html")
    for name in report.SECTIONS:
        assert "no predictions" in found[name][0]


def test_the_other_files_were_written_again(page):
    folder, _ = page
    assert json.loads((folder / "results.json").read_text())["test_metrics"]["reg_mae"] == 1.0
    assert {"training_summary.txt", "prediction_scatter.png", "test_metadata.jsonl"} <= {p.name for p in folder.iterdir()}


def test_curves_are_those_a_reader_follows():
    drawn = ("auc", "combined", "loss", "mae", "auc_low", "f1_high", "constant_mae")
    assert [SECTIONS_OF_RUN.has_curve(name) for name in drawn] == [True, True, True, False, False, False, False]
