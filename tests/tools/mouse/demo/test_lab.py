"""The synthetic mouse folder: real names, true labels, every action, every fault."""

import contextlib
import csv
import hashlib
import re
from pathlib import Path

import av
import numpy as np
import pytest

from tarpon.tools.mouse.demo import lab as mouse
from tarpon.tools.mouse.demo.behaviour import ACTIVE, FLINCH, HABITS, REST, SHAKE, WALK, bouts_of, schedule
from tarpon.tools.mouse.demo.faults import FAULTS

ANNOTATION = re.compile(r"^predictions?_(?P<video>.+\.mp4)_(?P<trial>\d+)\.csv$")
STEM = re.compile(r"^shortened_\d{4}-\d{2}-\d{2}_[A-Z]+_\d{3}_\d{3}[MF]_tracking$")
SCORER = "DLC_resnet50_pawtracking_comparisionMay7shuffle1_500000"
PARTS = ["mouth", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw", "tail_base"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("lab")
    return out, mouse.write(out, videos=3, size=64, workers=1)


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("broken")
    return out, mouse.write(out, videos=1, seed=3, size=64, faults=True, workers=2)


def decode(path: Path) -> np.ndarray:
    """(T, S, S) uint8 luma of all frames that decode before the first error."""
    pictures = []
    with av.open(str(path)) as container, contextlib.suppress(av.FFmpegError):
        pictures.extend(frame.to_ndarray()[: frame.height] for frame in container.decode(video=0))
    return np.stack(pictures)


def read_dlc(path: Path) -> np.ndarray:
    """(T, K, 3) with K from the header."""
    return np.loadtxt(path, delimiter=",", skiprows=3)[:, 1:].reshape(-1, len(dlc_parts(path)), 3)


def dlc_parts(path: Path) -> list[str]:
    with path.open() as file:
        return next(row for row in csv.reader(file) if row[0] == "bodyparts")[1::3]


def dlc_of(video: Path) -> Path:
    return video.with_name(f"{video.stem}{SCORER}.csv")


def read_actions(path: Path) -> np.ndarray:
    rows = np.loadtxt(path, delimiter=",", skiprows=1, dtype=int)
    assert path.read_text().startswith("Frame,Action\n")
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(rows)))
    return rows[:, 1]


def truth(out: Path, video: Path, frames: int) -> np.ndarray:
    """(frames,) actions by the contract's rule, -1 where no row speaks."""
    actions = np.full(frames, -1)
    for path in (out / "Annotations").glob(f"prediction_{video.name}_*.csv"):
        rows = read_actions(path)
        first = (int(ANNOTATION.match(path.name)["trial"]) - 1) * 360 + (15 if len(rows) == 345 else 0)
        actions[first : first + len(rows)] = rows
    return actions


def test_names_follow_the_contract_and_counts_are_those_of_the_files(lab):
    out, counts = lab
    videos = sorted((out / "Videos").glob("*.mp4"))
    annotations = sorted((out / "Annotations").iterdir())
    assert [bool(STEM.match(video.stem)) for video in videos] == [True] * 3 == [dlc_of(video).is_file() for video in videos]
    assert {ANNOTATION.match(path.name)["video"] for path in annotations} == {video.name for video in videos}
    rows = [len(read_actions(path)) for path in annotations]
    assert set(rows) == {345, 360}
    assert (counts["videos"], counts["trials"], counts["labelled"]) == (3, len(annotations), sum(rows))
    assert counts["animals"] == len({video.stem.split("_")[4] for video in videos}) == 2
    assert counts["faults"] == []


def test_video_is_h264_at_30_fps_and_has_one_dlc_row_a_frame(lab):
    out, counts = lab
    total = 0
    for video in sorted((out / "Videos").glob("*.mp4")):
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 30)
            assert (stream.width, stream.height) == (64, 64)
        trials = len(list((out / "Annotations").glob(f"prediction_{video.name}_*.csv")))
        assert dlc_parts(dlc_of(video)) == PARTS
        assert len(decode(video)) == len(read_dlc(dlc_of(video))) == trials * 360
        total += trials * 360
    assert total == counts["frames"]


def test_every_action_is_in_every_video_and_shares_are_near_their_habits(lab):
    out, counts = lab
    for video in (out / "Videos").glob("*.mp4"):
        assert set(truth(out, video, 1080)) >= set(range(8))
    assert sum(counts["shares"].values()) == pytest.approx(1)
    assert counts["shares"]["rest"] == pytest.approx(0.5, abs=0.07)
    for action, habit in HABITS.items():
        assert 0.5 * habit.share < counts["shares"][mouse.ACTIONS[action]] < 2 * habit.share


def test_trials_start_with_a_jump_of_the_tail_base_and_nowhere_else_is_one(lab):
    out, _ = lab
    for video in (out / "Videos").glob("*.mp4"):
        tail = read_dlc(dlc_of(video))[:, 5, :2]
        step = np.linalg.norm(np.diff(tail, axis=0), axis=1)
        starts = np.arange(360, len(tail), 360) - 1
        assert step[starts].min() > 1.5 * np.delete(step, starts).max()


def test_labels_start_when_the_animal_does(lab):
    """Frame differences and clean tail motion, measured from the files alone, jump at the labelled onset."""
    out, _ = lab
    walks, rests, jolts = [], [], []
    for video in (out / "Videos").glob("*.mp4"):
        dlc, pictures = read_dlc(dlc_of(video)), decode(video).astype(int)
        actions = truth(out, video, len(dlc))
        step = np.linalg.norm(np.diff(dlc[:, 5, :2], axis=0, prepend=dlc[:1, 5, :2]), axis=1)
        change = np.abs(np.diff(pictures, axis=0, prepend=pictures[:1])).mean((1, 2))
        for first, last in ((start + a, start + b) for start in range(0, len(dlc), 360)
                            for a, b in bouts_of(actions[start : start + 360])):  # fmt: skip
            if actions[first] == WALK:
                walks.append(step[first + 2 : last - 2].mean())
            if actions[first] == REST:
                rests.append(step[first + 1 : last].mean())
            if actions[first] == FLINCH and actions[first - 1] == REST:
                jolts.append(change[first] / change[first - 8 : first].max())
    assert min(walks) > 2 * max(rests)
    assert min(jolts) > 2


def test_a_dropped_point_says_nothing_about_the_action(lab):
    out, _ = lab
    lost, actions = [], []
    for video in (out / "Videos").glob("*.mp4"):
        dlc = read_dlc(dlc_of(video))
        lost.append(dlc[..., 2] < 0.9)
        actions.append(truth(out, video, len(dlc)))
    lost, actions = np.concatenate(lost), np.concatenate(actions)
    assert lost[:, 1].mean() > 0.1 > lost[:, 3:5].mean()  # front paws most
    assert not lost[:, 5].any()
    for action in (REST, SHAKE, WALK, ACTIVE):
        assert not lost[actions == action].any(1).all()


def test_a_schedule_has_every_action_and_sane_bouts():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        labels = schedule(2 + seed % 2, frames=360, rng=rng)
        assert set(labels.ravel()) == set(range(8))
        for trial in labels:
            assert trial[0] in (REST, WALK, ACTIVE)
            for first, last in bouts_of(trial):
                if trial[first] != REST:
                    assert HABITS[trial[first]].shortest <= last - first <= HABITS[trial[first]].longest
                assert last - first >= 5


def contents(out: Path) -> dict[str, str]:
    made = {}
    for path in sorted(out.rglob("*.*")):
        data = decode(path).tobytes() if path.suffix == ".mp4" else path.read_bytes()
        made[str(path.relative_to(out))] = hashlib.sha256(data).hexdigest()
    return made


def test_same_seed_same_files_for_any_number_of_workers(lab, tmp_path):
    out, counts = lab
    again = mouse.write(tmp_path / "again", videos=3, size=64, workers=2)
    assert again == counts
    assert contents(tmp_path / "again") == contents(out)
    mouse.write(tmp_path / "other", videos=1, seed=8, size=64, workers=1)
    assert not set(contents(tmp_path / "other").values()) & set(contents(out).values())


def test_every_fault_is_there_and_is_what_it_says(broken):
    out, counts = broken
    faults = {entry["kind"]: out / entry["file"] for entry in counts["faults"]}
    assert set(faults) == set(FAULTS)
    assert all((out / entry["file"]).is_file() and (out / entry["trial"]).is_file() for entry in counts["faults"])
    assert len(decode(faults["short_video"])) == 250 == len(read_dlc(dlc_of(faults["short_video"])))
    assert len(faults["wrong_row_count"].read_text().splitlines()) == 201
    assert "\n120,\n" in faults["blank_action"].read_text()
    assert "\n120,9\n" in faults["action_out_of_range"].read_text()
    with pytest.raises(av.FFmpegError):
        av.open(str(faults["undecodable_video"]))
    with av.open(str(faults["truncated_video"])) as container:
        assert container.streams.video[0].frames == 360
    assert 0 < len(decode(faults["truncated_video"])) < 345
    assert dlc_parts(faults["missing_body_part"]) == [part for part in PARTS if part != "R_hindpaw"]
    assert len(read_dlc(faults["short_dlc"])) == 300
    assert not dlc_of(faults["no_dlc"]).exists()
    assert not (out / "Videos" / ANNOTATION.match(faults["no_video"].name)["video"]).exists()
    assert faults["no_action_column"].read_text().startswith("Frame,Label\n")
    twins = [out / entry["file"] for entry in counts["faults"] if entry["kind"] == "duplicate_trial"]
    assert len({(ANNOTATION.match(path.name)["video"], ANNOTATION.match(path.name)["trial"]) for path in twins}) == 1
    assert len({path.read_text() for path in twins}) == 2


def test_good_trials_stay_good_beside_the_faults(broken):
    out, counts = broken
    annotations = {path for path in (out / "Annotations").iterdir() if not path.name.startswith("._")}
    good = annotations - {out / entry["trial"] for entry in counts["faults"]}
    assert len(good) == counts["trials"] == 2 + 2
    for path in good:
        video = out / "Videos" / ANNOTATION.match(path.name)["video"]
        assert len(read_actions(path)) in (345, 360)
        assert len(decode(video)) == len(read_dlc(dlc_of(video))) >= 360 * int(ANNOTATION.match(path.name)["trial"])
    stems = sorted(path.name.split(".mp4")[0] for path in good if "_mouse1" in path.name)
    assert len(stems) == 2
    assert stems[1] == stems[0] + "0"
    assert {path.parent.name for path in out.rglob("._*")} == {"Videos", "Annotations"}


@pytest.mark.parametrize("wrong", [{"size": 100}, {"size": 32}, {"videos": 0}, {"workers": 0}])
def test_a_wrong_setting_is_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        mouse.write(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_an_occupied_folder_is_refused(lab):
    out, _ = lab
    with pytest.raises(ValueError, match="choose an empty folder"):
        mouse.write(out, videos=1, size=64)
