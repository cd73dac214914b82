"""Answers of the leaf task, collected from every process, scored and stored. N pictures, K classes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from tarpon.shards import atomic
from tarpon.train.metrics.bootstrap import bootstrap_interval
from tarpon.train.metrics.confusion import frame_scores, macro_f1
from tarpon.train.metrics.names import score_keys
from tarpon.train.task import Result


@dataclass(frozen=True, kw_only=True, eq=False)
class LeafRows:
    """Truth and answer of every picture of a split."""

    classes: np.ndarray  # (K,) str
    key: np.ndarray  # (N,) str
    group: np.ndarray  # (N,) str, the plant; the unit of the interval
    species: np.ndarray  # (N,) int64
    probability: np.ndarray  # (N, K) float32

    def confusion(self) -> np.ndarray:
        """(K, K) pictures by true and by predicted species."""
        return sum(self.confusion_by_plant(), np.zeros((len(self.classes),) * 2, int))

    def confusion_by_plant(self) -> np.ndarray:
        """(plants, K, K) the same of each plant."""
        plants, own = np.unique(self.group, return_inverse=True)
        counts = np.zeros((len(plants), len(self.classes), len(self.classes)), int)
        np.add.at(counts, (own, self.species, self.probability.argmax(1)), 1)
        return counts


class SpeciesMetric:
    """Batches in, a scored split out. keys, groups: (rows of the manifest,) by the `row` of a batch."""

    def __init__(self, classes: list[str], *, keys: np.ndarray, groups: np.ndarray) -> None:
        self._classes, self._keys, self._groups = classes, keys, groups
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, out: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        real = batch["row"] >= 0
        arrays = (batch["row"], batch["species"], out["species"].softmax(1))
        self._parts.append(tuple(array[real].cpu().numpy() for array in arrays))

    def part(self) -> list[tuple[np.ndarray, ...]]:
        return self._parts

    def read(self, parts: list[list[tuple[np.ndarray, ...]]]) -> Result:
        row, species, probability = map(np.concatenate, zip(*(batch for part in parts for batch in part), strict=True))
        order = np.argsort(row)
        names = {"key": self._keys[row[order]], "group": self._groups[row[order]], "classes": np.array(self._classes)}
        rows = LeafRows(species=species[order], probability=probability[order], **names)
        return Result(scalars=score(rows), save=lambda path: save(path, rows), rows=rows)


def score(rows: LeafRows) -> dict[str, float]:
    """Accuracy, macro F1 with its interval over plants, and the scores of each species."""
    low, high = bootstrap_interval(rows.confusion_by_plant(), macro_f1)
    return frame_scores(rows.confusion(), names=score_keys(rows.classes)) | {"macro_f1_low": low, "macro_f1_high": high}


def save(path: Path, rows: LeafRows) -> None:
    """Everything the scores are computed from, in one npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft, open(draft, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **asdict(rows))


def load(path: Path) -> LeafRows:
    with np.load(path, allow_pickle=False) as stored:
        return LeafRows(**stored)
