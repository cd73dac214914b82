"""Which pages the splits have, and the order of training. R rows of the manifest, n of them in a split."""

from collections.abc import Iterator, Sequence

import numpy as np

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.sampling import plan
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.sources.cells.source import select_hours
from tarpon.shards.split import assign_fold_splits
from tarpon.train.tasks.cells.metrics.control import describe_onsets
from tarpon.train.tasks.cells.options import CellsOptions, Pages


def select_rows(manifest: Manifest, options: CellsOptions) -> dict[str, np.ndarray]:
    """train, val, test -> (n,) int64 rows of the manifest, ascending.

    Raises:
        ValueError: a class without pages in train or val, where both are needed to learn and to choose the weights, or in
            test, where the stored split has some: a window of hours must not drop a class without a word.
    """
    splits, labels = assign_splits(manifest, options), np.asarray(manifest.column("label"), np.int64)
    rows = {name: select_split(manifest, splits, name, options) for name in SPLITS}
    for name in SPLITS:
        needed = CLASSES if name != "test" else class_names(labels[splits == name])
        check_classes(manifest, rows[name], labels, name, needed=needed)
    return rows


def assign_splits(manifest: Manifest, options: CellsOptions) -> np.ndarray:
    """(R,) str split of every row: the stored one, or that in which a fold is tested."""
    if options.fold is None:
        return np.array(manifest.column("split"))
    stored = manifest.card["split"]
    train, val, _ = stored["ratios"]
    columns = (manifest.column("fold"), manifest.column("group"), manifest.column("label"))
    return np.array(assign_fold_splits(*columns, k=options.fold, val_share=val / (train + val), seed=stored["seed"]))


def select_split(manifest: Manifest, splits: np.ndarray, name: str, options: CellsOptions) -> np.ndarray:
    """(n,) int64 rows of a split inside its windows of hours, ascending. splits: (R,) str, of every row."""
    pages: Pages = getattr(options.frames, name)
    hours, labels = np.asarray(manifest.column("hours")), np.asarray(manifest.column("label"))
    rate = manifest.card["frames_per_hour"]
    infected = _in_hours(hours, pages.infected_window_hours, rate=rate, stride=pages.infected_stride)
    uninfected = _in_hours(hours, pages.uninfected_window_hours, rate=rate, stride=pages.uninfected_stride)
    if pages.uninfected_window_hours is None and not pages.uninfected_use_all:
        uninfected &= np.asarray(manifest.column("page")) == 0
    if options.frames.match_windows:
        infected = uninfected = infected & uninfected
    rows = np.flatnonzero((splits == name) & np.where(labels == 1, infected, uninfected))
    return _at_common_times(rows, labels, np.rint(hours * rate)) if options.frames.match_windows else rows


def _in_hours(hours: np.ndarray, window: tuple[float, float] | None, *, rate: float, stride: int) -> np.ndarray:
    window = (0.0, float(hours.max())) if window is None else window
    return select_hours(hours, window, frames_per_hour=rate, stride=stride)


def _at_common_times(rows: np.ndarray, labels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Of `rows`, those at times that both classes have pages of: a stack may end early, or have begun late."""
    infected = labels[rows] == 1
    return rows[np.isin(times[rows], np.intersect1d(times[rows][infected], times[rows][~infected]))]


def class_names(labels: np.ndarray) -> tuple[str, ...]:
    """Classes that occur in (n,) int64 labels."""
    return tuple(CLASSES[label] for label in np.unique(labels))


def check_classes(manifest: Manifest, rows: np.ndarray, labels: np.ndarray, name: str, *, needed: Sequence[str]) -> None:
    """ValueError where a split has no page of a needed class.

    Args:
        rows: (n,) int64 of the split `name`. labels: (R,) int64 of every row.
    """
    for lacking in (known for known in needed if known not in class_names(labels[rows])):
        raise ValueError(
            f"{manifest.root}: no {lacking} pages in {name} (frames.{name}); widen its windows of hours, or pack with another "
            f"--split or --seed"
        )


def training_order(
    manifest: Manifest, rows: np.ndarray, labels: np.ndarray, options: CellsOptions, *, seed: int
) -> plan.EpochPlan:
    """Every training page once an epoch, or with `balance` as often as makes the classes equal."""
    shard = manifest.tar_numbers(rows)
    by_shard = np.argsort(shard, kind="stable")
    rows, shard = rows[by_shard], shard[by_shard]
    weights = 1 / np.bincount(labels[rows], minlength=len(CLASSES))[labels[rows]] if options.balance else None
    return plan.EpochPlan(rows=rows, shards=shard, seed=seed, weights=weights)


def describe_onset(manifest: Manifest, rows: np.ndarray, labels: np.ndarray, *, onset: np.ndarray) -> Iterator[str]:
    """A line on infected training pages from before the onset, which show nothing of the infection yet; none without such.

    onset: (R,) hour of the clock at which the infection of every row begins.
    """
    infected = rows[labels[rows] == 1]
    when = describe_onsets(onset[infected])
    early = np.asarray(manifest.column("hours"))[infected] < onset[infected]
    if early.all():
        yield (
            f"warning   every infected training page is from before {when}, so all learn 0 h and there is "
            f"nothing to be seen of the infection; look at infection_onset_hour and frames.train.infected_window_hours"
        )
    elif early.any():
        yield (
            f"onset     {early.mean():.0%} of the infected training pages are from before it: they learn 'infected' and 0 h; "
            f"frames.train.infected_window_hours leaves them out"
        )
