"""Which files are paired, which are left over and why, and what trials become of labels of every kind."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import Sample
from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.mouse.pairs import scan
from tarpon.shards.sources.mouse.units import MouseSource
from tarpon.shards.sources.video.clips import ClipFormat
from tarpon.tools import cli

SPAN = 10  # frames of a trial here
CLIP = ClipFormat(codec="mjpeg", short_side=32)


def source(**how) -> MouseSource:
    return MouseSource(**{"pose": "none", "trial_frames": SPAN, "offset": 0, "clip": CLIP} | how)


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def trials(lab: Path, options: MouseSource, **how) -> tuple[dict[str, tuple[int, list[int], int]], list[str]]:
    """key -> (first frame, actions, stimulus) of the samples, and the faults as text."""
    units, faults = scan(lab / "Videos", lab / "Annotations" if (lab / "Annotations").is_dir() else None, options, **how)
    items = [*faults, *(item for unit in units for item in mouse.make(unit))]
    return (
        {
            item.key: (item.row["first_frame"], item.row["actions"], item.row["stimulus_frame"])
            for item in items
            if isinstance(item, Sample)
        },
        [str(item) for item in items if isinstance(item, Fault)],
    )


def paired(lab: Path, **how) -> tuple[list[tuple[str, list[int | None]]], dict[str, str]]:
    units, faults = scan(lab / "Videos", lab / "Annotations", source(), **how)
    return [(unit.name(), [entry.trial for entry in unit.trials]) for unit in units], {f.file: f.reason for f in faults}


def test_a_video_that_deeplabcut_drew_is_no_recording(tmp_path, touch):
    touch(tmp_path / "Videos", "m.mp4", "mDLC_net_labeled.mp4", "m_labeled.MP4", "mDLC_net.csv")
    touch(tmp_path / "Annotations")
    units, faults = paired(tmp_path)
    assert units == [("m.mp4", [])]
    assert set(faults) == {"mDLC_net_labeled.mp4", "m_labeled.MP4"}
    assert "not a recording" in faults["m_labeled.MP4"]


@pytest.mark.parametrize(
    "name", ["prediction_m_1.csv", "m.csv", "M behaviour.xlsx", "prediction_m.mp4_1.tsv", "m.mp4_1_old.csv"]
)
def test_a_misnamed_annotation_keeps_its_video_out_by_name(tmp_path, name, touch):
    touch(tmp_path / "Videos", "m.mp4", "m10.mp4", "other.mp4")
    touch(tmp_path / "Annotations", name, "readme.txt")
    units, faults = paired(tmp_path)
    assert units == [("m10.mp4", []), ("other.mp4", [])]
    assert set(faults) == {"m.mp4", name}
    assert f"not packed as unlabelled: {name} looks like its annotation" in faults["m.mp4"]


def test_a_misnamed_annotation_beside_a_good_one_is_a_fault_alone(tmp_path, touch):
    touch(tmp_path / "Videos", "m.mp4")
    touch(tmp_path / "Annotations", "prediction_m.mp4_1.csv", "prediction_m.mp4_2_old.csv", "mDLC_net.csv")
    assert paired(tmp_path) == (
        [("m.mp4", [1])],
        {"prediction_m.mp4_2_old.csv": "name is not prediction_<video>.mp4_<trial>.csv"},
    )


def test_names_of_one_key_are_one_fault_and_the_labelled_one_stays(tmp_path, touch):
    touch(tmp_path / "Videos", "a b.mp4", "a_b.mp4", "m.avi", "m.mp4", "x.mov")
    touch(tmp_path / "Annotations", "prediction_m.mp4_1.csv")
    units, faults = paired(tmp_path)
    assert units == [("a b.mp4", []), ("m.mp4", [1]), ("x.mov", [])]
    assert set(faults) == {"a_b.mp4", "m.avi"}
    assert "named like a b.mp4" in faults["a_b.mp4"]
    assert "m.avi, m.mp4 share the stem m" in faults["m.avi"]
    assert "labels are of m.mp4" in faults["m.avi"]


def test_a_name_without_its_group_is_one_fault(tmp_path, touch):
    touch(tmp_path / "Videos", "a_1M.mp4", "b.mp4")
    units, faults = scan(tmp_path / "Videos", None, source(group=r"\d+[MF]"))
    assert [(unit.name(), unit.group) for unit in units] == [("a_1M.mp4", "1M")]
    assert "matches nothing in 'b'" in faults[0].reason


def test_a_table_pairs_what_names_do_not(tmp_path, film):
    film(tmp_path / "Videos" / "cam 1.avi")
    write(tmp_path / "Annotations" / "one.csv", "Frame,Action", *(f"{i},{i % 3}" for i in range(SPAN)))
    write(tmp_path / "Annotations" / "two.csv", "Action", *["walk"] * 7)
    table = write(
        tmp_path / "pairs.csv",
        "video,labels,trial,first_frame,group",
        "cam 1.avi,one.csv,2,,mouse7",
        "cam 1.avi,two.csv,5,3,mouse7",
        "gone.avi,one.csv,1,,",
    )
    found, faults = trials(tmp_path, source(), table=table)
    assert found == {"cam_1-t2": (10, [i % 3 for i in range(SPAN)], 60), "cam_1-t5": (3, [6] * 7, 60)}
    assert faults == [f"gone.avi row 2: pairs.csv: gone.avi is not in {tmp_path / 'Videos'} or {tmp_path}"]
    units, _ = scan(tmp_path / "Videos", tmp_path / "Annotations", source(), table=table)
    assert [unit.group for unit in units] == ["mouse7"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("video,lables", "m.mp4,a.csv"), "column 'lables' is none"),
        (("labels", "a.csv"), "no column video"),
        (("video,Video", "m.mp4,m.mp4"), "columns video and Video are one name twice"),
    ],
)
def test_a_table_of_other_columns_is_refused(tmp_path, lines, said, touch):
    touch(tmp_path / "Videos", "m.mp4")
    with pytest.raises(ValueError, match=said):
        scan(tmp_path / "Videos", None, source(), table=write(tmp_path / "t.csv", *lines))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",a.csv,1,,", "no video in this row"),
        ("m.mp4,b.csv,1,,", "b.csv is not in"),
        ("m.mp4,a.csv,0,,", "trial '0' is no whole number from 1"),
        ("m.mp4,a.csv,1,x,", "first_frame 'x' is no whole number from 0"),
        ("m.mp4,,1,,", "a trial or first_frame without labels"),
        ("n.mp4,a.csv,1,,", "labels of this trial, or of the whole video, are in an earlier row"),
        ("n.mp4,a.csv,2,,other", "another track or group"),
        ("n.mp4,,,,", "one row of the video has labels and another one none"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_fault(tmp_path, row, said, touch):
    touch(tmp_path / "Videos", "m.mp4", "n.mp4")
    touch(tmp_path / "Annotations", "a.csv")
    table = write(tmp_path / "t.csv", "video,labels,trial,first_frame,group", "n.mp4,a.csv,1,,g", row)
    units, faults = scan(tmp_path / "Videos", tmp_path / "Annotations", source(), table=table)
    assert [unit.name() for unit in units] == ["n.mp4"]
    (fault,) = (fault for fault in faults if fault.row == 1)
    assert said in fault.reason


def one_hot(rows: int) -> list[str]:
    return [",background,rest,walk", *(f"{i},{int(i == 3)},{int(i != 3 and i < 12)},{int(i >= 12)}" for i in range(rows))]


def test_labels_of_a_whole_video_are_cut_into_its_trials(tmp_path, film):
    film(tmp_path / "Videos" / "m.mp4", 25)
    write(tmp_path / "Annotations" / "m_labels.csv", *one_hot(25))
    found, faults = trials(tmp_path, source())
    truth = [-1 if i == 3 else 0 if i < 12 else 6 for i in range(25)]
    assert found == {"m-t1": (0, truth[:10], 60), "m-t2": (10, truth[10:20], 60)}
    assert faults == ["m_labels.csv: frames 20 to 24 are less than a trial of 10 (--trial_frames)"]


@pytest.mark.parametrize("rows", [24, 26])
def test_labels_of_another_length_than_the_video_are_refused(tmp_path, rows, film):
    film(tmp_path / "Videos" / "m.mp4", 25)
    write(tmp_path / "Annotations" / "m_labels.csv", *one_hot(rows))
    assert trials(tmp_path, source()) == ({}, [
        f"m_labels.csv: {rows} rows, the video has 25 frames: they may be shifted (first_frame in --table)"
    ])  # fmt: skip


def test_bouts_of_a_whole_video_and_of_one_trial(tmp_path, film):
    film(tmp_path / "Videos" / "m.mp4")
    write(tmp_path / "bouts.csv", "start;stop;type", "0,1;0,2;walk", "0,4;0,5;active")  # frames 3 to 5 and 12 to 14
    table = write(tmp_path / "t.csv", "video,labels", "m.mp4,bouts.csv")
    walk, active = [0] * 3 + [6] * 3 + [0] * 4, [0] * 2 + [7] * 3 + [0] * 5
    found, _ = trials(tmp_path, source(background="rest"), table=table)
    assert found == {"m-t1": (0, walk, 60), "m-t2": (10, active, 60), "m-t3": (20, [0] * 10, 60)}
    late = write(tmp_path / "late.csv", "start;stop;type", "0,4;0,5;active")
    for way, told in (("auto", {"m-t2": (10, active, 60)}), ("absolute", {"m-t2": (10, active, 60)}), ("zero", {})):
        table = write(tmp_path / "t.csv", "video,labels,trial", f"m.mp4,{late.name},2")
        found, faults = trials(tmp_path, source(background="rest", frame_column=way), table=table)
        assert found == told
    assert "--frame_column absolute" in faults[0]


def test_a_trial_inside_another_is_a_fault(tmp_path, film):
    film(tmp_path / "Videos" / "m.mp4")
    write(tmp_path / "a.csv", "Action", *["0"] * SPAN)
    table = write(tmp_path / "t.csv", "video,labels,trial,first_frame", "m.mp4,a.csv,1,0", "m.mp4,a.csv,2,5")
    found, faults = trials(tmp_path, source(), table=table)
    assert list(found) == ["m-t1"]
    assert faults == ["a.csv: trial 2 begins at frame 5, inside trial 1"]


def labelled(path: Path, begin: int, stimulus: object) -> Path:
    rows = (f"{begin + i},0,{stimulus(i) if callable(stimulus) else stimulus}" for i in range(SPAN))
    return write(path, f"Frame,Action,{'stim' if callable(stimulus) else 'StimFrame'}", *rows)


@pytest.mark.parametrize(
    ("begin", "stimulus", "told"),
    [
        (0, 7, 7),
        (1, 7, 6),  # the column counts from 1, so this one does
        (10, 17, 7),  # frames of the video: trial 2 begins at 10
        (0, 10, "stimulus frame 10 is outside of the trial of 10 frames"),
        (1, 0, "stimulus frame 0 is outside"),
        (10, 7, "stimulus frame 7 is outside"),
        (0, lambda i: int(i >= 4), 4),
        (0, lambda i: 0, -1),
    ],
)
def test_the_stimulus_counts_as_the_frames_do_and_lies_in_the_trial(tmp_path, begin, stimulus, told, film):
    film(tmp_path / "Videos" / "m.mp4")
    labelled(tmp_path / "Annotations" / "prediction_m.mp4_2.csv", begin, stimulus)
    found, faults = trials(tmp_path, source())
    if isinstance(told, str):
        assert found == {}
        assert told in faults[0]
    else:
        assert found["m-t2"] == (10, [0] * SPAN, told)


def test_the_frame_columns_of_a_set_decide_together(tmp_path, film):
    """Trial 1 begins at frame 1: alone it is refused; beside a table that counts from 0 it is what it says."""
    for name in ("m", "n"):
        film(tmp_path / "Videos" / f"{name}.mp4")
    write(tmp_path / "Annotations" / "prediction_m.mp4_1.csv", "Frame,Action", *(f"{i},0" for i in range(1, 6)))
    found, faults = trials(tmp_path, source())
    assert set(found) == {"n-t1", "n-t2", "n-t3"}  # without annotations, for its points
    assert "Frame column counts 1 to 5: its first row may be frame 0 or 1 of the trial" in faults[0]
    write(tmp_path / "Annotations" / "prediction_n.mp4_1.csv", "Frame,Action", *(f"{i},0" for i in range(10)))
    found, faults = trials(tmp_path, source())
    assert (faults, found["m-t1"][0]) == ([], 1)


def test_other_classes_are_packed_counted_and_checked(tmp_path, capsys, film):
    for name in ("m", "n"):
        film(tmp_path / "Videos" / f"{name}.mp4")
        write(tmp_path / "Annotations" / f"prediction_{name}.mp4_1.csv", "Action", *["dig"] * 6, *["nest"] * 4)
    out = tmp_path / "shards"
    words = ["pack", "mouse", "--videos", f"{tmp_path}/Videos", "--annotations", f"{tmp_path}/Annotations", "--out", str(out)]
    words += ["--pose", "none", "--trial_frames", "10", "--offset", "0", "--codec", "mjpeg", "--workers", "1"]
    words += ["--split", "1,1,0", "--classes", "dig,nest,sleep"]
    assert cli.main([*words, "--dry-run"]) == 0
    assert not out.exists()
    said = capsys.readouterr().out
    assert "m.mp4  m      none   trial 1: prediction_m.mp4_1.csv  Action a frame" in said
    assert cli.main(words) == 0
    assert cli.main(["lint", str(out)]) == 0
    assert cli.main(["look", str(out)]) == 0
    said = capsys.readouterr().out
    assert [line.split()[:4] for line in said.splitlines() if line.startswith(("dig", "nest", "sleep"))] == [
        ["dig", "6", "60.0%", "1"], ["nest", "4", "40.0%", "1"], ["sleep", "0", "0.0%", "0"],
    ]  # fmt: skip


def test_a_dry_run_names_what_a_pose_file_lacks_and_how_frames_are_counted(tmp_path, capsys, touch):
    touch(tmp_path / "Videos", "m.mp4")
    write(tmp_path / "Videos" / "mDLC_n.csv", "scorer,n,n,n", "bodyparts,nose,nose,nose", "coords,x,y,likelihood", "0,1,2,0.9")
    write(tmp_path / "Annotations" / "prediction_m.mp4_1.csv", "Frame,Action", *(f"{i + 1},1" for i in range(360)))
    folders = ["--videos", f"{tmp_path}/Videos", "--annotations", f"{tmp_path}/Annotations", "--out", f"{tmp_path}/out"]
    assert cli.main(["pack", "mouse", *folders, "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "mDLC_n.csv: no body part 'tail_base'; the file has nose: name those to use with --keypoints" in said
    assert "Frame columns count from 1 in each trial (--frame_column one)" in said
    assert "1 videos with 1 annotation files\n" in said


def test_an_unexpected_error_in_one_video_leaves_the_others(tmp_path, monkeypatch, film):
    for name in ("m", "n"):
        film(tmp_path / "Videos" / f"{name}.mp4")
    probe = mouse.video.probe

    def broken(path: Path):
        return {}["codec"] if path.stem == "m" else probe(path)

    monkeypatch.setattr(mouse.video, "probe", broken)

    found = scan(tmp_path / "Videos", None, source())
    with ThreadPoolExecutor(1) as pool:
        packing = Packing(out=tmp_path / "out", split=(1, 0, 0))
        manifest, faults = pack(mouse.MOUSE, found, options=source(), packing=packing, executor=pool, progress=False)
    assert len(manifest) == 3
    assert faults == [Fault(file="m.mp4", reason="KeyError: 'codec'")]
