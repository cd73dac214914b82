"""Model outputs of windows, from every rank, put together into whole trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from tarpon.pipelines.fallback_rows import row_left_out
from tarpon.train.metrics.names import score_keys
from tarpon.train.task import Result
from tarpon.train.tasks.mouse.metrics.ranking import one_vs_rest
from tarpon.train.tasks.mouse.metrics.sequence import score
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials

FIELDS = ("actions", "probs", "keypoints", "keypoints_pred")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialNames:
    """What rows are called: row id -> key, group and source size."""

    keys: Sequence[str]
    groups: Sequence[str]
    sizes: Sequence[Sequence[int]]  # width, height in px
    classes: tuple[str, ...]
    points: tuple[str, ...]


class TrialMetric:
    """Windows in, scored trials out."""

    def __init__(self, names: TrialNames) -> None:
        self._names = names
        self._windows: list[dict[str, np.ndarray]] = []

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

    def part(self) -> list[dict]:
        """What this process has collected."""
        return self._windows

    def read(self, parts: list[list[dict]]) -> Result:
        """The scored trials of the parts of all processes."""
        trials, names = self._trials([window for part in parts for window in part]), self._names
        scored = any(trial.keypoints is not None for trial in trials)

        def save(path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_trials(path, trials, classes=names.classes, points=names.points if scored else ())

        return Result(
            scalars=score(trials, classes=names.classes, points=names.points if scored else ()),
            save=save,
            rows=trials,
            pr_curves=lambda: one_vs_rest(trials, names=score_keys(names.classes)),
        )

    def _trials(self, windows: list[dict]) -> list[Trial]:
        by_row: dict[int, list[dict]] = {}
        for window in sorted(windows, key=lambda w: (w["row"], w["start"])):
            by_row.setdefault(window["row"], []).append(window)
        trials = []
        for row, parts in by_row.items():
            if not all("probs" in part for part in parts):
                continue  # left out: a trial is scored whole or not at all
            whole = {name: np.concatenate([part[name] for part in parts]) for name in FIELDS if name in parts[0]}
            if "keypoints" in whole and not whole["keypoints"][..., 2].any():
                del whole["keypoints"]
            trials.append(
                Trial(
                    key=self._names.keys[row],
                    group=self._names.groups[row],
                    size=tuple(int(n) for n in self._names.sizes[row]),
                    **whole,
                )
            )
        return trials
