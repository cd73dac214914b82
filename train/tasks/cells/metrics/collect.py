"""Model outputs of batches of pages, from every process, put together into one scored split."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from tarpon.train.task import Result
from tarpon.train.tasks.cells.metrics.predictions import PageNames, join_batches
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.metrics.tables import write_rows


class PageMetric:
    """Batches in, a scored split out.

    Args:
        names: by the `row` of a batch.
        clamp_range: hours; predicted hours are clamped to it, as the targets are.
        medians: of the training targets: of all pages, of uninfected, of infected ones (`target_medians`).
        onset: hour of the clock at which infection begins, of all or (R,) by the `row` of a batch.
        resamples: of the bootstrap; 0 leaves its intervals out.
    """

    def __init__(
        self,
        names: PageNames,
        *,
        clamp_range: tuple[float, float] = (0.0, 48.0),
        medians: tuple[float, float, float],
        onset: np.ndarray | float = math.nan,
        resamples: int = 1000,
    ) -> None:
        self._names, self._clamp, self._medians, self._onset = names, clamp_range, medians, onset
        self._resamples = resamples
        self._parts: list[dict[str, np.ndarray]] = []

    def add(self, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """out: label (B, 2) scores, hours (B,); batch: label (B,), hours (B,) of the clock, target (B,) clamped, row (B,),
        -1 for padding."""
        real = batch["row"] >= 0
        arrays = {
            "row": batch["row"],
            "label": batch["label"].long(),
            "prob": out["label"].float().softmax(1)[:, 1],
            "clock": batch["hours"].float(),
            "target": batch["target"].float(),
            "predicted": out["hours"].float().clamp(*self._clamp),
        }
        self._parts.append({name: value[real].detach().cpu().numpy() for name, value in arrays.items()})

    def part(self) -> list[dict[str, np.ndarray]]:
        """What this process has collected."""
        return self._parts

    def read(self, parts: list[list[dict[str, np.ndarray]]]) -> Result:
        """The scored split of the parts of all processes; ValueError where a row comes twice or none is there."""
        batches = [batch for part in parts for batch in part]
        rows = join_batches(batches, names=self._names, clamp_range=self._clamp, medians=self._medians, onset=self._onset)

        def save(path: Path) -> None:
            write_rows(path, rows)

        return Result(
            scalars=score(rows, resamples=self._resamples),
            save=save,
            rows=rows,
            pr_curves=lambda: {"infected": (rows.label == 1, rows.prob)},
        )


def target_medians(target: np.ndarray, label: np.ndarray) -> tuple[float, float, float]:
    """Median target of all training pages, of the uninfected, of the infected ones; of all where a class is missing.

    Args:
        target: (N,) clamped hours. label: (N,) 1 infected.
    """
    whole = float(np.median(target))
    own = [float(np.median(target[label == value])) if (label == value).any() else whole for value in (0, 1)]
    return whole, own[0], own[1]
