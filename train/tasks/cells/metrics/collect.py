"""Model outputs of batches of pages, put together where they were answered; what scores are made of meets on rank 0.

Each process keeps and writes its own pages.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from tarpon.train.packed_rows import collect_rows
from tarpon.train.prediction_files import share_path
from tarpon.train.task import Result
from tarpon.train.tasks.cells.metrics.predictions import PageNames, PageRows, join_batches, save_no_rows
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.metrics.shares import PagePart, join_parts, take_part
from tarpon.train.tasks.cells.metrics.tables import write_rows


class PageMetric:
    """Batches in, a scored split out.

    Args:
        names: by the `row` of a batch.
        clamp_range: hours; predicted hours are clamped to it, as the targets are.
        medians: of the training targets: of all pages, of uninfected, of infected ones (`target_medians`).
        onset: hour of the clock at which infection begins, of all or (R,) by the `row` of a batch.
        resamples: of the bootstrap; 0 leaves its intervals out.
        place, places: of this process among those that score the split.
    """

    def __init__(
        self,
        names: PageNames,
        *,
        clamp_range: tuple[float, float] = (0.0, 48.0),
        medians: tuple[float, float, float],
        onset: np.ndarray | float = math.nan,
        resamples: int = 1000,
        place: int = 0,
        places: int = 1,
    ) -> None:
        self._names, self._clamp, self._medians, self._onset = names, clamp_range, medians, onset
        self._resamples, self._place, self._places = resamples, place, places
        self._batches: list[dict[str, np.ndarray]] = []
        self._own: PageRows | None = None

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
        self._batches.append({name: value[real].detach().cpu().numpy() for name, value in arrays.items()})

    def part(self) -> PageRows | PagePart | None:
        """What the scores need of this process: of a single one its pages themselves; None where it has none."""
        batches, self._batches = self._batches, []
        numbers = collect_rows(batches)
        if not len(numbers):
            return None
        how = {"clamp_range": self._clamp, "medians": self._medians}
        self._own = join_batches(batches, names=self._names, onset=self._onset, **how)
        return self._own if self._places == 1 else take_part(numbers, self._own)

    def read(self, parts: list[PageRows | PagePart | None]) -> Result:
        """The scored split of the parts of all processes; ValueError where a row comes twice or none is there."""
        held = [part for part in parts if part is not None]
        alone = self._places == 1 and len(held) == 1
        rows = held[0] if alone else join_parts(held, clamp_range=self._clamp, medians=self._medians)
        return Result(
            scalars=score(rows, resamples=self._resamples),
            save=self.save,
            rows=rows,
            files=self._places,
            pr_curves=lambda: {"infected": (rows.label == 1, rows.prob)},
        )

    def save(self, path: Path) -> None:
        """Write this process's pages, of several into its own file beside `path`; of a single one also as a table."""
        own = share_path(path, place=self._place, places=self._places)
        if self._own is None:
            save_no_rows(own, clamp_range=self._clamp)
        else:
            write_rows(own, self._own)


def target_medians(target: np.ndarray, label: np.ndarray) -> tuple[float, float, float]:
    """Median target of all training pages, of the uninfected, of the infected ones; of all where a class is missing.

    Args:
        target: (N,) clamped hours. label: (N,) 1 infected.
    """
    whole = float(np.median(target))
    own = [float(np.median(target[label == value])) if (label == value).any() else whole for value in (0, 1)]
    return whole, own[0], own[1]
