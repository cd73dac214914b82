"""The report's table of rules for labels, and the scores that it is made of."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from tarpon.tools.mouse.report_rules import format_rules
from tarpon.tools.mouse.rule_scores import list_rare, score_rule
from tarpon.tools.record import Record
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.decision.rule import fit_rule
from tarpon.train.tasks.mouse.metrics.sequence import score
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials
from tarpon.train.tasks.mouse.options import MouseOptions

CLASSES = list(MouseOptions().classes)


def make_record(folder, splits):
    """A record with the predictions of these splits."""
    paths = {split: folder / f"{split}.npz" for split in splits}
    for split, trials in splits.items():
        save_trials(paths[split], trials, classes=CLASSES, points=[])
    empty = {"config": "", "lines": [], "metrics": {}, "machine": {}, "groups": {}}
    return Record(name="r", folder=folder, task="mouse", predictions=paths, classes=CLASSES, **empty)


def test_scores_of_a_rule_are_those_of_its_labels(noisy_trials):
    val, test = noisy_trials(0), noisy_trials(1, group="b")
    rule = fit_rule("viterbi", val, classes=CLASSES)
    true = np.concatenate([trial.actions for trial in test])
    given = np.concatenate(rule.label_trials([trial.probs for trial in test]))
    scores = score_rule(rule, test, classes=CLASSES)
    assert scores["macro_f1"] == pytest.approx(f1_score(true, given, average="macro"))
    recalls = recall_score(true, given, average=None)
    assert [scores[f"recall_{name}"] for name in score_keys(CLASSES)] == pytest.approx(recalls.tolist())
    plain, told = score_rule(fit_rule("argmax", val, classes=CLASSES), test, classes=CLASSES), score(test, classes=CLASSES)
    for name in ("macro_f1", "segment_f1_50", "edit", "f1_walk"):
        assert plain[name] == pytest.approx(told[name])


def test_the_table_has_each_rule_and_says_what_it_was_fitted_to(tmp_path, noisy_trials):
    val, test = noisy_trials(0), noisy_trials(1, group="b")
    page = format_rules(make_record(tmp_path, {"val": val, "test": test}), test, classes=CLASSES)
    rule = fit_rule("viterbi", val, classes=CLASSES)
    scores = score_rule(rule, test, classes=CLASSES)
    assert page.index(">argmax<") < page.index(">thresholds<") < page.index(">viterbi<")
    assert f"<td>{scores['segment_f1_50']:.3f}</td>" in page
    assert "6 trials of validation, of 1 group," in page
    assert rule.said in page


def test_without_test_or_validation_there_is_no_table(tmp_path, noisy_trials):
    trials = noisy_trials(0)
    for split in ("val", "test"):
        assert "<table" not in format_rules(make_record(tmp_path, {split: trials}), trials, classes=CLASSES)


def test_rare_classes_are_those_with_few_labelled_frames():
    actions = np.repeat([0, 1, 2, -1], [95, 5, 20, 500])
    probs = np.full((len(actions), 4), 0.25, np.float32)
    trial = Trial(key="a", group="a", actions=actions, probs=probs, size=(64, 64))
    assert list_rare([trial], classes=["a", "b", "c", "d"]) == ["b"]
