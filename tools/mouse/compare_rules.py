"""`python -m tarpon.tools.mouse.compare_rules RUN RUN ...`: rules for labels over the seeds of one recipe, as Markdown.

Rules are fitted to each run's validation and scored on its test; then the same of the mean of the runs' probabilities.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tarpon.tools.mouse.ablate import half_width
from tarpon.tools.mouse.rule_scores import score_rule
from tarpon.train.tasks.mouse.decision.rule import RULES, fit_rule, measure, with_labels
from tarpon.train.tasks.mouse.metrics.bouts import merge_short
from tarpon.train.tasks.mouse.metrics.trial import Trial, load_trials

Split = list[Trial]
SCORES = {
    "macro_f1": "macro F1",
    "f1_paw_withdraw": "F1 of paw_withdraw",
    "recall_paw_withdraw": "its recall",
    "segment_f1_50": "segmental F1@50",
    "edit": "Edit",
}
MIN_BOUTS = (1, 2, 3, 5, 8, 12)  # frames


def with_min_bout(trials: Split, frames: int) -> Split:
    return with_labels(trials, [merge_short(trial.predicted, min_bout=frames) for trial in trials])


def choose_min_bout(trials: Split, num_classes: int) -> int:
    """The shortest bout by what a strength of viterbi is chosen by: segmental F1@50, at no cost in macro F1."""
    tried = {frames: measure(with_min_bout(trials, frames), num_classes) for frames in MIN_BOUTS}
    allowed = [frames for frames in MIN_BOUTS if tried[frames][0] >= tried[1][0]]
    return max(allowed, key=lambda frames: (tried[frames][1], tried[frames][0], -frames))


def score_all(val: Split, test: Split, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """What labels are made by -> scores on test."""
    argmax = fit_rule("argmax", val, classes=classes)
    found = {name: score_rule(fit_rule(name, val, classes=classes), test, classes=classes) for name in RULES}
    shortest = choose_min_bout(val, len(classes))
    return found | {"argmax, `--min_bout`": score_rule(argmax, with_min_bout(test, shortest), classes=classes)}


def average(splits: Sequence[Split]) -> Split:
    """One split of several runs with the mean of their probabilities. ValueError where the trials are not the same."""
    for trials in zip(*splits, strict=True):
        if any(t.key != trials[0].key or not np.array_equal(t.actions, trials[0].actions) for t in trials):
            raise ValueError(f"trial {trials[0].key}: the runs do not have the same trials and labels in this split")
    return [
        replace(trials[0], probs=np.mean([trial.probs for trial in trials], 0, dtype=np.float64).astype(np.float32))
        for trials in zip(*splits, strict=True)
    ]


def format_row(name: str, runs: Sequence[Mapping[str, float]], show: Callable[[np.ndarray], str]) -> str:
    """A dash for a score that a run does not have."""
    values = [np.array([scores.get(column, np.nan) for scores in runs]) for column in SCORES]
    return f"| {name} | {' | '.join(show(own) if np.isfinite(own).all() else '-' for own in values)} |"


def format_table(singles: Sequence[Mapping[str, Mapping[str, float]]], mean: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Markdown: means with 95% t intervals over runs, paired differences to argmax, the mean of the probabilities."""
    lines = [f"| labels by | {' | '.join(SCORES.values())} |", "|---" * (len(SCORES) + 1) + "|"]
    for name in singles[0]:
        own = [run[name] for run in singles]
        lines.append(format_row(name, own, lambda v: f"{v.mean():.3f} ± {half_width(v):.3f}"))
    for name in [name for name in singles[0] if name != "argmax"]:
        less = [{column: value - run["argmax"][column] for column, value in run[name].items()} for run in singles]
        lines.append(format_row(f"{name}, less argmax", less, lambda v: f"{v.mean():+.3f} ± {half_width(v):.3f}"))
    for name, scores in mean.items():
        lines.append(format_row(f"mean of {len(singles)} runs, {name}", [scores], lambda v: f"{v[0]:.3f}"))
    return lines


def compare(runs: Sequence[Path]) -> list[str]:
    """The table of these run folders. ValueError where classes or trials are not the same, OSError where predictions lack."""
    splits, classes = [], []
    for run in runs:
        (val, named, _), (test, _, _) = (load_trials(run / "predictions" / f"{split}.npz") for split in ("val", "test"))
        classes = classes or named
        if named != classes:
            raise ValueError(f"{run}: its classes are {', '.join(named)} and those of {runs[0]} {', '.join(classes)}")
        splits.append((val, test))
    mean = [average(own) for own in zip(*splits, strict=True)]
    singles = [score_all(val, test, classes) for val, test in splits]
    return format_table(singles, score_all(*mean, classes))


def main(words: list[str]) -> int:
    """Exit status."""
    if len(words) < 2:
        print("usage: python -m tarpon.tools.mouse.compare_rules RUN RUN ... (of one recipe and one split)", file=sys.stderr)
        return 2
    try:
        print("\n".join(compare([Path(run) for run in words])))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
