"""Processes that score trials of their own: the scores, the files and what is handed on, whatever their number."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tarpon.pipelines.fallback_rows import left_out
from tarpon.shards.sampling.plan import cut_stretches
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.mouse.export import fit_stored
from tarpon.train.tasks.mouse.figures.split import draw_split
from tarpon.train.tasks.mouse.metrics.collect import ScoredTrials, TrialMetric, TrialNames
from tarpon.train.tasks.mouse.metrics.sequence import score
from tarpon.train.tasks.mouse.metrics.thresholds import fit_thresholds
from tarpon.train.tasks.mouse.metrics.trial import load_trials

CLASSES, POINTS, FRAMES = ("rest", "pain", "walk", "lick"), ("nose", "paw", "tail"), 9


@pytest.fixture
def trials(random_trials):
    return random_trials(3, count=11, groups=4)


@pytest.fixture
def names(trials):
    return names_of(trials)


def names_of(trials) -> TrialNames:
    return TrialNames(
        keys=[trial.key for trial in trials],
        groups=[trial.group for trial in trials],
        sizes=[trial.size for trial in trials],
        frames=[len(trial.actions) for trial in trials],
        classes=CLASSES,
        points=POINTS,
    )


def windows_of(trials) -> list[tuple[int, int]]:
    return [(row, start) for row, trial in enumerate(trials) for start in range(0, len(trial.actions), FRAMES)]


def deal(trials, names, *, world: int, bad: int | None = None) -> list[TrialMetric]:
    """Metrics of `world` processes, each with its stretch of the windows; of trial `bad` the last window is left out."""
    windows = windows_of(trials)
    cuts = cut_stretches(len(windows), world=world, begins=lambda i: windows[i][1] == 0)
    metrics = []
    for rank in range(world):
        metrics.append(TrialMetric(names, place=rank, places=world))
        for row, start in windows[cuts[rank] : cuts[rank + 1]]:
            own = slice(start, start + FRAMES)
            trial = trials[row]
            last = start + FRAMES >= len(trial.actions)
            out = {"action": torch.from_numpy(np.log(trial.probs[own]))[None]}
            out["keypoints"] = torch.from_numpy(trial.keypoints_pred[own])[None]
            batch = {name: torch.from_numpy(getattr(trial, name)[own])[None] for name in ("actions", "keypoints")}
            batch["valid"] = torch.ones(batch["actions"].shape, dtype=torch.bool)
            batch["row"] = torch.tensor([left_out(row) if row == bad and last else row])
            batch["start"] = torch.tensor([start])
            metrics[-1].add(out, batch)
    return metrics


def read(metrics: list[TrialMetric]) -> SimpleNamespace:
    """The result on rank 0, and the bytes that the others sent."""
    first, *others = [metric.part() for metric in metrics]
    sent = [pickle.dumps(part) for part in others]
    return SimpleNamespace(result=metrics[0].read([first, *map(pickle.loads, sent)]), sent=sum(map(len, sent)))


@pytest.mark.parametrize("world", [2, 3, 30])  # 30: more than there are trials
def test_scores_and_files_are_those_of_one_process(trials, names, world, tmp_path):
    one = read(deal(trials, names, world=1)).result
    metrics = deal(trials, names, world=world)
    many = read(metrics).result
    assert many.scalars == one.scalars  # to the last bit, intervals too
    for metric in metrics:
        metric.save(tmp_path / "many" / "val.npz")
    one.save(tmp_path / "one" / "val.npz")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["val.npz"]
    assert len(list_shares(tmp_path / "many" / "val.npz")) == world
    (held, *named), (found, *others) = (load_trials(tmp_path / name / "val.npz") for name in ("one", "many"))
    assert named == others == [list(CLASSES), list(POINTS)]
    assert [trial.key for trial in found] == [trial.key for trial in held] == names.keys
    for a, b in zip(held, found, strict=True):
        for name in ("actions", "probs", "keypoints", "keypoints_pred", "size", "group"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(fit_stored(tmp_path / "many" / "val.npz")[0], fit_thresholds(held, CLASSES))


def test_the_scores_are_those_of_the_trials(trials, names):
    scored = read(deal(trials, names, world=3)).result.scalars
    assert scored == pytest.approx(score(trials, classes=CLASSES, points=POINTS), rel=1e-5)


@pytest.mark.parametrize("bad", [0, 10])
def test_a_trial_that_is_not_whole_is_left_out_by_any_number_of_processes(trials, names, bad, tmp_path):
    one, two = (deal(trials, names, world=world, bad=bad) for world in (1, 2))
    alone, both = read(one).result, read(two).result
    assert alone.scalars == both.scalars
    assert alone.scalars["trials"] == len(trials) - 1
    for metric in two:
        metric.save(tmp_path / "val.npz")
    assert names.keys[bad] not in [trial.key for trial in load_trials(tmp_path / "val.npz")[0]]


def test_a_trial_of_two_processes_is_refused(trials, names):
    metrics = [*deal(trials, names, world=2), *deal(trials[:1], names, world=1)]
    with pytest.raises(ValueError, match="trial trial_0 is given 2 times"):
        read(metrics)


def test_others_send_labels_and_probabilities_alone(random_trials):
    """Of a frame 4 probabilities and a label, 18 bytes; its windows held 108: 4 probabilities, a label, 3 points in and out."""
    trials = random_trials(5, count=400, groups=4)
    held = 108 * sum(len(trial.actions) for trial in trials)
    assert read(deal(trials, names_of(trials), world=8)).sent < 0.4 * held


def test_figures_of_many_processes_show_the_same_counts_and_first_trials(trials, names):
    one, many = (read(deal(trials, names, world=world)).result.rows for world in (1, 4))
    assert isinstance(many, ScoredTrials)
    assert [trial.key for trial in one] == names.keys
    assert [trial.key for trial in many[:8]] == names.keys[:8]
    drawn = [draw_split(rows, classes=CLASSES) for rows in (one, many)]
    assert drawn[0].keys() == drawn[1].keys()
    for name, pixels in drawn[0].items():
        np.testing.assert_array_equal(pixels, drawn[1][name])
