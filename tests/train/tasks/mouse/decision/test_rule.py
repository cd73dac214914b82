"""Rules fitted on validation: what they are neutral about, and what they gain where there is something to gain."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.metrics.confusion import macro_f1
from tarpon.train.tasks.mouse.decision.rule import PARTS, RULES, Rule, answer_by, fit_rule, measure, split_parts
from tarpon.train.tasks.mouse.metrics.bouts import class_bouts
from tarpon.train.tasks.mouse.metrics.trial import Trial, count_confusion

CLASSES = ["rest", "rare", "walk"]


def make_trials(seed, *, count=6, groups=1, noise=2.0, bias=(0.0, 0.0, 0.0), frames=300):
    """Bouts of 10 to 30 frames, rare ones short; scores of the truth with noise of each frame and a bias of each class."""
    rng = np.random.default_rng(seed)
    trials = []
    for n in range(count):
        labels = np.tile([0, 1, 0, 2], frames)
        lengths = np.where(labels == 1, rng.integers(5, 10, len(labels)), rng.integers(20, 40, len(labels)))
        actions = np.repeat(labels, lengths)[: frames - n]
        scores = 3 * np.eye(3)[actions] + noise * rng.normal(size=(len(actions), 3)) + bias
        probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        trials.append(
            Trial(key=f"t{n}", group=f"g{n % groups}", actions=actions, probs=probs.astype(np.float32), size=(64, 64))
        )
    return trials


@pytest.fixture(scope="module")
def noisy():
    return make_trials(0), make_trials(1)


def test_viterbi_mends_torn_bouts_of_trials_it_has_not_seen(noisy):
    val, test = noisy
    rule = fit_rule("viterbi", val, classes=CLASSES)
    assert rule.said.startswith("viterbi: strength")
    assert rule.moves[0, 1] < 0
    assert not np.diag(rule.moves).any()
    (frames, bouts), (frames_before, bouts_before) = measure(answer_by(rule, test), 3), measure(test, 3)
    assert bouts > bouts_before + 0.3
    assert frames > frames_before
    true, given = zip(*((row.true, row.predicted) for row in class_bouts(answer_by(rule, test), num_classes=3)), strict=True)
    assert sum(given) < 1.2 * sum(true)


def test_thresholds_mend_a_bias_on_trials_they_have_not_seen():
    val, test = (make_trials(seed, bias=(0, 3, 0)) for seed in (2, 3))
    rule = fit_rule("thresholds", val, classes=CLASSES)
    assert rule.offsets[1] - rule.offsets[0] < -1.5
    assert rule.said.startswith("thresholds: ")
    before, after = (macro_f1(count_confusion(trials, 3)) for trials in (test, answer_by(rule, test)))
    assert after > before + 0.05


def test_where_nothing_is_to_be_gained_the_rule_is_argmax():
    sure = make_trials(4, noise=0.1)
    for name in RULES:
        rule = fit_rule(name, sure, classes=CLASSES)
        assert rule.said.startswith("argmax: ")
        assert not rule.offsets.any()
        assert not rule.moves.any()
        for trial, labels in zip(sure, rule.label_trials([trial.probs for trial in sure]), strict=True):
            assert np.array_equal(labels, trial.predicted)


@pytest.mark.parametrize("name", ["thresholds", "viterbi"])
def test_one_trial_is_not_believed_and_unlabelled_ones_do_not_count(name, noisy):
    blank = replace(noisy[0][1], actions=np.full(len(noisy[0][1].actions), -1))
    assert "one validation trial" in fit_rule(name, [noisy[0][0], blank], classes=CLASSES).said
    with pytest.raises(ValueError, match="none of the 1 validation trials has a labelled frame"):
        fit_rule(name, [blank], classes=CLASSES)


def test_viterbi_never_costs_macro_f1_on_what_was_left_out(random_trials):
    for seed in range(5):
        said = fit_rule("viterbi", random_trials(seed), classes=["a", "b", "c", "d"]).said
        after, before = said.partition("macro F1 ")[2].partition(" on validation")[0].strip(")").split(" (")
        assert float(after) >= float(before)


def test_unlabelled_frames_are_labelled_but_not_counted(noisy):
    val = [replace(t, actions=np.where(np.arange(len(t.actions)) % 50 < 10, -1, t.actions)) for t in noisy[0]]
    for name in RULES:
        assert all((labels >= 0).all() for labels in fit_rule(name, val, classes=CLASSES).label_trials([t.probs for t in val]))


def test_a_recording_of_trials_is_labelled_trial_by_trial(noisy):
    rule = fit_rule("viterbi", noisy[0], classes=CLASSES)
    probs = np.concatenate([trial.probs for trial in noisy[1]])
    cut = rule.label(probs, trial_frames=100)
    assert np.array_equal(cut, np.concatenate([rule.label(probs[i : i + 100]) for i in range(0, len(probs), 100)]))
    assert not np.array_equal(cut, rule.label(probs))


def test_frames_without_an_answer_go_on_as_their_neighbours():
    moves = -3.0 * ~np.eye(3, dtype=bool)
    probs = np.full((20, 3), 0.1, np.float32)
    probs[:, 1] = 0.8
    probs[5:9], probs[12] = 0, np.nan
    assert Rule(offsets=np.zeros(3), moves=moves, said="").label(probs).tolist() == [1] * 20


def test_parts_are_groups_or_else_trials():
    assert split_parts(make_trials(0, count=4, groups=2)).tolist() == [0, 1, 0, 1]
    assert split_parts(make_trials(0, count=4)).tolist() == [0, 1, 2, 3]
    assert set(split_parts(make_trials(0, count=12))) == set(range(PARTS))


def test_an_unknown_rule_is_refused(noisy):
    with pytest.raises(ValueError, match="decide='magic' must be argmax, thresholds, viterbi"):
        fit_rule("magic", noisy[0], classes=CLASSES)
