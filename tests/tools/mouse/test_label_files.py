"""The tables of a labelled recording, by hand: what a row says, and that every frame is in one bout."""

import csv

import numpy as np
import pytest

from tarpon.shards.sources.mouse.pose_track import read_track
from tarpon.tools.mouse.label_files import write_actions, write_bouts, write_track

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


def test_a_note_is_a_last_column_of_both_tables(tmp_path):
    write_bouts(tmp_path / "b.csv", np.array([0, 1]), PROBS[:2], CLASSES, edges=np.arange(3) / 10, note="no points")
    write_actions(tmp_path / "a.csv", np.array([0, 1]), PROBS[:2], CLASSES, note="no points")
    for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
        assert [row[-1] for row in rows_of(path)] == ["Note", "no points", "no points"]


def test_a_track_reads_back_here_and_as_deeplabcut_and_simba_read_it(tmp_path):
    """DeepLabCut: three header rows into column levels. SimBA: one column a cell, three to a body part, after two rows."""
    pd = pytest.importorskip("pandas")
    xy = np.random.default_rng(0).random((4, 2, 2)) * 100
    write_track(tmp_path / "m.csv", xy, ["nose", "tail"])
    track = read_track(tmp_path / "m.csv", ("nose", "tail"), scorer="DLC_tarpon")
    np.testing.assert_allclose(track.xyl[..., :2], xy, atol=6e-4)
    assert (track.xyl[..., 2] == 1).all()
    frame = pd.read_csv(tmp_path / "m.csv", header=[0, 1, 2], index_col=0)
    assert frame.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(frame.columns) == [
        ("DLC_tarpon", part, coord) for part in ("nose", "tail") for coord in ("x", "y", "likelihood")
    ]
    np.testing.assert_allclose(frame["DLC_tarpon"]["tail"][["x", "y"]].to_numpy(), xy[:, 1], atol=6e-4)
    flat = pd.read_csv(tmp_path / "m.csv", index_col=0).iloc[2:].astype(float)
    assert flat.shape == (4, 3 * 2)
