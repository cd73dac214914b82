from dataclasses import fields, replace

import numpy as np
import pytest

from tarpon.train.tasks.mouse.metrics.trial import Trial, check_trials, load_trials, save_trials

CLASSES = ["rest", "paw withdraw", "léché", "walk"]
POINTS = ["mouth", "tail_base", "L_frontpaw"]


def same(left: Trial, right: Trial) -> bool:
    """Equal in value, dtype and kind, field by field."""
    for field in fields(Trial):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if type(a) is not type(b):
            return False
        if isinstance(a, np.ndarray):
            if a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=True):
                return False
        elif a != b:
            return False
    return True


def test_saved_trials_come_back_the_same(tmp_path, random_trials):
    trials = random_trials(0, count=5)
    hidden = trials[0].keypoints.copy()
    hidden[hidden[..., 2] == 0, :2] = np.nan  # what a hidden point holds must not matter, nor get lost
    mixed = [
        replace(trials[0], keypoints=hidden),
        replace(trials[1], keypoints=None),
        replace(trials[2], keypoints_pred=None),
        replace(trials[3], keypoints=None, keypoints_pred=None),
        trials[4],
    ]
    save_trials(tmp_path / "val.npz", mixed, classes=CLASSES, points=POINTS)
    loaded, classes, points = load_trials(tmp_path / "val.npz")
    assert (classes, points) == (CLASSES, POINTS)
    assert len(loaded) == 5
    assert all(same(a, b) for a, b in zip(loaded, mixed, strict=True))
    assert {type(side) for trial in loaded for side in trial.size} == {int}  # JSON takes no numpy integers
    assert [path.name for path in tmp_path.iterdir()] == ["val.npz"]  # no draft left


def test_trials_without_any_keypoints_can_be_saved(tmp_path, random_trials):
    trials = [replace(trial, keypoints=None, keypoints_pred=None) for trial in random_trials(1)]
    save_trials(tmp_path / "a.npz", trials, classes=CLASSES, points=[])
    loaded, _, points = load_trials(tmp_path / "a.npz")
    assert points == []
    assert all(same(a, b) for a, b in zip(loaded, trials, strict=True))


def test_the_file_needs_no_pickle(tmp_path, random_trials):
    save_trials(tmp_path / "a.npz", random_trials(1), classes=CLASSES, points=POINTS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "iufbU" for name in stored.files)


def test_a_failed_save_keeps_the_old_file(tmp_path, random_trials):
    path = tmp_path / "a.npz"
    save_trials(path, random_trials(1), classes=CLASSES, points=POINTS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="4 classes"):
        save_trials(path, random_trials(2), classes=CLASSES[:2], points=POINTS)
    assert path.read_bytes() == before


def test_a_save_that_cannot_be_renamed_leaves_no_draft(tmp_path, random_trials):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        save_trials(tmp_path / "a.npz", random_trials(1), classes=CLASSES, points=POINTS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_other_files_are_refused(tmp_path, random_trials):
    path = tmp_path / "a.npz"
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="not an npz"):
        load_trials(path)
    np.savez(path, actions=np.zeros(3))
    with pytest.raises(ValueError, match="missing: format, classes"):
        load_trials(path)
    save_trials(path, random_trials(1), classes=CLASSES, points=POINTS)
    path.write_bytes(path.read_bytes()[:-100])  # the zip's directory lies at its end
    with pytest.raises(ValueError, match="cut short"):
        load_trials(path)
    with pytest.raises(FileNotFoundError):
        load_trials(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros(3, np.int32)}, "actions must be"),
        ({"actions": np.zeros((3, 1), np.int64)}, "actions must be"),
        ({"actions": np.zeros(0, np.int64)}, "T >= 1"),
        ({"actions": np.full(3, 2, np.int64)}, r"in \[-1, 2\)"),
        ({"actions": np.full(3, -2, np.int64)}, r"in \[-1, 2\)"),
        ({"probs": np.full((4, 2), 0.5, np.float32)}, "probs must be"),
        ({"probs": np.full((3, 2), 0.5)}, "probs must be"),
        ({"probs": np.full((3, 2), 1.0, np.float32)}, "sum to 1"),
        ({"probs": np.full((3, 2), np.nan, np.float32)}, "sum to 1"),
        ({"probs": np.tile(np.float32([2, -1]), (3, 1))}, "sum to 1"),
        ({"keypoints": np.zeros((3, 2, 2), np.float32)}, "keypoints must be"),
        ({"keypoints": np.full((3, 2, 3), 0.5, np.float32)}, "0 or 1"),
        ({"keypoints": np.float32([[[np.nan, 0, 1]]] * 3)}, "visible points finite"),
        (
            {"keypoints": np.zeros((3, 2, 3), np.float32), "keypoints_pred": np.zeros((3, 3, 2), np.float32)},
            "keypoints_pred must",
        ),
        ({"keypoints_pred": np.full((3, 2, 2), np.nan, np.float32)}, "finite"),
        ({"size": (0, 5)}, "width, height"),
    ],
)
def test_a_bad_trial_is_refused(change, message):
    good = {
        "key": "a",
        "group": "g",
        "actions": np.zeros(3, np.int64),
        "probs": np.full((3, 2), 0.5, np.float32),
        "size": (4, 4),
    }
    Trial(**good)
    with pytest.raises(ValueError, match=message):
        Trial(**good | change)


def test_trials_that_do_not_fit_together_are_refused(random_trials):
    trials = random_trials(0)
    check_trials(trials, classes=CLASSES, points=POINTS)
    with pytest.raises(ValueError, match="no trials"):
        check_trials([], classes=CLASSES)
    with pytest.raises(ValueError, match="given 2 times"):
        check_trials([*trials, trials[0]], classes=CLASSES)
    with pytest.raises(ValueError, match="3 keypoints, expected 2"):
        check_trials(trials, classes=CLASSES, points=POINTS[:2])
    fewer = replace(trials[1], keypoints=trials[1].keypoints[:, :2], keypoints_pred=None)
    with pytest.raises(ValueError, match="2 keypoints, expected 3"):
        check_trials([trials[0], fewer], classes=CLASSES)


def test_ties_go_to_the_lowest_class(answered):
    trial = replace(answered([0], [0]), probs=np.float32([[0.2, 0.4, 0.4]]))
    assert trial.predicted.tolist() == [1]
