"""The tables of a labelled recording, by hand: what a row says, and that every frame is in one bout."""

import csv

import numpy as np

from tarpon.tools.mouse.label_files import write_actions, write_bouts

CLASSES = ["rest", "walk"]
PROBS = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], np.float32)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_bouts_by_hand(tmp_path):
    actions = np.array([0, 0, 1, 1, 1])  # a filter gave frames 3 and 4 to walk
    assert write_bouts(tmp_path / "b.csv", actions, PROBS, CLASSES, edges=np.arange(6) / 25) == 2
    assert rows_of(tmp_path / "b.csv") == [
        ["Bout", "Action", "Onset", "Offset", "Frames", "Onset_s", "Offset_s", "Duration_s", "Mean_prob"],
        ["1", "rest", "0", "1", "2", "0.0000", "0.0800", "0.0800", "0.80000"],
        ["2", "walk", "2", "4", "3", "0.0800", "0.2000", "0.1200", "0.56667"],
    ]


def test_seconds_are_where_frames_begin_and_end_not_a_rate(tmp_path):
    edges = np.array([0, 0.1, 0.5, 0.6, 2.0, 2.25])
    write_bouts(tmp_path / "b.csv", np.array([0, 0, 1, 1, 1]), PROBS, CLASSES, edges=edges)
    assert [row[5:8] for row in rows_of(tmp_path / "b.csv")[1:]] == [
        ["0.0000", "0.5000", "0.5000"],
        ["0.5000", "2.2500", "1.7500"],
    ]


def test_one_frame_is_one_bout(tmp_path):
    assert write_bouts(tmp_path / "b.csv", np.array([1]), PROBS[:1], CLASSES, edges=np.arange(2) / 10) == 1
    assert rows_of(tmp_path / "b.csv")[1:] == [["1", "walk", "0", "0", "1", "0.0000", "0.1000", "0.1000", "0.10000"]]


def test_a_frame_has_the_action_it_is_given_and_the_probabilities_of_the_model(tmp_path):
    write_actions(tmp_path / "a.csv", np.array([0, 0, 1, 1, 1]), PROBS, CLASSES)
    header, *rows = rows_of(tmp_path / "a.csv")
    assert header == ["Frame", "Action", "rest_prob", "walk_prob"]
    assert rows[3] == ["3", "walk", "0.60000", "0.40000"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    assert not list(tmp_path.glob(".*"))
