"""What a model answered for every page of a split, and the files that hold it.

N pages, R rows of the table.
"""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tarpon.shards import atomic
from tarpon.train.packed_rows import sort_answered
from tarpon.train.prediction_files import list_shares

FORMAT = 1  # of the file; raised when its fields change
CONDITIONS = ("uninfected", "infected")  # by label
THRESHOLD = 0.5  # of the probability of infection: infected from here on
# Our field -> its name in the file. The first four are as published, where cls_preds holds probabilities.
STORED = {"predicted": "time_preds", "target": "time_targets", "prob": "cls_preds", "label": "cls_targets"}
WORDS = ("key", "stack", "well", "position", "path")
WHOLE = ("page", "label")  # int64; what is neither is float32


@dataclass(frozen=True, kw_only=True, eq=False)
class PageNames:
    """What the rows of the table are called: (R,) each."""

    key: np.ndarray  # str, in the manifest
    stack: np.ndarray  # str, unique to a stack: a position's number comes again in every well
    well: np.ndarray  # str
    position: np.ndarray  # str
    path: np.ndarray  # str, the file the page was in
    page: np.ndarray  # int64, from 0

    def at(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Names of some rows."""
        return {field.name: np.asarray(getattr(self, field.name))[rows] for field in fields(self)}


@dataclass(frozen=True, kw_only=True, eq=False)
class PageRows:
    """Truth and answer of every page, each page once. Checked when made (ValueError).

    Of pages that other processes answered there are neither key nor path nor number: no score and no figure needs them.
    """

    clamp_range: tuple[float, float]  # hours, of targets and of what is reported as predicted
    key: np.ndarray | None = None  # (N,) str
    stack: np.ndarray  # (N,) str, the unit of the bootstrap
    well: np.ndarray  # (N,) str
    position: np.ndarray  # (N,) str
    path: np.ndarray | None = None  # (N,) str
    page: np.ndarray | None = None  # (N,) int64
    label: np.ndarray  # (N,) int64, 1 infected
    prob: np.ndarray  # (N,) float32 of infection; not float16, which rounds 0.49999 up to a yes
    clock: np.ndarray  # (N,) float32 hours since the first page
    target: np.ndarray  # (N,) float32 true hours to be predicted, clamped
    predicted: np.ndarray  # (N,) float32 predicted hours, clamped
    constant: np.ndarray  # (N,) float32 median target of the training pages: the answer of a constant model
    constant_class: np.ndarray  # (N,) float32 the median of the page's own class
    onset: np.ndarray | None = None  # (N,) float32 hour of the clock at which infection begins; NaN (made of None): not known

    def __post_init__(self) -> None:
        if self.onset is None:
            object.__setattr__(self, "onset", np.full(self.label.shape, np.nan, np.float32))
        if not len(self.label):
            raise ValueError("no pages: the split is empty; look at the manifest's split column")
        for name in self.arrays():
            if getattr(self, name).shape != self.label.shape:
                raise ValueError(
                    f"{name} is {getattr(self, name).shape}, label is {self.label.shape}; one value a page is needed"
                )
        if not np.isin(self.label, (0, 1)).all():
            raise ValueError(f"label must be 0 (uninfected) or 1 (infected), got {np.unique(self.label).tolist()}")
        for name in ("prob", "predicted", "target", "clock"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite; the model has diverged, or the manifest lacks hours")
        low, high = self.clamp_range
        for name in ("predicted", "target"):
            if (getattr(self, name) < low).any() or (getattr(self, name) > high).any():
                raise ValueError(f"{name} leaves clamp_range={[low, high]}; clamp before scoring")

    def __len__(self) -> int:
        return len(self.label)

    def arrays(self) -> list[str]:
        """Names of the (N,) fields that are there."""
        return [field.name for field in fields(self) if field.name != "clamp_range" and getattr(self, field.name) is not None]

    def error(self) -> np.ndarray:
        """(N,) float64 predicted - true hours."""
        return self.predicted.astype(np.float64) - self.target

    def take(self, rows: np.ndarray) -> "PageRows":
        """Some of the pages: rows (n,) int64 or (N,) bool."""
        return PageRows(clamp_range=self.clamp_range, **{name: getattr(self, name)[rows] for name in self.arrays()})


def pool_rows(parts: Sequence[PageRows]) -> PageRows:
    """Pages of several splits as one.

    Raises:
        ValueError: a stack is in two parts, or the parts differ in clamp_range.
    """
    if len({part.clamp_range for part in parts}) != 1:
        raise ValueError(
            f"{len(parts)} parts have {len({part.clamp_range for part in parts})} clamp ranges; pool equal ones only"
        )
    stacks, times = np.unique(np.concatenate([np.unique(part.stack) for part in parts]), return_counts=True)
    if (times > 1).any():
        raise ValueError(f"stack {stacks[times > 1][0]} is in {times.max()} parts; a stack may be tested once only")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].arrays()}
    return PageRows(clamp_range=parts[0].clamp_range, **arrays)


def find_one_well_classes(*parts: PageRows) -> tuple[str, ...]:
    """Classes all of whose stacks, in all the parts together, come from one well, which a model may learn instead.

    Give every split there is: a small one may well have but one well of a class.
    """
    wells = {name: {well for rows in parts for well in rows.well[rows.label == label]} for label, name in enumerate(CONDITIONS)}
    return tuple(name for name, found in wells.items() if len(found) == 1)


def save_rows(path: Path, rows: PageRows) -> None:
    """Write everything the scores are computed from to one compressed npz."""
    _write(path, {name: getattr(rows, name) for name in rows.arrays()}, clamp_range=rows.clamp_range)


def save_no_rows(path: Path, *, clamp_range: tuple[float, float]) -> None:
    """As `save_rows`, of a process that answered no page: one file of a set."""
    kinds = dict.fromkeys(WORDS, str) | dict.fromkeys(WHOLE, np.int64)
    names = [field.name for field in fields(PageRows) if field.name != "clamp_range"]
    _write(path, {name: np.empty(0, kinds.get(name, np.float32)) for name in names}, clamp_range=clamp_range)


def _write(path: Path, arrays: Mapping[str, np.ndarray], *, clamp_range: tuple[float, float]) -> None:
    stored = {STORED.get(name, name): np.array(array, str) if name in WORDS else array for name, array in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(path) as draft, open(draft, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, format=np.array(FORMAT), clamp_range=np.array(clamp_range), **stored)


def load_rows(path: Path) -> PageRows:
    """Read a file of `save_rows`, or the files of a set, in their order; ValueError in one line when it is something else.

    Files of earlier versions know no onset.
    """
    held = [_read(file) for file in list_shares(path) or [path]]
    clamp_range, first = held[0]
    arrays = {name: np.concatenate([own[name] for _, own in held]) for name in first}
    return PageRows(clamp_range=clamp_range, **arrays)


def _read(path: Path) -> tuple[tuple[float, float], dict[str, np.ndarray]]:
    """(clamp range, field -> array) of one file."""
    with Path(path).open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not an npz file of predictions, or cut short; write it again")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            if "format" not in stored.files or "time_preds" not in stored.files or stored["format"] != FORMAT:
                raise ValueError(f"{path}: no page predictions of format {FORMAT}; give a run of cells, or write it again")
            arrays = {name: stored[name] for name in stored.files if name not in ("format", "clamp_range")}
            low, high = stored["clamp_range"].tolist()
    ours = {theirs: name for name, theirs in STORED.items()}
    return (low, high), {ours.get(name, name): array for name, array in arrays.items()}


def save_metadata(path: Path, rows: PageRows) -> None:
    """One JSON object a page, in the order of the npz: what each prediction belongs to, for readers without our code."""
    lines = [
        {
            "key": str(rows.key[i]),
            "path": str(rows.path[i]),
            "condition": CONDITIONS[rows.label[i]],
            "well": str(rows.well[i]),
            "position": str(rows.position[i]),
            "stack": str(rows.stack[i]),
            "frame_index": int(rows.page[i]),
            "hours_since_start": float(rows.clock[i]),
            "label": int(rows.label[i]),
        }
        for i in range(len(rows))
    ]
    atomic.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def join_batches(
    parts: Sequence[Mapping[str, np.ndarray]],
    *,
    names: PageNames,
    clamp_range: tuple[float, float],
    medians: tuple[float, float, float],
    onset: np.ndarray | float = math.nan,
) -> PageRows:
    """Pages from several batches or processes, put in order of `row`.

    Args:
        parts: each "row" (n,) int64 and label, prob, clock, target, predicted of PageRows.
        medians: of the training targets: of all pages, of uninfected, of infected ones.
        onset: hour of the clock at which infection begins, of all or (R,) of each row of the table.

    Raises:
        ValueError: a row is there twice, or there is none.
    """
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {"row": np.empty(0, int)}
    row, order = sort_answered(whole.pop("row"), unit="pages")
    picked = {name: value[order] for name, value in whole.items()}
    begins = np.asarray(onset, np.float32)[row] if np.ndim(onset) else np.full(len(row), onset, np.float32)
    constants = constant_answers(picked["label"], medians)
    return PageRows(clamp_range=clamp_range, onset=begins, **constants, **picked, **names.at(row))


def constant_answers(label: np.ndarray, medians: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """What always telling a median would answer pages of these labels (N,): `constant` and `constant_class` of PageRows."""
    own = np.array(medians[1:], np.float32)[label]
    return {"constant": np.full(len(label), medians[0], np.float32), "constant_class": own}
