"""The mouse lab's folder: trials where the rules put them, faults named, nothing filled in."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from tarpon.shards.decode_threads import decoding_on_one_thread
from tarpon.shards.quarantine import Fault
from tarpon.shards.reader import Reader
from tarpon.shards.schema import Sample
from tarpon.shards.sources.mouse import source as mouse
from tarpon.shards.sources.mouse.pairs import ANNOTATION, scan
from tarpon.shards.sources.mouse.pose_points import body_length
from tarpon.shards.sources.mouse.units import MouseSource
from tarpon.shards.sources.video import clips as video
from tarpon.tools.mouse.demo.faults import FAULTS
from tarpon.tools.mouse.demo.tracking import SCORER


@pytest.mark.parametrize(
    "wrong",
    [
        {"pose": "sleap"},
        {"trial_frames": 0},
        {"offset": 360},
        {"keypoints": ("a", "a")},
        {"keypoints": ("a",)},
        {"group": "("},
        {"track": "best"},
        {"max_blank": 2},
    ],
)
def test_impossible_sources_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MouseSource(**wrong)


def test_groups():
    stem = "shortened_2023-10-25_CFA_010_267M_tracking"
    assert MouseSource().group_of(stem) == stem
    assert MouseSource(group=r"\d+[MF]").group_of(stem) == "267M"
    assert MouseSource(group=r"_(\d{4}-\d{2}-\d{2})_").group_of(stem) == "2023-10-25"
    with pytest.raises(ValueError, match="matches nothing in 'other'"):
        MouseSource(group=r"\d+[MF]").group_of("other")


def test_names_are_matched_exactly(tmp_path, touch):
    videos, notes = tmp_path / "Videos", tmp_path / "Annotations"
    touch(
        videos,
        "mouse1.mp4",
        "mouse10.mp4",
        "._mouse1.mp4",
        "mouse10DLC_x.csv",
        "mouse1DLC_x.csv",
        "._mouse1DLC_x.csv",
        "b.MP4",
        "bDLC_x.csv",
        "two.mp4",
        "twoDLC_x.csv",
        "twoDLC_y.csv",
        "none.mp4",
        "c.avi",
        "cDLC_x.csv",
        "mouse1DLC_x_labeled.mp4",
        "one name.mp4",
        "one_name.mp4",
    )
    touch(
        notes,
        "prediction_mouse1.mp4_2.csv",
        "predictions_mouse1.mp4_1.csv",
        "prediction_mouse10.mp4_1.csv",
        "._prediction_mouse1.mp4_1.csv",
        "prediction_mouse1.mp4_1_old.csv",
        "prediction_gone.mp4_1.csv",
        "prediction_mouse10.mp4_0.csv",
        "prediction_b.MP4_1.csv",
        "prediction_c.avi_1.csv",
        "notes.txt",
    )
    units, faults = scan(videos, notes, MouseSource())
    paired = [(u.name(), Path(u.points).name, [(entry.trial, Path(entry.path).name) for entry in u.trials]) for u in units]
    assert paired == [
        ("b.MP4", "bDLC_x.csv", [(1, "prediction_b.MP4_1.csv")]),
        ("c.avi", "cDLC_x.csv", [(1, "prediction_c.avi_1.csv")]),
        ("mouse1.mp4", "mouse1DLC_x.csv", [(1, "predictions_mouse1.mp4_1.csv"), (2, "prediction_mouse1.mp4_2.csv")]),
        ("mouse10.mp4", "mouse10DLC_x.csv", [(1, "prediction_mouse10.mp4_1.csv")]),
    ]
    assert {fault.file for fault in faults} == {
        "prediction_mouse1.mp4_1_old.csv",
        "prediction_gone.mp4_1.csv",
        "prediction_mouse10.mp4_0.csv",
        "two.mp4",
        "none.mp4",
        "mouse1DLC_x_labeled.mp4",
        "one name.mp4",
        "one_name.mp4",
    }
    with pytest.raises(ValueError, match="no such folder"):
        scan(tmp_path / "Video", None, MouseSource())


def test_every_fault_is_quarantined_and_the_good_trials_are_packed(broken_lab, pack_mouse, tmp_path):
    lab, facts = broken_lab
    with ThreadPoolExecutor(2) as pool:
        manifest, faults = pack_mouse(lab, tmp_path, executor=pool)
    assert len(manifest) == facts["trials"]
    assert {entry["kind"] for entry in facts["faults"]} == set(FAULTS)
    told = {fault.file: fault for fault in faults}
    for entry in facts["faults"]:
        names = {Path(entry["file"]).name, Path(entry["trial"]).name}
        assert names & set(told), f"{entry['kind']} is not told"
    packed = set(zip(manifest.column("video"), manifest.column("trial").tolist(), strict=True))
    for entry in facts["faults"]:
        match = ANNOTATION.match(Path(entry["trial"]).name)
        assert (match["video"].removesuffix(".mp4"), int(match["trial"])) not in packed
    blank = next(entry for entry in facts["faults"] if entry["kind"] == "blank_action")
    assert told[Path(blank["file"]).name].row == 120
    assert all(fault.reason and "\n" not in str(fault) for fault in faults)
    assert not [fault for fault in faults if fault.file.startswith("._")]
    written = [Fault(**json.loads(line)) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert sorted(written, key=str) == sorted(faults, key=str)
    assert manifest.card["quarantined"] == len(faults)


def test_stored_arrays_are_the_sources(mouse_lab, mouse_shards):
    reader = Reader(mouse_shards)
    for row in range(len(mouse_shards)):
        arrays = {name: np.load(io.BytesIO(reader.read(row, name))) for name in ("keypoints", "actions", "proof")}
        meta = json.loads(reader.read(row, "meta"))
        stem, trial, first = (mouse_shards.value(row, name) for name in ("video", "trial", "first_frame"))
        csv = np.loadtxt(mouse_lab / "Annotations" / f"prediction_{stem}.mp4_{trial}.csv", delimiter=",", skiprows=1, dtype=int)
        assert first == (trial - 1) * 360 + (15 if len(csv) == 345 else 0)
        assert meta["first_frame"] == first
        np.testing.assert_array_equal(arrays["actions"], csv[:, 1])
        np.testing.assert_array_equal(mouse_shards.value(row, "actions"), csv[:, 1])
        np.testing.assert_array_equal(mouse_shards.value(row, "histogram"), np.bincount(csv[:, 1], minlength=8))
        raw = np.loadtxt(mouse_lab / "Videos" / f"{stem}{SCORER}.csv", delimiter=",", skiprows=3)[first : first + len(csv), 1:]
        order = [0, 5, 1, 2, 3, 4]  # the file's own order has the tail last
        np.testing.assert_allclose(arrays["keypoints"], raw.reshape(len(csv), 6, 3)[:, order], rtol=1e-5)
        assert arrays["proof"].shape == (len(csv), 8, 8, 3)
        assert mouse_shards.value(row, "body_length") == pytest.approx(body_length(arrays["keypoints"]))
    assert 345 in mouse_shards.column("frames")


@pytest.fixture
def one_video(mouse_lab, tmp_path) -> Path:
    """A lab of the first video and its DLC file, without annotations."""
    path = sorted((mouse_lab / "Videos").glob("*.mp4"))[0]
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Annotations").mkdir()
    for file in (mouse_lab / "Videos").glob(f"{path.stem}*"):
        shutil.copy(file, tmp_path / "Videos")
    return tmp_path


def made(lab: Path, source: MouseSource, *, annotations: bool = True) -> list[Sample | Fault]:
    units, faults = scan(lab / "Videos", lab / "Annotations" if annotations else None, source)
    return [*faults, *(item for unit in units for item in mouse.make(unit))]


def test_a_video_without_annotations_gives_its_points(one_video):
    samples = made(one_video, MouseSource(), annotations=False)
    assert [sample.row["trial"] for sample in samples] == list(range(1, len(samples) + 1))
    assert len(samples) >= 2
    for sample in samples:
        assert sample.row["actions"] == [-1] * 360
        assert sum(sample.row["histogram"]) == 0
        assert sample.files["keypoints.npy"]


def test_without_pose_nothing_of_the_points_is_stored(one_video, annotation):
    path = next((one_video / "Videos").glob("*.mp4"))
    annotation(one_video / "Annotations" / f"prediction_{path.name}_2.csv", 345)
    (sample,) = made(one_video, MouseSource(pose="none", clip=video.ClipFormat(codec="mjpeg", short_side=64)))
    assert "keypoints.npy" not in sample.files
    assert np.isnan(sample.row["body_length"])
    assert (sample.row["first_frame"], sample.row["frames"], sample.row["clip_width"]) == (375, 345, 64)


def test_points_that_end_early_are_told_without_annotations_too(one_video):
    path = next((one_video / "Videos").glob("*.csv"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: 3 + 400]))
    first, fault = made(one_video, MouseSource(), annotations=False)
    assert first.row["trial"] == 1
    assert fault.file == path.name
    assert "400 rows" in fault.reason


@pytest.mark.parametrize("annotations", [True, False])
def test_points_of_more_frames_than_the_video_has_are_told(one_video, annotations, annotation):
    """Every point may be shifted, so no trial is packed, with labels or for its points alone."""
    path, clip = next((one_video / "Videos").glob("*.csv")), next((one_video / "Videos").glob("*.mp4"))
    annotation(one_video / "Annotations" / f"prediction_{clip.name}_1.csv", 360)
    lines = path.read_text().splitlines()
    rows = len(lines) - 2
    path.write_text("\n".join([*lines, f"{rows - 1},{lines[-1].split(',', 1)[1]}"]) + "\n")
    (fault,) = made(one_video, MouseSource(), annotations=annotations)
    assert fault.file == path.name
    assert f"{rows} rows, the video has {rows - 1} frames" in fault.reason


def test_single_bad_rows_are_packed_with_a_remark(one_video):
    path = next((one_video / "Videos").glob("*.csv"))
    lines = path.read_text().splitlines()
    cells = lines[3 + 5].split(",")
    lines[3 + 5] = ",".join([*cells[:3], "7", *cells[4:]])
    path.write_text("\n".join(lines) + "\n")
    items = made(one_video, MouseSource(), annotations=False)
    (remark,) = [item for item in items if isinstance(item, Fault)]
    assert remark.packed
    assert "a likelihood outside of 0 to 1, the first is 7 at line 9 (frame 5): taken as not labelled" in remark.reason
    points = np.load(io.BytesIO(items[1].files["keypoints.npy"]))
    assert np.isnan(points[5, MouseSource().keypoints.index("L_frontpaw"), :2]).all() or np.isnan(points[5]).any()


def test_a_bad_line_of_a_pose_file_is_its_row_in_quarantine(one_video):
    path = next((one_video / "Videos").glob("*.csv"))
    lines = path.read_text().splitlines()
    lines[20] = lines[20].replace(",", ",oops", 1)
    path.write_text("\n".join(lines) + "\n")
    (fault,) = made(one_video, MouseSource(), annotations=False)
    assert (fault.file, fault.row, fault.packed) == (path.name, 21, False)
    assert fault.reason.endswith("is not a number")


def test_the_filtered_table_is_taken_by_its_option(one_video):
    path = next((one_video / "Videos").glob("*.csv"))
    other = path.with_name(f"{path.stem}_filtered.csv")
    other.write_text(path.read_text())
    units, faults = scan(one_video / "Videos", None, MouseSource())
    assert units[0].points == str(path)
    assert [(fault.packed, fault.file) for fault in faults] == [(True, path.name)]
    assert scan(one_video / "Videos", None, MouseSource(track="filtered"))[0][0].points == str(other)


def test_damage_taints_every_trial_up_to_the_next_key_frame(one_video):
    """Broken packets in trial 1, marked by the decoder on their own frames only, drift into trial 2: neither is packed."""
    path = next((one_video / "Videos").glob("*.mp4"))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos is not None and packet.size > 60]
    keys = [packet.pts for packet in packets if packet.is_keyframe]
    step = packets[0].duration
    assert [pts // step for pts in keys[:2]] == [0, 250]
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for packet in packets:
        if 326 <= packet.pts // step < 334:
            content[packet.pos + 12 : packet.pos + packet.size] = rng.bytes(packet.size - 12)
    path.write_bytes(content)
    items = list(made(one_video, MouseSource(), annotations=False))
    faults = [item for item in items if isinstance(item, Fault)]
    assert [fault.file for fault in faults[:2]] == [path.name] * 2
    assert 320 <= faults[0].row < 340
    assert faults[1].row == 360
    with decoding_on_one_thread(True):
        alone = list(made(one_video, MouseSource(), annotations=False))
    assert [plain(item) for item in alone] == [plain(item) for item in items]


def plain(item: Sample | Fault) -> object:
    """What tells whether two are the same."""
    return item if isinstance(item, Fault) else (item.key, item.files)


def test_a_process_that_packs_beside_others_decodes_on_one_thread_and_makes_the_same(one_video, monkeypatch):
    asked, opened = [], video.video_stream
    monkeypatch.setattr(video, "video_stream", lambda container: asked.append(opened(container)) or asked[-1])
    together = list(made(one_video, MouseSource(), annotations=False))
    assert any(stream.thread_type.name == "AUTO" for stream in asked)
    asked.clear()
    with decoding_on_one_thread(True):
        alone = list(made(one_video, MouseSource(), annotations=False))
    assert asked
    assert not any(stream.thread_type.name == "AUTO" for stream in asked)
    assert [plain(item) for item in alone] == [plain(item) for item in together]


def test_real_flies(shared_data, pack_mouse, tmp_path):
    """Eight real trials, none quarantined; 345 rows place B's second trial at frame 375."""
    lab = shared_data / "fly_openfield"
    source = MouseSource(keypoints=("head", "thorax", "abdomen"), clip=video.ClipFormat(codec="mjpeg", short_side=128))
    with ThreadPoolExecutor(2) as pool:
        manifest, faults = pack_mouse(lab, tmp_path, source=source, split=(0.5, 0.25, 0.25), executor=pool)
    assert faults == []
    assert len(manifest) == 8
    where = dict(zip(manifest.column("key"), manifest.column("first_frame"), strict=True))
    assert where["fly_2019-01-28_B-t2"] == 375
    assert where["fly_2019-01-28_A-t2"] == 360
    assert sorted(manifest.card["splits"].values()) == [2, 2, 4]
