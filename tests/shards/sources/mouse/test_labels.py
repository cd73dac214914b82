"""Label tables of every format, encoding and separator: the right class in its place, or one line that says what is wrong."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.sources.mouse.labels import read_labels
from tarpon.shards.sources.mouse.labels_classes import ClassNames, read_class_map
from tarpon.shards.sources.mouse.labels_frames import FrameLabels
from tarpon.shards.sources.mouse.labels_intervals import Intervals
from tarpon.tools.mouse.label_files import write_actions, write_bouts

ABC = ClassNames(names=("rest", "walk", "groom"))


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def actions(path: Path, classes: ClassNames = ABC, **how) -> list[int]:
    found = read_labels(path, classes, **how)
    assert isinstance(found, FrameLabels)
    return found.actions.tolist()


def painted(path: Path, frames: int, *, fps: float = 10.0, classes: ClassNames = ABC, **how) -> str:
    """A letter a frame, `-` where it is not scored."""
    found = read_labels(path, classes, **how)
    assert isinstance(found, Intervals)
    return "".join("-" if n < 0 else classes.names[n][0] for n in found.label_frames(first=0, frames=frames, fps=fps))


@pytest.mark.parametrize(
    "cells", [("0", "2", "1"), ("rest", "groom", "walk"), ("Rest ", "GROOM", "wa-lk"), ("0.0", "2.0", "1.")]
)
def test_numbers_and_names(tmp_path, cells):
    path = write(tmp_path / "a.csv", "Frame,Action", *(f"{i},{cell}" for i, cell in enumerate(cells)))
    assert actions(path) == [0, 2, 1]
    assert read_labels(path, ABC).took == "Action a frame"


def test_a_class_map_renames_merges_and_leaves_out(tmp_path):
    mapping = read_class_map(write(tmp_path / "map.csv", "label;class", "sniffing;rest", "7;walk", "artefact;"))
    classes = ClassNames(names=ABC.names, renamed=mapping)
    path = write(tmp_path / "a.csv", "Action", "Sniffing", "7", "artefact", "groom")
    assert actions(path, classes) == [0, 1, -1, 2]
    with pytest.raises(ValueError, match="sniffing is to be 'run', which is none of the classes rest, walk, groom"):
        ClassNames(names=ABC.names, renamed=(("sniffing", "run"),))


def test_predictions_of_tarpon_read_back(tmp_path):
    truth = np.array([0, 0, 2, 1, 1, 2])
    write_actions(tmp_path / "m_predictions.csv", truth, np.eye(3)[truth], ABC.names)
    found = read_labels(tmp_path / "m_predictions.csv", ABC)
    assert (found.took, found.begin, found.actions.tolist()) == ("predictions of Tarpon", 0, truth.tolist())
    write_bouts(tmp_path / "m_bouts.csv", truth, np.eye(3)[truth], ABC.names, edges=np.arange(7) / 10)
    assert painted(tmp_path / "m_bouts.csv", 6) == "rrgwwg"


ONE_HOT = (",background,rest,walk,groom", "0,0,1,0,0", "1,1,0,0,0", "2,0,0,0,1", "3,0,0,0,0", "4,-1,-1,-1,-1")


def test_one_hot_and_its_background(tmp_path):
    path = write(tmp_path / "a_labels.csv", *ONE_HOT)
    assert actions(path) == [0, -1, 2, -1, -1]
    assert read_labels(path, ABC).took == "one-hot"
    assert actions(path, ClassNames(names=ABC.names, background="rest")) == [0, 0, 2, 0, -1]
    assert actions(path, ClassNames(names=("background", *ABC.names))) == [1, 0, 3, -1, -1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((",rest,walk", "0,1,0", "1,1,1"), "row 1: rest and walk at once"),
        ((",rest,run", "0,1,0"), "column run is none of rest, walk, groom"),
        ((",rest,walk,walk", "0,1,0,0"), "columns walk and walk are one name twice"),
        (("Frame,Action,action", "0,1,2"), "columns Action and action are one name twice"),
        (("Frame,Action,Action", "0,1,2"), "columns Action and Action are one name twice"),
        (("Frame,Action,Action.1", "0,1,2"), "columns Action and Action.1 are one name twice"),
        (("Frame,Label", "0,1"), "no Action column; it has frame, label; taken are"),
        (("Frame,Action", "0,1,2"), "row 0: has 3 cells, the header 2"),
        (("Action", "3"), "row 0: Action 3 is not one of 0 to 2"),
        (("Action,stim", "1,x"), "row 0: stimulus frame 'x' is not a number"),
        (("Action,stim", "1,2.5"), "row 0: stimulus frame '2.5' is not a whole number"),
        (("Action,stim", "1,1", "1,2", "1,3"), "stimulus column stim changes from row to row"),
        (("Action,stim,laseron", "1,1,1"), "stimulus columns laseron and stim"),
        ((), "it has nothing"),
    ],
)
def test_what_is_wrong_with_a_table_of_frames(tmp_path, lines, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        read_labels(write(tmp_path / "a.csv", *lines), ABC)


@pytest.mark.parametrize(
    ("column", "cells", "told"),
    [
        ("stim", ("5", "", "", ""), 5),
        ("StimFrame", ("1", "1", "1", "1"), 1),
        ("stim", ("7", "7", "7", "7"), 7),
        ("LaserOn", ("0", "0", "1", "1"), [0, 0, 1, 1]),  # on or off in each frame
        ("LaserOn", ("0", "0", "0", "0"), [0, 0, 0, 0]),
        ("laseron", ("", "", "1", ""), [0, 0, 1, 0]),
        ("stim", ("0", "5.5", "5.5", "0"), [0, 1, 1, 0]),  # mW
        ("stim", ("", "", "", ""), None),
    ],
)
def test_a_stimulus_is_one_frame_or_on_and_off(tmp_path, column, cells, told):
    found = read_labels(write(tmp_path / "a.csv", f"Action,{column}", *(f"0,{cell}" for cell in cells)), ABC)
    assert (found.stimulus if found.switched is None else found.switched.astype(int).tolist()) == told


BOUTS = ("start,stop,type", "0.2,0.5,walk", "0.5,0.7,groom")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "; decimal comma"])
def test_encodings_and_separators(tmp_path, encoding, separator):
    classes = ClassNames(names=("rest", "walk", "grööm"))
    lines = [line.replace("groom", "grööm") for line in BOUTS]
    if separator != ",":
        lines = [line.replace(",", separator[0]) for line in lines]
    if separator.endswith("comma"):
        lines = [line.replace(".", ",") for line in lines]
    path = write(tmp_path / "a.csv", *lines, encoding=encoding)
    assert painted(path, 8, classes=classes) == "--wwwgg-"


def test_bouts_in_frames_hold_both_ends_and_in_seconds_touch(tmp_path):
    seconds = write(tmp_path / "s.csv", *BOUTS)
    assert painted(seconds, 8) == "--wwwgg-"
    assert painted(seconds, 8, classes=ClassNames(names=ABC.names, background="rest")) == "rrwwwggr"
    frames = write(tmp_path / "f.csv", "ID,from,to,type", "a,2,4,walk", "a,5,6,groom")
    assert painted(frames, 8, unit="frames") == "--wwwgg-"
    named = write(tmp_path / "n.csv", "start_frame,end_frame,behaviour", "2,4,walk")
    assert painted(named, 8) == "--www---"
    assert painted(write(tmp_path / "p.csv", "start (s),stop (s),label", "3,3,walk"), 40).count("w") == 1
    with pytest.raises(ValueError, match=r"column from may be frames or seconds, .* say --label_unit frames or seconds"):
        read_labels(frames, ABC)


def boris_rows(path: Path, head: list[str], rows: list[list[object]], above: tuple[str, ...] = ()) -> Path:
    with open(path, "w", newline="") as file:
        for line in above:
            file.write(line + "\n")
        csv.writer(file).writerows([head, *rows])
    return path


def test_boris_tabular_old_and_new(tmp_path):
    head = ["Time", "Media file path", "Total length", "FPS", "Subject", "Behavior", "Behavioral category", "Comment", "Status"]
    events = [
        (0.2, "walk", "START"),
        (0.5, "walk", "STOP"),
        (0.5, "groom", "START"),
        (0.55, "rest", "POINT"),
        (0.7, "groom", "STOP"),
    ]
    rows = [[time, "/lab/m1.mp4", 6.0, 10, "", what, "", "", word] for time, what, word in events if what != "rest"]
    above = ("Observation id,m1", "", "Media file(s)", "Player #1,/lab/m1.mp4", "Observation date,2024-01-02 10:00:00", "")
    old = boris_rows(tmp_path / "old.csv", head, rows, above)
    assert painted(old, 8, video="m1.mp4") == "--wwwgg-"
    assert read_labels(old, ABC, video="m1.mp4").took == "BORIS tabular events"
    new = boris_rows(
        tmp_path / "new.csv",
        ["Observation id", "Subject", "Behavior", "Modifiers", "Behavior type", "Time", "Image index"],
        [["m1", "No focal subject", what, "", word, time, int(time * 10)] for time, what, word in events if what != "rest"],
    )
    assert painted(new, 8, video="m1.mp4") == "--wwwgg-"
    with_point = [[time, "m1.mp4", 6, 10, "", what, "", "", word] for time, what, word in events]
    point = boris_rows(tmp_path / "p.csv", head, with_point)
    with pytest.raises(ValueError, match="row 3: overlaps another class's bout of row 2"):
        painted(point, 8, video="m1.mp4")


AGGREGATED = [
    "Observation id", "Media duration (s)", "FPS (frame/s)", "Subject", "Behavior", "Behavior type", "Start (s)", "Stop (s)",
    "Duration (s)", "Media file name",
]  # fmt: skip


def test_boris_aggregated_of_several_videos_and_subjects(tmp_path):
    rows = [
        ["o", 6, 10, "f1", "walk", "STATE", 0.2, 0.5, 0.3, "player #1:C:\\lab\\m1.mp4"],
        ["o", 6, 10, "f1", "groom", "STATE", 0, 1, 1, "player #1:C:\\lab\\m10.mp4"],
        ["o", 6, 10, "m2", "groom", "STATE", 0, 0.8, 0.8, "player #1:C:\\lab\\m1.mp4"],
    ]
    path = boris_rows(tmp_path / "a.csv", AGGREGATED, rows)
    assert painted(path, 8, video="m1.mp4", subject="f1") == "--www---"
    assert read_labels(path, ABC, video="m1.mp4", subject="f1").took == "BORIS aggregated events"
    with pytest.raises(ValueError, match="holds the subjects f1, m2; pick one with --individual"):
        read_labels(path, ABC, video="m1.mp4")
    with pytest.raises(ValueError, match=r"its column media file name names .* and not m2.mp4"):
        read_labels(path, ABC, video="m2.mp4")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0.5,0.2,walk", "row 0: starts at 0.5 and stops at 0.2"),
        ("0.5,,walk", "row 0: '0.5' to '' is no stretch of time"),
        ("0.2,0.5,run", "row 0: type run is none of rest, walk, groom"),
    ],
)
def test_what_is_wrong_with_a_bout(tmp_path, line, said):
    with pytest.raises(ValueError, match=said):
        read_labels(write(tmp_path / "a.csv", BOUTS[0], line), ABC)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([(0.2, "START")], "row 0: walk starts and never stops"),
        ([(0.2, "STOP")], "row 0: walk STOP without its counterpart"),
        ([(0.2, "START"), (0.3, "START")], "row 1: walk START without its counterpart"),
    ],
)
def test_boris_events_without_their_counterpart(tmp_path, events, said):
    path = boris_rows(
        tmp_path / "a.csv", ["Behavior", "Behavior type", "Time"], [["walk", word, time] for time, word in events]
    )
    with pytest.raises(ValueError, match=said):
        read_labels(path, ABC)
