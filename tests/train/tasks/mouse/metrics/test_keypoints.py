from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.tasks.mouse.metrics.keypoints import keypoint_counts, keypoint_mae, keypoint_scores


def with_points(answered, *, true, pred, size):
    T = len(true)
    return answered([0] * T, [0] * T, keypoints=np.float32(true), keypoints_pred=np.float32(pred), size=size)


def test_hand_worked_points(answered):
    # frame 200 x 100 px. Point 0 off by (1/16, 1/8): 12.5 px and 12.5 px, distance 17.7 > 10 but <= 20 of max(200, 100).
    # Point 1 off by (1/32, 0): 6.25 px, right at both. Point 1 of the second frame is hidden and holds NaN.
    trial = with_points(
        answered,
        size=(200, 100),
        true=[[[0.5, 0.5, 1], [0.25, 0.25, 1]], [[0.5, 0.5, 1], [np.nan, np.nan, 0]]],
        pred=[[[0.5625, 0.375], [0.28125, 0.25]], [[0.5, 0.5], [1, 1]]],
    )
    counts = keypoint_counts(trial)
    assert counts[:, 0].tolist() == [2, 1]
    assert keypoint_scores(counts.sum(0)) == pytest.approx(
        {
            "keypoint_mae": (1 / 16 + 1 / 8 + 1 / 32) / 6,  # six visible coordinates
            "keypoint_mae_px": (12.5 + 12.5 + 6.25) / 6,
            "pck_05": 2 / 3,
            "pck_10": 1.0,
        }
    )
    assert keypoint_scores(counts[0], suffix="_mouth") == pytest.approx(
        {"keypoint_mae_mouth": 3 / 64, "keypoint_mae_px_mouth": 6.25, "pck_05_mouth": 0.5, "pck_10_mouth": 1.0}
    )


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_plain_loop(seed, random_trials):
    for trial in random_trials(seed, count=2):
        errors, errors_px, near = [], [], []
        for seen, answer in zip(trial.keypoints.reshape(-1, 3), trial.keypoints_pred.reshape(-1, 2), strict=True):
            if seen[2] == 1:
                off = [abs(float(seen[0]) - float(answer[0])), abs(float(seen[1]) - float(answer[1]))]
                errors += off
                errors_px += [off[0] * 640, off[1] * 480]
                near.append(((off[0] * 640) ** 2 + (off[1] * 480) ** 2) ** 0.5 <= 0.1 * 640)
        out = keypoint_scores(keypoint_counts(trial).sum(0))
        assert out["keypoint_mae"] == pytest.approx(np.mean(errors))
        assert out["keypoint_mae_px"] == pytest.approx(np.mean(errors_px))
        assert out["pck_10"] == pytest.approx(np.mean(near))


def test_missing_points_are_no_score(answered, random_trials):
    trial = random_trials(0)[0]
    assert keypoint_counts(replace(trial, keypoints=None)) is None
    assert keypoint_counts(replace(trial, keypoints_pred=None)) is None
    hidden = with_points(answered, size=(8, 8), true=[[[0.5, 0.5, 0]]], pred=[[[0, 0]]])
    assert np.isnan(list(keypoint_scores(keypoint_counts(hidden)[0]).values())).all()
    assert np.isnan(keypoint_mae(np.zeros(5)))
