"""Rules for labels over several runs: means, intervals and paired differences by hand, and the mean of the probabilities."""

import numpy as np
import pytest
from scipy.stats import t as student

from tarpon.tools.mouse import compare_rules
from tarpon.tools.mouse.rule_scores import score_rule
from tarpon.train.tasks.mouse.decision.rule import fit_rule
from tarpon.train.tasks.mouse.metrics.trial import save_trials
from tarpon.train.tasks.mouse.options import MouseOptions

CLASSES = list(MouseOptions().classes)


@pytest.fixture
def runs(tmp_path, noisy_trials):
    """Folders of three runs that answered the same trials, each with noise of its own."""
    for number in range(3):
        (tmp_path / f"{number}" / "predictions").mkdir(parents=True)
        for group, split in enumerate(("val", "test")):
            trials = noisy_trials(group, group=split, answers=number)
            save_trials(tmp_path / f"{number}" / "predictions" / f"{split}.npz", trials, classes=CLASSES, points=[])
    return [tmp_path / f"{number}" for number in range(3)]


def test_rows_are_means_and_differences_of_pairs(runs, noisy_trials, capsys):
    assert compare_rules.main([str(run) for run in runs]) == 0
    table = capsys.readouterr().out.splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in table}
    scores = {}
    for name in ("argmax", "viterbi"):
        scores[name] = np.array([
            score_rule(fit_rule(name, val, classes=CLASSES), test, classes=CLASSES)["segment_f1_50"]
            for val, test in ([noisy_trials(g, group=s, answers=n) for g, s in ((0, "val"), (1, "test"))] for n in range(3))
        ])  # fmt: skip
        half = student.ppf(0.975, 2) * scores[name].std(ddof=1) / np.sqrt(3)
        assert cells[name][3] == f"{scores[name].mean():.3f} ± {half:.3f}"
    assert cells["viterbi, less argmax"][3].startswith(f"{(scores['viterbi'] - scores['argmax']).mean():+.3f} ± ")


def test_the_mean_is_of_probabilities(noisy_trials):
    splits = [noisy_trials(0, answers=number) for number in range(3)]
    mean = compare_rules.average(splits)
    np.testing.assert_allclose(mean[2].probs, sum(split[2].probs for split in splits) / 3, atol=1e-6)
    with pytest.raises(ValueError, match="do not have the same trials"):
        compare_rules.average([splits[0], splits[1][::-1]])


def test_the_shortest_bout_is_chosen_by_whole_bouts(noisy_trials):
    assert compare_rules.choose_min_bout(noisy_trials(0), 6) > 1


def test_mistakes_are_one_line(runs, noisy_trials, capsys):
    assert compare_rules.main([str(runs[0])]) == 2
    assert compare_rules.main([str(runs[0]), str(runs[0] / "nowhere")]) == 2
    save_trials(runs[2] / "predictions" / "val.npz", noisy_trials(0), classes=CLASSES[::-1], points=[])
    assert compare_rules.main([str(runs[0]), str(runs[2])]) == 2
    usage, gone, other = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage:")
    assert "nowhere" in gone
    assert f"{runs[2]}: its classes are active" in other
