"""Model outputs of windows, put together into whole trials where they were answered; what scores are made of meets on rank 0.

Each process scores the trials that it has seen whole. What it hands on are counts and the labelled frames' probabilities,
for these are ranked over the whole split; its trials themselves it keeps and writes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from tarpon.pipelines.fallback_rows import row_left_out
from tarpon.train.metrics.names import score_keys
from tarpon.train.prediction_files import share_path
from tarpon.train.task import Result
from tarpon.train.tasks.mouse.metrics.counts import TrialCounts, add_counts, count_trials
from tarpon.train.tasks.mouse.metrics.ranking import FrameAnswers, one_vs_rest, take_labelled
from tarpon.train.tasks.mouse.metrics.sequence import score_counts
from tarpon.train.tasks.mouse.metrics.trial import Trial, check_trials, save_trials

FIELDS = ("actions", "probs", "keypoints", "keypoints_pred")
REST = 0  # class
FIRST, SPREAD = 8, 4  # trials that processes send for figures: the first ones, and some of all with predicted points


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialNames:
    """What rows are called: row id -> key, group and source size."""

    keys: Sequence[str]
    groups: Sequence[str]
    sizes: Sequence[Sequence[int]]  # width, height in px
    frames: Sequence[int] | None = None  # of the whole trial; None: not known, so no process can tell that it has seen them all
    classes: tuple[str, ...]
    points: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialPart:
    """What one process hands on."""

    counts: TrialCounts  # of the trials it has seen whole
    frames: Sequence[FrameAnswers]  # their labelled frames, at least
    shown: list[tuple[int, Trial]]  # row, trial: some of them, for figures; all of a single process
    loose: list[dict]  # windows of trials it has not seen whole


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredTrials(Sequence[Trial]):
    """Scored trials, of many processes some of them; counts and ranked frames are of all."""

    shown: list[Trial]
    counts: TrialCounts
    frames: Sequence[FrameAnswers]

    def __len__(self) -> int:
        return len(self.shown)

    def __getitem__(self, number: int) -> Trial:
        return self.shown[number]


class TrialMetric:
    """Windows in, scored trials out.

    Args:
        place, places: of this process among those that score the split.
    """

    def __init__(self, names: TrialNames, *, place: int = 0, places: int = 1) -> None:
        self._names, self._place, self._places = names, place, places
        self._windows: list[dict[str, np.ndarray]] = []
        self._trials: list[Trial] = []

    def add(self, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        probs = out["action"].float().softmax(-1)
        arrays = {"actions": batch["actions"], "probs": probs}
        if "keypoints" in out:
            arrays |= {"keypoints": batch["keypoints"], "keypoints_pred": out["keypoints"].float()}
        arrays = {name: value.detach().cpu().numpy() for name, value in arrays.items()}
        valid = batch["valid"].cpu().numpy()
        for i, (row, start) in enumerate(zip(batch["row"].tolist(), batch["start"].tolist(), strict=True)):
            if row >= 0:  # -1 is padding of the last batch
                self._windows.append({"row": row, "start": start, **{n: a[i][valid[i]] for n, a in arrays.items()}})
            elif (missing := row_left_out(row)) is not None:
                self._windows.append({"row": missing, "start": start})  # without it the trial is not whole

    def part(self) -> TrialPart:
        """What the scores need of this process; it holds whole trials from now on, no windows."""
        whole, loose = {}, []
        for row, windows in sort_windows(self._windows):
            if self._is_whole(row, windows):
                whole[row] = self._join(row, windows)
            else:
                loose += windows
        self._windows, self._trials = [], list(whole.values())
        alone = self._places == 1
        return TrialPart(
            counts=self._count(self._trials),
            frames=self._trials if alone else [take_labelled(self._trials, len(self._names.classes))],
            shown=list(whole.items()) if alone else choose_shown(whole, place=self._place, places=self._places),
            loose=loose,
        )

    def read(self, parts: list[TrialPart]) -> Result:
        """The scores of the parts of all processes; trials whose windows come from several are scored and kept here."""
        names = self._names
        for row, _ in chain.from_iterable(part.shown for part in parts):
            names.keys[row]  # asked for here too, so that the trial's stored frames are found by its key
        loose = [
            self._join(row, windows)
            for row, windows in sort_windows(chain.from_iterable(part.loose for part in parts))
            if all("probs" in window for window in windows)  # left out: a trial is scored whole or not at all
        ]
        self._trials += loose
        counts = add_counts([*(part.counts for part in parts), self._count(loose)])
        frames = [*chain.from_iterable(part.frames for part in parts), *loose]
        shown = [trial for part in parts for _, trial in part.shown]
        return Result(
            scalars=score_counts(counts, frames, classes=names.classes, points=names.points, rest=REST),
            save=self.save,
            files=self._places,
            rows=ScoredTrials(shown=shown + loose, counts=counts, frames=frames),
            pr_curves=lambda: one_vs_rest(frames, names=score_keys(names.classes)),
        )

    def save(self, path: Path) -> None:
        """Write the trials of this process, of several into its own file beside `path`."""
        held = any(trial.keypoints is not None or trial.keypoints_pred is not None for trial in self._trials)
        own = share_path(path, place=self._place, places=self._places)
        own.parent.mkdir(parents=True, exist_ok=True)
        points = self._names.points if held else ()
        save_trials(own, self._trials, classes=self._names.classes, points=points, of_a_set=self._places > 1)

    def _count(self, trials: Sequence[Trial]) -> TrialCounts:
        if trials:
            check_trials(trials, classes=self._names.classes, points=self._names.points)
        return count_trials(trials, num_classes=len(self._names.classes), rest=REST)

    def _is_whole(self, row: int, windows: Sequence[dict]) -> bool:
        frames = self._names.frames
        return (
            frames is not None
            and all("probs" in window for window in windows)
            and sum(len(window["probs"]) for window in windows) == frames[row]
        )

    def _join(self, row: int, windows: Sequence[dict]) -> Trial:
        whole = {name: np.concatenate([window[name] for window in windows]) for name in FIELDS if name in windows[0]}
        if "keypoints" in whole and not whole["keypoints"][..., 2].any():
            del whole["keypoints"]
        size = tuple(int(n) for n in self._names.sizes[row])
        return Trial(key=self._names.keys[row], group=self._names.groups[row], size=size, **whole)


def sort_windows(windows: Iterator[dict] | Sequence[dict]) -> list[tuple[int, list[dict]]]:
    """(row, its windows in order), in order of row."""
    by_row: dict[int, list[dict]] = {}
    for window in sorted(windows, key=lambda window: (window["row"], window["start"])):
        by_row.setdefault(window["row"], []).append(window)
    return list(by_row.items())


def choose_shown(trials: Mapping[int, Trial], *, place: int, places: int) -> list[tuple[int, Trial]]:
    """(row, trial) of those that process `place` of `places` sends for figures, in order: of each the whole arrays."""
    rows = list(trials)
    answered = [row for row in rows if trials[row].keypoints_pred is not None]
    spread = np.linspace(0, len(answered) - 1, -(-SPREAD // places)).round().astype(int) if answered else []
    # stretches are near equal: whoever has FIRST trials or more is behind one who has as many
    first = rows[:FIRST] if place == 0 or len(rows) < FIRST else []
    shown = {*first, *(answered[number] for number in spread)}
    return [(row, trials[row]) for row in rows if row in shown]
