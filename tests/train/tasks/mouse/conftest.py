"""Trials for the metric tests: random ones, and ones with given answers."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tarpon.train.tasks.mouse.metrics.trial import Trial


def one_hot(labels: Sequence[int], *, num_classes: int) -> np.ndarray:
    """(T, C) float32 probabilities that answer exactly `labels`."""
    return np.eye(num_classes, dtype=np.float32)[np.asarray(labels, np.int64)]


@pytest.fixture
def answered() -> Callable[..., Trial]:
    """Make a trial that answers `pred` where `true` holds; other fields as given."""

    def make(true: Sequence[int], pred: Sequence[int], *, num_classes: int = 3, key: str = "a", **fields) -> Trial:
        fields = {"group": "g", "size": (512, 512)} | fields
        return Trial(key=key, actions=np.array(true, np.int64), probs=one_hot(pred, num_classes=num_classes), **fields)

    return make


@pytest.fixture
def random_trials() -> Callable[..., list[Trial]]:
    """Make trials of uneven length with bouts, unlabelled frames, hidden points and answers that are right half the time."""

    def make(seed: int, *, count: int = 6, groups: int = 3, num_classes: int = 4, num_points: int = 3) -> list[Trial]:
        rng = np.random.default_rng(seed)
        trials = []
        for n in range(count):
            bouts = rng.integers(4, 10)
            actions = np.repeat(rng.integers(-1, num_classes, bouts), rng.integers(1, 12, bouts))
            T = len(actions)
            logits = rng.normal(size=(T, num_classes)) + 1.5 * (actions[:, None] == np.arange(num_classes))
            probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            keypoints = rng.random((T, num_points, 3), dtype=np.float32)
            keypoints[..., 2] = keypoints[..., 2] > 0.3
            trials.append(
                Trial(
                    key=f"trial_{n}",
                    group=f"animal_{n % groups}",
                    actions=actions,
                    probs=probs.astype(np.float32),
                    keypoints=keypoints,
                    keypoints_pred=rng.random((T, num_points, 2), dtype=np.float32),
                    size=(640, 480),
                )
            )
        return trials

    return make
