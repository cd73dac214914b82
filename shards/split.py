"""Train, validation and test by group (animal, video, well, session), never by row."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tarpon.shards.manifest import SPLITS


def assign_splits(
    groups: Mapping[str, np.ndarray], *, ratios: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0
) -> dict[str, str]:
    """Assign every group to a split so that each class is divided near the ratios.

    Args:
        groups: group name -> label histogram (C,), counts in any unit (frames, images).
        ratios: shares of train, val, test; normalised here.
        seed: decides between equal choices.

    Returns:
        group name -> "train" | "val" | "test". With three groups or more, and ratios above 0, no split is empty.

    Greedy stratified grouping (Sechidis et al. 2011, applied to whole groups): groups with the rarest labels
    choose first, each goes where its labels are most wanted. A class that three groups have reaches all three splits.
    """
    if len(ratios) != 3 or min(ratios) < 0 or ratios[0] <= 0:
        raise ValueError(f"split ratios {tuple(ratios)} must be three numbers >= 0, train above 0; e.g. 0.7 0.15 0.15")
    share = np.asarray(ratios, float) / sum(ratios)
    wanted = [split for split, ratio in zip(SPLITS, share, strict=True) if ratio > 0]
    if len(groups) < len(wanted):
        raise ValueError(
            f"{len(groups)} group(s) cannot fill {', '.join(wanted)} without a leak; give more recordings, "
            f"a finer --group, or ratios with a 0 for what is not needed"
        )
    names = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    counts = np.stack([np.asarray(groups[name], float) for name in names])
    weight = counts / np.maximum(counts.sum(0), 1)  # each class weighs the same, however rare
    size = counts.sum(1) / max(counts.sum(), 1)
    alike = np.full(len(names), 1 / len(names))  # unlabelled groups weigh something too
    weight = np.concatenate([weight, size[:, None], alike[:, None]], axis=1)
    order = sorted(range(len(names)), key=lambda i: -weight[i].max())
    need = share[:, None] * weight.sum(0)
    members = np.zeros(3, int)
    has, lacks = counts > 0, np.ones((3, counts.shape[1]), bool)
    standing = has.sum(0)  # (C,) groups of each class that have not chosen yet
    own = np.eye(3)[:, :, None]  # one row: where a group's labels go
    result = {}
    for position, i in enumerate(order):
        left = len(order) - position
        empty = [s for s in range(3) if share[s] > 0 and members[s] == 0]
        choices = empty if len(empty) == left else [s for s in range(3) if share[s] > 0]
        # classes of which as few groups are left as splits lack them: this group must go where they are lacking
        scarce = has[i] & (standing <= (lacks & (share > 0)[:, None]).sum(0))
        # then the squared shortfall that remains over all splits if group i goes to s
        shortfall = ((need - own * weight[i]) ** 2 / share.clip(1e-9)[:, None]).reshape(3, -1).sum(1)
        first = (lacks & scarce).sum(1)
        best = min(choices, key=lambda s: (-first[s], shortfall[s]))
        standing -= has[i]
        need[best] -= weight[i]
        lacks[best] &= ~has[i]
        members[best] += 1
        result[names[i]] = SPLITS[best]
    return result


def check_leak(groups: Sequence[str], splits: Sequence[str], *, given: Collection[str] = ()) -> None:
    """ValueError naming the first group that is in two splits; rows of a `given` split are not checked."""
    seen: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if split not in given and seen.setdefault(group, split) != split:
            raise ValueError(f"group {group!r} is in both {seen[group]} and {split}: a leak; split by group again")


def hold_out(classes: Sequence[str], groups: Sequence[str], *, share: float, seed: int = 0) -> np.ndarray:
    """Rows to hold out, class by class and in whole groups.

    Args:
        classes, groups: of every row. A group counts for the class that most of its rows have.
        share: of each class's rows, in [0, 1).
        seed: of the order of the groups.

    Returns:
        (rows,) bool. Independent of the order of the rows; the choice in a class is independent of the other classes.

    The target in a class of n rows is round(share * n). Its groups are visited in an order drawn by hash, and one is taken
    where that brings the count nearer to the target; one group always stays. So a class of one group stays whole, as does one
    with a target of 0 (3 rows or fewer at 0.15), and the result is near the share, not equal to it.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share={share} of the rows to hold out must be in [0, 1)")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, group in zip(classes, groups, strict=True):
        counts[group][name] += 1
    members: dict[str, list[str]] = defaultdict(list)
    for group in sorted(counts, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest()):
        members[min(counts[group], key=lambda name: (-counts[group][name], name))].append(group)
    taken: set[str] = set()
    for own in members.values():
        sizes = {group: counts[group].total() for group in own}
        left = math.floor(share * sum(sizes.values()) + 0.5)
        standing = len(own)
        for group in own:
            if standing > 1 and abs(left - sizes[group]) < abs(left):
                taken.add(group)
                left -= sizes[group]
                standing -= 1
    return np.fromiter((group in taken for group in groups), bool, len(groups))


def assign_folds(groups: Mapping[str, np.ndarray], *, folds: int, seed: int = 0) -> dict[str, int]:
    """Assign every group to the fold in which it is tested, so that each fold has near 1 / folds of every class.

    Args:
        groups: group name -> label histogram (C,), as of `assign_splits`.
        folds: 2 or more.

    Returns:
        group name -> 0 .. folds - 1.

    Raises:
        ValueError: a class has fewer groups than there are folds, or a fold would be left without one.
    """
    if folds < 2:
        raise ValueError(f"folds={folds} must be 2 or more")
    names = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    counts = np.stack([np.asarray(groups[name], float) for name in names])
    standing = (counts > 0).sum(0)
    if (standing < folds).any():
        raise ValueError(
            f"folds={folds}, but class {int(standing.argmin())} has {standing.min()} group(s): a fold would test none of it; "
            f"lower --folds, or take a finer --group"
        )
    share = counts / counts.sum(0)
    held = np.zeros((folds, counts.shape[1]))
    result = {}
    for i in sorted(range(len(names)), key=lambda i: -share[i].max()):  # the largest first; equal ones in hashed order
        grown = ((held + share[i]) ** 2 - held**2).sum(1)
        best = min(range(folds), key=lambda fold: (round(grown[fold], 9), round(held[fold].sum(), 9)))
        held[best] += share[i]
        result[names[i]] = best
    if not held.all():
        raise ValueError(f"folds={folds}: groups that hold several classes leave a fold without one; lower --folds")
    return result


def assign_fold_splits(
    folds: Sequence[int], groups: Sequence[str], labels: Sequence[int], *, k: int, val_share: float, seed: int = 0
) -> list[str]:
    """The split of every row when fold `k` is tested: validation is cut from the rest by group, stratified.

    Args:
        folds, groups, labels: of every row; labels from 0.
        val_share: of the rows that are not tested, in [0, 1).

    Raises:
        ValueError: there is no such fold, a group stands in two, or the rest is too small for a validation split.
    """
    folds, labels = np.asarray(folds, int), np.asarray(labels, int)
    if not len(folds) or folds.max() < 0:
        raise ValueError("these shards have no folds; pack them with --folds K")
    if not 0 <= k <= folds.max():
        raise ValueError(f"fold={k} must be 0 to {folds.max()}")
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share={val_share} must be in [0, 1)")
    check_leak(groups, [f"fold {fold}" for fold in folds])
    classes = int(labels.max()) + 1
    rest: dict[str, np.ndarray] = {}
    for group, label in zip(np.asarray(groups)[folds != k].tolist(), labels[folds != k].tolist(), strict=True):
        rest.setdefault(group, np.zeros(classes))[label] += 1
    split = assign_splits(rest, ratios=(1 - val_share, val_share, 0), seed=seed)
    return ["test" if fold == k else split[group] for fold, group in zip(folds, groups, strict=True)]
