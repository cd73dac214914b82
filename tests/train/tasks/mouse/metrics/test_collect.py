"""Windows from several ranks, put together into trials."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tarpon.train.tasks.mouse.figures.split import draw_split
from tarpon.train.tasks.mouse.metrics.collect import TrialMetric, TrialNames
from tarpon.train.tasks.mouse.metrics.trial import load_trials

LENGTHS, FRAMES, CLASSES, POINTS = (10, 7, 4), 4, ("rest", "pain", "walk"), ("nose", "tail")


@pytest.fixture
def names():
    return TrialNames(keys=["a", "b", "c"], groups=["g", "g", "h"], sizes=np.full((3, 2), 64), classes=CLASSES, points=POINTS)


@pytest.fixture
def truth() -> list[dict[str, np.ndarray]]:
    """Each trial's arrays; the last has no visible point."""
    rng = np.random.default_rng(5)
    made = []
    for n, length in enumerate(LENGTHS):
        seen = np.full((length, 2, 1), float(n < 2))
        made.append(
            {
                "actions": rng.integers(-1, 3, length),
                "scores": rng.normal(size=(length, 3)).astype(np.float32),
                "keypoints": np.concatenate([rng.random((length, 2, 2)), seen], -1).astype(np.float32),
                "guess": rng.random((length, 2, 2), np.float32),
            }
        )
    return made


def batch_of(truth: list[dict], windows: list[tuple[int, int]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Model outputs and batch of windows (row, start), padded as the feed does: junk where not valid; row -1: nothing valid."""
    out, batch = {"action": [], "keypoints": []}, {"actions": [], "keypoints": [], "valid": [], "row": [], "start": []}
    for row, start in windows:
        trial = truth[max(row, 0)]
        index = np.clip(np.arange(start, start + FRAMES), 0, len(trial["actions"]) - 1)
        batch["valid"].append((np.arange(start, start + FRAMES) < len(trial["actions"])) & (row >= 0))
        batch["actions"].append(trial["actions"][index])
        batch["keypoints"].append(trial["keypoints"][index])
        out["action"].append(trial["scores"][index])
        out["keypoints"].append(trial["guess"][index])
        batch["row"].append(row)
        batch["start"].append(start)
    pack = lambda columns: {name: torch.from_numpy(np.stack(values)) for name, values in columns.items()}  # noqa: E731
    return pack(out), pack(batch)


TURNS = [(0, 0), (0, 4), (0, 8), (1, 0), (1, 4), (2, 0)]


def read(names, truth, ranks: list[list[list[tuple[int, int]]]]):
    parts = []
    for turns in ranks:
        metric = TrialMetric(names)
        for windows in turns:
            metric.add(*batch_of(truth, windows))
        parts.append(metric.part())
    return TrialMetric(names).read(parts)


def test_trials_are_whole_whatever_the_ranks_and_padding(names, truth, tmp_path):
    one = read(names, truth, [[TURNS]])
    two = read(names, truth, [[[TURNS[1], TURNS[4]], [TURNS[5], (-1, 0)]], [[TURNS[3], TURNS[0]], [TURNS[2], (-1, 0)]]])
    assert one.scalars == two.scalars
    assert one.scalars["trials"] == 3
    assert one.scalars["frames"] == sum((trial["actions"] >= 0).sum() for trial in truth)
    two.save(tmp_path / "new" / "val.npz")
    trials, classes, points = load_trials(tmp_path / "new" / "val.npz")
    assert (tuple(classes), tuple(points), [trial.key for trial in trials]) == (CLASSES, POINTS, ["a", "b", "c"])
    for trial, want in zip(trials, truth, strict=True):
        np.testing.assert_array_equal(trial.actions, want["actions"])
        np.testing.assert_array_equal(trial.keypoints_pred, want["guess"])
        e = np.exp(want["scores"])
        np.testing.assert_allclose(trial.probs, e / e.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(trials[0].keypoints, truth[0]["keypoints"])
    assert trials[2].keypoints is None  # no visible point is no truth


def test_a_perfect_answer_scores_one(names, truth):
    for trial in truth:
        trial["scores"] = 50 * np.eye(3, dtype=np.float32)[np.maximum(trial["actions"], 0)]
        trial["guess"] = trial["keypoints"][..., :2]
    scores = read(names, truth, [[TURNS]]).scalars
    assert scores["macro_f1"] == scores["accuracy"] == scores["f1_pain"] == 1.0
    assert scores["keypoint_mae"] == 0.0


def test_pictures_are_images(names, truth):
    pictures = draw_split(read(names, truth, [[TURNS]]).rows, classes=CLASSES)
    assert set(pictures) == {"confusion", "pr_curves", "ethogram"}
    assert all(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 for pixels in pictures.values())


def test_stored_frames_are_shown_with_points_when_they_can_be_had(names, truth):
    colour = np.array([10, 200, 90], np.uint8)
    asked = {}

    def frames(key, places):
        asked[key] = list(places)
        return np.broadcast_to(colour, (len(places), 48, 64, 3)).copy()

    result = read(names, truth, [[TURNS]])
    shown = draw_split(result.rows, classes=CLASSES, frames=frames)["frames"]
    assert set(asked) == {"a", "b", "c"}
    assert all(0 <= place < LENGTHS["abc".index(key)] for key, places in asked.items() for place in places)
    assert (shown == colour).all(-1).mean() > 0.3


def test_without_predicted_points_there_are_no_frames(names, truth):
    metric = TrialMetric(names)
    out, batch = batch_of(truth, TURNS)
    metric.add({"action": out["action"]}, batch)
    assert "frames" not in draw_split(metric.read([metric.part()]).rows, classes=CLASSES, frames=lambda *_: 1 / 0)
