"""One scored sequence, and the file that holds a split of them.

T frames, C classes, K keypoints.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarpon.train.prediction_files import list_shares

FORMAT = 1  # of the file; raised when its fields change
FIELDS = (
    "format",
    "classes",
    "points",
    "key",
    "group",
    "size",
    "length",
    "has_keypoints",
    "has_keypoints_pred",
    "actions",
    "probs",
    "keypoints",
    "keypoints_pred",
)
PROB_TOLERANCE = 1e-2  # of a row's sum: half-precision softmax rounds to about 4e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One sequence: what was seen and what the model answered. Checked when made (ValueError)."""

    key: str  # the row's key in the manifest
    group: str  # what the split keeps together (video, animal); the unit of the bootstrap
    actions: np.ndarray  # (T,) int64 class, -1 unlabelled
    probs: np.ndarray  # (T, C) float32, rows sum to 1
    keypoints: np.ndarray | None = None  # (T, K, 3) float32: x / width, y / height, visible 0 or 1
    keypoints_pred: np.ndarray | None = None  # (T, K, 2) float32: x / width, y / height
    size: tuple[int, int]  # (width, height) of the source in px

    def __post_init__(self) -> None:
        T = len(self.actions) if isinstance(self.actions, np.ndarray) and self.actions.ndim == 1 else 0
        if T == 0:
            raise ValueError(f"trial {self.key}: actions must be (T,) with T >= 1, got shape {np.shape(self.actions)}")
        self._check_array("actions", self.actions, shape=(T,), dtype=np.int64)
        self._check_array("probs", self.probs, shape=(T, None), dtype=np.float32)
        if self.keypoints is not None:
            self._check_array("keypoints", self.keypoints, shape=(T, None, 3), dtype=np.float32)
        if self.keypoints_pred is not None:
            K = None if self.keypoints is None else self.keypoints.shape[1]
            self._check_array("keypoints_pred", self.keypoints_pred, shape=(T, K, 2), dtype=np.float32)
        self._check_values()

    @property
    def predicted(self) -> np.ndarray:
        """(T,) int64: the most probable class of each frame; ties go to the lowest."""
        return self.probs.argmax(1)

    def _check_array(self, name: str, array: np.ndarray, *, shape: tuple[int | None, ...], dtype: type) -> None:
        got, kind = np.shape(array), getattr(array, "dtype", None)
        fits = len(got) == len(shape) and all(want in (None, size) for want, size in zip(shape, got, strict=True))
        if not fits or kind != dtype or 0 in got:
            wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
            raise ValueError(f"trial {self.key}: {name} must be {wanted} {np.dtype(dtype).name}, got {got} {kind}")

    def _check_values(self) -> None:
        C = self.probs.shape[1]
        if self.actions.min() < -1 or self.actions.max() >= C:
            raise ValueError(
                f"trial {self.key}: actions must be in [-1, {C}) for probs of {C} classes, "
                f"got {self.actions.min()} to {self.actions.max()}"
            )
        off = np.abs(self.probs.sum(1) - 1)
        if not (off <= PROB_TOLERANCE).all() or self.probs.min() < 0:  # NaN fails the first comparison
            raise ValueError(
                f"trial {self.key}: rows of probs must be finite, >= 0 and sum to 1; pass probabilities, not logits"
            )
        if self.keypoints is not None:
            visible = self.keypoints[..., 2]
            if not np.isin(visible, (0, 1)).all() or not np.isfinite(self.keypoints[visible > 0]).all():
                raise ValueError(
                    f"trial {self.key}: keypoints[..., 2] must be 0 or 1, and visible points finite; "
                    "threshold the likelihood first"
                )
        if self.keypoints_pred is not None and not np.isfinite(self.keypoints_pred).all():
            raise ValueError(f"trial {self.key}: keypoints_pred must be finite")
        if len(self.size) != 2 or min(self.size) <= 0:
            raise ValueError(f"trial {self.key}: size must be (width, height) in px, got {self.size}")


def check_trials(trials: Sequence[Trial], *, classes: Sequence[str], points: Sequence[str] = ()) -> None:
    """Raise ValueError unless the trials can be scored together.

    Keys must be unique: a sampler that pads its last batch repeats samples, and a repeated trial would count twice.
    Without `points` any one number of keypoints is taken.
    """
    if not trials:
        raise ValueError("no trials: the split is empty; look at the manifest's split column")
    check_unique([trial.key for trial in trials])
    num_points = len(points)
    for trial in trials:
        if trial.probs.shape[1] != len(classes):
            raise ValueError(
                f"trial {trial.key}: probs have {trial.probs.shape[1]} classes, "
                f"but {len(classes)} are named: {', '.join(classes)}"
            )
        for array in (trial.keypoints, trial.keypoints_pred):
            num_points = num_points or (0 if array is None else array.shape[1])
            if array is not None and array.shape[1] != num_points:
                raise ValueError(f"trial {trial.key}: has {array.shape[1]} keypoints, expected {num_points} {list(points)}")


def check_unique(keys: Sequence[str]) -> None:
    """Raise ValueError where a trial is given twice."""
    for key, times in Counter(keys).most_common(1):
        if times > 1:
            raise ValueError(f"trial {key} is given {times} times; drop the repeats before scoring")


def save_trials(
    path: Path, trials: Sequence[Trial], *, classes: Sequence[str], points: Sequence[str], of_a_set: bool = False
) -> None:
    """Write trials to one compressed npz: frames of all trials end to end, and their lengths.

    The draft lies beside `path` and is renamed over it, so a reader never sees half a file.

    Args:
        of_a_set: one file of several: it may hold no trial.
    """
    if trials or not of_a_set:
        check_trials(trials, classes=classes, points=points)
    K = len(points)
    seen = [trial.keypoints for trial in trials if trial.keypoints is not None]
    answered = [trial.keypoints_pred for trial in trials if trial.keypoints_pred is not None]
    if not points and (seen or answered):
        raise ValueError("points is empty, but the trials have keypoints; name the points")
    arrays = {
        "format": np.array(FORMAT),
        "classes": np.array(classes, dtype=str),
        "points": np.array(points, dtype=str),
        "key": np.array([trial.key for trial in trials], str),
        "group": np.array([trial.group for trial in trials], str),
        "size": np.array([trial.size for trial in trials], np.int64).reshape(-1, 2),
        "length": np.array([len(trial.actions) for trial in trials], np.int64),
        "has_keypoints": np.array([trial.keypoints is not None for trial in trials], bool),
        "has_keypoints_pred": np.array([trial.keypoints_pred is not None for trial in trials], bool),
        "actions": np.concatenate([np.empty(0, np.int64), *(trial.actions for trial in trials)]),
        "probs": np.concatenate([np.empty((0, len(classes)), np.float32), *(trial.probs for trial in trials)]),
        "keypoints": np.concatenate([np.empty((0, K, 3), np.float32), *seen]),
        "keypoints_pred": np.concatenate([np.empty((0, K, 2), np.float32), *answered]),
    }
    draft = Path(f"{path}.draft")
    try:
        with draft.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load_trials(path: Path) -> tuple[list[Trial], list[str], list[str]]:
    """Read a split's file of save_trials, or the files of a set: (trials in the order saved, class names, point names)."""
    trials, classes, points = [], [], []
    for file in list_shares(path) or [path]:
        own, classes, named = load_file(file)
        trials += own
        points = points or named  # a file of trials without keypoints names none
    return trials, classes, points


def load_file(path: Path) -> tuple[list[Trial], list[str], list[str]]:
    """`load_trials` of one file."""
    with Path(path).open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not an npz file of trials, or cut short; write it again")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            missing = [name for name in FIELDS if name not in stored.files]
            if missing or stored["format"] != FORMAT:
                raise ValueError(
                    f"{path}: not a trials file of format {FORMAT} (missing: {', '.join(missing) or 'nothing'}); "
                    "write it again with this version"
                )
            arrays = {name: stored[name] for name in FIELDS}
    length = arrays["length"]
    actions = _split(arrays["actions"], length, has=np.ones(len(length), bool))
    probs = _split(arrays["probs"], length, has=np.ones(len(length), bool))
    keypoints = _split(arrays["keypoints"], length, has=arrays["has_keypoints"])
    keypoints_pred = _split(arrays["keypoints_pred"], length, has=arrays["has_keypoints_pred"])
    trials = [
        Trial(
            key=str(arrays["key"][i]),
            group=str(arrays["group"][i]),
            actions=actions[i],
            probs=probs[i],
            keypoints=keypoints[i],
            keypoints_pred=keypoints_pred[i],
            size=tuple(arrays["size"][i].tolist()),
        )
        for i in range(len(length))
    ]
    return trials, arrays["classes"].tolist(), arrays["points"].tolist()


def _split(frames: np.ndarray, length: np.ndarray, *, has: np.ndarray) -> list[np.ndarray | None]:
    """Cut frames laid end to end into trials; a trial without the array has no frames there and gets None."""
    stop = np.cumsum(np.where(has, length, 0))
    return [frames[end - size : end] if own else None for end, size, own in zip(stop, length, has, strict=True)]


def count_confusion(trials: Sequence[Trial], num_classes: int) -> np.ndarray:
    """(C, C) int64 frame counts: row the true class, column the most probable one. Unlabelled frames are left out."""
    total = np.zeros(num_classes**2, np.int64)
    for trial in trials:
        known = trial.actions >= 0
        cell = trial.actions[known] * num_classes + trial.predicted[known]
        total += np.bincount(cell, minlength=num_classes**2)
    return total.reshape(num_classes, num_classes)
