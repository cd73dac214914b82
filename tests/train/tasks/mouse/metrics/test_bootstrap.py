import numpy as np
import pytest
from sklearn.metrics import f1_score

from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import macro_f1
from tarpon.train.tasks.mouse.metrics.trial import count_confusion


def test_agrees_with_a_plain_loop_over_frames(random_trials):
    # the oracle glues the frames of the drawn groups together and asks sklearn
    trials = random_trials(3, count=5, groups=5)
    frames = [(t.actions[t.actions >= 0], t.predicted[t.actions >= 0]) for t in trials]
    scores = []
    for drawn in np.random.default_rng(7).integers(5, size=(200, 5)):
        true, pred = (np.concatenate([frames[g][side] for g in drawn]) for side in (0, 1))
        scores.append(f1_score(true, pred, labels=np.unique(true), average="macro", zero_division=0))
    expected = np.percentile(scores, [2.5, 97.5])
    counts = np.stack([count_confusion([trial], 4) for trial in trials])
    assert bootstrap_interval(counts, macro_f1, resamples=200, seed=7) == pytest.approx(tuple(expected))
    assert expected[0] < expected[1]


def test_the_mean_of_many_groups_gets_its_normal_interval():
    # 400 groups of unit variance: the mean's 95% interval is close to mean -+ 1.96 / 20
    values = np.random.default_rng(0).normal(size=400)
    counts = np.stack([np.ones(400), values], 1)
    low, high = bootstrap_interval(counts, lambda sums: sums[:, 1] / sums[:, 0], resamples=4000)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_seed_decides():
    counts = np.random.default_rng(0).integers(1, 9, (8, 2, 2))
    first = bootstrap_interval(counts, macro_f1, seed=1)
    assert first == bootstrap_interval(counts, macro_f1, seed=1)
    assert first != bootstrap_interval(counts, macro_f1, seed=2)


def test_one_group_has_no_interval():
    one = np.array([[[3, 1], [1, 3]]])
    assert np.isnan(bootstrap_interval(one, macro_f1)).all()
    assert np.isnan(bootstrap_interval(one[:0], macro_f1)).all()
    with_empty = np.concatenate([one, np.zeros_like(one)])  # a group without labelled frames is none
    assert np.isnan(bootstrap_interval(with_empty, macro_f1)).all()
    two = np.concatenate([one, 2 * one, np.zeros_like(one)])
    assert bootstrap_interval(two, macro_f1) == bootstrap_interval(two[:2], macro_f1) == (0.75, 0.75)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="level=95"):
        bootstrap_interval(np.ones((3, 1)), lambda sums: sums[:, 0], level=95)
