"""The pages of a data set that is planned by its shards: chosen and weighed by their kinds, read when they are reached.

S shards, M kinds of page.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from tarpon.shards.by_shard import ByShard
from tarpon.shards.lazy_manifest import ChosenRows, LazyManifest
from tarpon.shards.manifest import SPLITS, Manifest, list_cells
from tarpon.shards.row_view import KeyView
from tarpon.shards.sampling.shard_plan import ShardPlan
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.sources.cells.summary import KIND, PAGES
from tarpon.train.tasks.cells.choice import PageChoice, find_choice
from tarpon.train.tasks.cells.data import onset_or_told, page_labels, page_names
from tarpon.train.tasks.cells.losses import target_hours
from tarpon.train.tasks.cells.metrics.predictions import PageNames
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.rows import check_classes, class_names, page_columns, tell_early

RUN = 512  # shards whose kinds are in memory at a time: 100,000 kinds of ten stacks of two days each
NAMES = ("key", "source", "stack", "well", "position", "page")  # columns that name a page


@dataclass(frozen=True, kw_only=True, eq=False)
class PageKinds:
    """Kinds of page of some shards, those of a shard apart from another's; or of all together. (M,) each."""

    shard: np.ndarray  # int32; 0 of all together
    label: np.ndarray  # int8, 1 infected
    hours: np.ndarray  # float32 of the clock
    onset: np.ndarray  # float32 hour of infection
    opening: np.ndarray  # bool, the first page of a stack
    pages: np.ndarray  # int32 of a shard, int64 of all: how many there are

    def take(self, which: np.ndarray) -> "PageKinds":
        """Some of them: (M,) bool."""
        return PageKinds(**{item.name: getattr(self, item.name)[which] for item in fields(self)})

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the choice of a page depends on, as of `rows.page_columns`."""
        return self.label, self.hours, self.opening

    def count_by_class(self, shards: int) -> np.ndarray:
        """(S, 2) int64 pages of each class in each shard."""
        place = self.shard * len(CLASSES) + self.label
        counted = np.bincount(place, weights=self.pages, minlength=shards * len(CLASSES))  # exact to 2**53 pages
        return counted.astype(np.int64).reshape(shards, len(CLASSES))


JOINED = (  # columns of kinds, with the types that they are added up in
    ("label", pa.int8()), ("hours", pa.float32()), ("onset", pa.float32()), ("opening", pa.bool_()), ("pages", pa.int64()),
)  # fmt: skip


def read_kinds(manifest: LazyManifest, split: str, options: CellsOptions) -> Iterator[PageKinds]:
    """The kinds of a split's pages, from `shards.parquet`, for RUN shards after another."""
    names, first = (*(name for name, _ in KIND), PAGES), 0
    for run in manifest.summary_runs(split, names, shards=RUN):
        told = {name: list_cells(pa.chunked_array([run[name]])) for name in names}
        offsets = told[PAGES][1]
        yield PageKinds(
            shard=np.repeat(np.arange(first, first + len(run), dtype=np.int32), np.diff(offsets)),
            label=told["label"][0],
            hours=told["hours"][0],
            onset=onset_or_told(told["onset_hour"][0], options),
            opening=told["opening"][0],
            pages=told[PAGES][0],
        )
        first += len(run)


def join_kinds(runs: Iterable[PageKinds]) -> PageKinds:
    """The kinds of all shards together."""
    names = [item.name for item in fields(PageKinds) if item.name not in ("shard", "pages")]
    held = pa.table({name: pa.array([], kind) for name, kind in JOINED})
    for run in runs:
        more = pa.table({name: getattr(run, name).astype(kind.to_pandas_dtype()) for name, kind in JOINED})
        joined = pa.concat_tables([held, more]).group_by(names, use_threads=False).aggregate([("pages", "sum")])
        held = pa.table({name: joined["pages_sum" if name == "pages" else name] for name, _ in JOINED})
    columns = {name: held[name].to_numpy() for name, _ in JOINED}
    return PageKinds(shard=np.zeros(len(held), np.int32), **columns)


class StoredPages:
    """As `HeldPages`."""

    def __init__(self, manifest: LazyManifest, options: CellsOptions) -> None:
        self.manifest, self._options = manifest, options
        every = {name: join_kinds(read_kinds(manifest, name, options)) for name in SPLITS}
        last = max(float(kinds.hours.max(initial=0)) for kinds in every.values())
        self._how = {"rate": manifest.card["frames_per_hour"], "last_hour": last, "match": options.frames.match_windows}
        self._choices: dict[str, PageChoice] = {}
        self._by_class: dict[str, np.ndarray] = {}  # (S, 2) chosen pages of each class in each shard
        self.infected_onsets = np.zeros(0, np.float32)  # of all infected pages, each hour once
        for name, kinds in every.items():
            self._choose(name, kinds)
        self.rows: Mapping[str, ChosenRows] = {
            name: ChosenRows(counts.sum(1), partial(self.rows_of, name)) for name, counts in self._by_class.items()
        }

    def _choose(self, name: str, kinds: PageKinds) -> None:
        """Which kinds of a split's pages are taken, and what the task asks of them. kinds: of all its shards together."""
        choice = find_choice(getattr(self._options.frames, name), *kinds.columns(), **self._how)
        shards, runs = len(self.manifest.tars), read_kinds(self.manifest, name, self._options)
        self._choices[name] = choice
        self._by_class[name] = sum(
            (run.take(choice.mask(*run.columns())).count_by_class(shards) for run in runs),
            start=np.zeros((shards, len(CLASSES)), np.int64),
        )
        chosen = kinds.take(choice.mask(*kinds.columns()))
        needed = CLASSES if name != "test" else class_names(kinds.label)
        check_classes(self.manifest.root, class_names(chosen.label), name, needed=needed)
        self.infected_onsets = np.union1d(self.infected_onsets, kinds.onset[kinds.label == 1])
        if name == "train":
            self.medians, self._onset_lines = find_medians(chosen, self._options), [*tell_kinds_early(chosen)]

    @cached_property
    def labels(self) -> ByShard:
        """Label, hours and target of each row."""
        return ByShard(manifest=self.manifest, make=partial(_labels, options=self._options))

    @cached_property
    def names(self) -> "StoredNames":
        return StoredNames(self.manifest)

    def rows_of(self, split: str, shard: int) -> np.ndarray:
        """Row ids of a split's chosen pages in a shard, ascending, int64; read only where not all are chosen."""
        count = self._by_class[split][shard].sum()
        if count == 0:
            return np.zeros(0, np.int64)
        rows = self.manifest.split_rows(split, shard)
        if count == len(rows):
            return rows
        inside = rows - self.manifest.first_row(shard)
        return rows[self._choices[split].mask(*(column[inside] for column in self._columns.of(shard)))]

    @cached_property
    def _columns(self) -> ByShard:
        return ByShard(manifest=self.manifest, make=lambda held, _first: page_columns(held))

    def order(self, seed: int) -> ShardPlan:
        """Every training page once an epoch, or with `balance` as often as makes the classes equal."""
        counts, rows_of = self._by_class["train"], partial(self.rows_of, "train")
        if not self._options.balance:
            return ShardPlan(counts=counts.sum(1), rows_of=rows_of, seed=seed)
        weights = 1 / counts.sum(0)

        def weights_of(shard: int) -> np.ndarray:
            return weights[self.labels.of(shard)[0][rows_of(shard) - self.manifest.first_row(shard)]]

        totals = (counts * weights).sum(1)
        return ShardPlan(counts=counts.sum(1), rows_of=rows_of, seed=seed, totals=totals, weights_of=weights_of)

    def onset(self, split: str) -> np.ndarray | float:
        """Hour of infection by row, of the rows of a split; of all where there is but one."""
        if len(self.infected_onsets) == 1:
            return float(self.infected_onsets[0])
        known = ByShard(
            manifest=self.manifest,
            make=lambda held, _first: (onset_or_told(np.asarray(held.column("onset_hour"), np.float32), self._options),),
            columns=("onset_hour",),
            held=1,
        )
        hours = np.zeros(len(self.manifest), np.float32)  # memory that is never written to is never given
        for shard in np.flatnonzero(self._by_class[split].any(1)).tolist():
            rows = self.rows_of(split, shard)
            hours[rows] = known.take(rows)[0]
        return hours

    def describe_splits(self) -> str:
        """Pages of each split, and how many are infected."""
        told = {name: counts.sum(0) for name, counts in self._by_class.items()}
        return "; ".join(
            f"{name} {counts.sum()} pages, {counts[1] / max(counts.sum(), 1):.0%} infected" for name, counts in told.items()
        )

    def describe_onset(self) -> list[str]:
        """As `rows.describe_onset`."""
        return self._onset_lines


class StoredNames:
    """What the rows are called, as `PageNames`; read when they are asked for."""

    def __init__(self, manifest: LazyManifest) -> None:
        self.key = KeyView(manifest)
        self._by_shard = ByShard(manifest=manifest, make=_names, columns=NAMES, held=1)

    def at(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """As `PageNames.at`."""
        return dict(zip((item.name for item in fields(PageNames)), self._by_shard.take(rows), strict=True))


def _names(held: Manifest, _first: int) -> tuple[np.ndarray, ...]:
    made = page_names(held)
    return tuple(getattr(made, item.name) for item in fields(PageNames))


def _labels(held: Manifest, _first: int, *, options: CellsOptions) -> tuple[np.ndarray, ...]:
    made = page_labels(held, options)
    return made.label, made.hours, made.target


def find_medians(kinds: PageKinds, options: CellsOptions) -> tuple[float, float, float]:
    """`target_medians` of all pages of these kinds, which are of both classes."""
    infected = kinds.label == 1
    target = target_hours(kinds.hours, infected, onset=kinds.onset, clamp_range=options.clamp_range)
    own = [median_of_counted(target[which], kinds.pages[which]) for which in (~infected, infected)]
    return median_of_counted(target, kinds.pages), *own


def median_of_counted(values: np.ndarray, counts: np.ndarray) -> float:
    """The median of (M,) values, each as often as `counts` says."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(counts[order], dtype=np.int64)
    middle = np.array([(upto[-1] - 1) // 2, upto[-1] // 2])
    return float(np.mean(values[order][np.searchsorted(upto, middle, side="right")]))


def tell_kinds_early(kinds: PageKinds) -> Iterator[str]:
    """The line of `describe_onset` on training pages of these kinds."""
    infected = kinds.take(kinds.label == 1)
    return tell_early(infected.onset, infected.hours < infected.onset, pages=infected.pages)
