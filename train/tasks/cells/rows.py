"""Which pages the splits have, and the order of training. R rows of the manifest, n of them in a split."""

from collections.abc import Iterator, Sequence

import numpy as np

from tarpon.shards.manifest import SPLITS, Manifest
from tarpon.shards.sampling import plan
from tarpon.shards.sources.cells.schema import CLASSES
from tarpon.shards.split import assign_fold_splits
from tarpon.train.tasks.cells.choice import find_choice
from tarpon.train.tasks.cells.metrics.control import describe_onsets
from tarpon.train.tasks.cells.options import CellsOptions


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
        check_classes(manifest.root, class_names(labels[rows[name]]), name, needed=needed)
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
    columns, own = page_columns(manifest), np.flatnonzero(splits == name)
    last_hour, columns = float(columns[1].max()), [column[own] for column in columns]
    how = {"rate": manifest.card["frames_per_hour"], "last_hour": last_hour, "match": options.frames.match_windows}
    return own[find_choice(getattr(options.frames, name), *columns, **how).mask(*columns)]


def page_columns(manifest: Manifest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the choice of a page depends on, (R,) each: label, hours (float32), opening (bool, the first page of a stack)."""
    return np.asarray(manifest.column("label")), np.asarray(manifest.column("hours")), np.asarray(manifest.column("page")) == 0


def class_names(labels: np.ndarray) -> tuple[str, ...]:
    """Classes that occur in (n,) int64 labels."""
    return tuple(CLASSES[label] for label in np.unique(labels))


def check_classes(root: str, found: Sequence[str], name: str, *, needed: Sequence[str]) -> None:
    """ValueError where the split `name` has no page of a needed class. found: classes of the pages that it has."""
    for lacking in (known for known in needed if known not in found):
        raise ValueError(
            f"{root}: no {lacking} pages in {name} (frames.{name}); widen its windows of hours, or pack with another "
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
    own = onset[infected]
    yield from tell_early(own, np.asarray(manifest.column("hours"))[infected] < own, pages=np.ones(len(infected), np.int64))


def tell_early(onset: np.ndarray, early: np.ndarray, *, pages: np.ndarray) -> Iterator[str]:
    """The line of `describe_onset`, of kinds of infected training pages: onset, early (n,), pages (n,) how many of each."""
    if early.all():
        yield (
            f"warning   every infected training page is from before {describe_onsets(onset)}, so all learn 0 h and there is "
            f"nothing to be seen of the infection; look at infection_onset_hour and frames.train.infected_window_hours"
        )
    elif early.any():
        yield (
            f"onset     {pages[early].sum() / pages.sum():.0%} of the infected training pages are from before it: they learn "
            f"'infected' and 0 h; frames.train.infected_window_hours leaves them out"
        )
