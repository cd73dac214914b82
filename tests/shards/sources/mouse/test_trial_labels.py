"""Annotation files into the labels of one trial: where it begins, what is told, and the stimulus."""

from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.sources.mouse.trial_labels import Labels, proofs_of, read_trials
from tarpon.shards.sources.mouse.units import MouseSource, TrialFile


def read_labels(path: Path, trial: int, source: MouseSource, *, others: tuple[TrialFile, ...] = ()) -> Labels:
    """One annotation file, in a set with others."""
    entry = TrialFile(path=str(path), trial=trial)
    proven = set().union(*(proofs_of(one, source, video="a.mp4") for one in (entry, *others)))
    (labels,) = read_trials(entry, source, video="a.mp4", fps=30.0, frames=lambda: 0, proven=tuple(sorted(proven)))
    return labels


@pytest.mark.parametrize(
    ("rows", "first", "trial", "source", "frame"),
    [
        (360, 0, 1, {}, 0),
        (360, 0, 3, {}, 720),
        (345, 0, 1, {}, 15),
        (345, 0, 2, {}, 375),  # 345 rows begin at frame 15
        (345, 15, 2, {}, 375),
        (350, 10, 2, {}, 370),
        (200, 40, 1, {}, 40),  # a Frame column above 0 decides
        (346, 0, 2, {"offset": 14}, 374),
        (330, 0, 1, {"offset": 30}, 30),
        (345, 14, 1, {"offset": 15}, 14),
        (300, 0, 2, {"trial_frames": 300}, 300),
        (285, 0, 2, {"trial_frames": 300}, 315),
        (360, None, 2, {}, 360),  # no Frame column
    ],
)
def test_where_a_trial_begins(tmp_path, rows, first, trial, source, frame, annotation):
    path = annotation(tmp_path / "a.csv", rows, first=first, header="Action" if first is None else "Frame,Action")
    labels = read_labels(path, trial, MouseSource(**source))
    assert labels.first == frame
    np.testing.assert_array_equal(labels.actions, np.arange(rows) % 8)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rows": 359}, "359 rows"),
        ({"rows": 361}, "361 rows"),
        ({"rows": 344}, "344 rows"),
        ({"rows": 0}, "0 rows"),
        ({"rows": 360, "first": 360}, "360 rows"),
        ({"rows": 360, "actions": {7: ""}}, "row 7: Action is blank"),
        ({"rows": 360, "actions": {7: "8"}}, "row 7: Action 8 is not one of 0 to 7"),
        ({"rows": 360, "actions": {9: "-1"}}, "row 9: Action -1"),
        ({"rows": 360, "actions": {9: "1.5"}}, "row 9: Action 1.5"),
        ({"rows": 360, "actions": {9: "sniff"}}, "row 9: Action sniff is none of rest, paw_withdraw"),
        ({"rows": 360, "header": "Frame,Label"}, "no Action column; it has frame, label"),
    ],
)
def test_wrong_annotations_are_told(tmp_path, options, told, annotation):
    with pytest.raises(ValueError, match=told):
        read_labels(annotation(tmp_path / "a.csv", **options), 1, MouseSource())


def test_a_gap_in_the_frame_column_is_told(tmp_path, annotation):
    path = annotation(tmp_path / "a.csv", 360)
    path.write_text(path.read_text().replace("\n7,", "\n8,", 1))
    with pytest.raises(ValueError, match="does not count up by 1"):
        read_labels(path, 1, MouseSource())


def test_float_actions_other_column_order_and_a_byte_order_mark(tmp_path, annotation):
    labels = read_labels(annotation(tmp_path / "a.csv", 345, actions={3: "6.0"}, first=15, bom=True), 1, MouseSource())
    assert labels.first == 15
    assert labels.actions[3] == 6
    path = tmp_path / "b.csv"
    path.write_text("action , FRAME\n" + "".join(f"2,{n}\n" for n in range(360)))
    assert (read_labels(path, 1, MouseSource()).actions == 2).all()


@pytest.mark.parametrize("column", ["StimFrame", "stim_frame", "LaserOn", "stim"])
def test_the_stimulus_frame(tmp_path, column, annotation):
    path = annotation(tmp_path / "a.csv", 360, header=f"Frame,Action,{column}", more=",75")
    assert read_labels(path, 1, MouseSource()).stimulus == 75
    assert read_labels(annotation(tmp_path / "b.csv", 360), 1, MouseSource()).stimulus == 60
