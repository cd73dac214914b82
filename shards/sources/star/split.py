"""Train, validation and test of re-identification: by session within each identity, never by single image.

A query must find the same animal on another day, so earlier sessions of an identity are in the gallery and later ones are
queries. Every function is pure; random choices are by hash of names, so that the order of the rows has no effect.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

UNMOVED = -1  # unit of an image whose session is unknown: it stays in train


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageColumns:
    """Columns of some images, one entry each."""

    identities: Sequence[str]
    days: Sequence[str]  # YYYY-MM-DD, another text that differs between days, or ""
    clusters: Sequence[str]  # of near duplicates, or ""
    names: Sequence[str]  # unique

    def take(self, indices: Sequence[int]) -> "ImageColumns":
        """The columns of some of the images."""
        columns = (self.identities, self.days, self.clusters, self.names)
        identities, days, clusters, names = ([column[i] for i in indices] for column in columns)
        return ImageColumns(identities=identities, days=days, clusters=clusters, names=names)


def count_train_sessions(count: int, *, ratio: float) -> int:
    """Number of sessions, of `count` in order of time, for training: at least one, and at most all but one.

    >>> [train_sessions(count, ratio=0.8) for count in (2, 3, 4, 5, 6)]
    [1, 2, 3, 4, 4]
    """
    return max(1, min(math.floor(count * ratio + 1e-9), count - 1))  # 1e-9: 0.57 * 100 is a little less than 57


def split_by_time(
    identities: Sequence[str],
    days: Sequence[str],
    *,
    train_ratio: float = 0.8,
    min_sessions: int = 2,
    novel: Iterable[str] = (),
) -> list[str]:
    """The split of every image: an identity's first days are train, the last of these val, the later days test.

    Args:
        days: `YYYY-MM-DD`, or "" where unknown: such an image is in train and has no session.
        min_sessions: identities of fewer days are in train entirely.
        novel: identities that are in test entirely.

    With a single training day there is no validation. A test day is never before a training day of the same identity.
    """
    splits = ["train"] * len(identities)
    held = set(novel)
    for identity, rows in group_indices(identities).items():
        split_of_day = _split_days({days[i] for i in rows} - {""}, train_ratio=train_ratio, min_sessions=min_sessions)
        for i in rows:
            splits[i] = "test" if identity in held else split_of_day.get(days[i], "train")
    return splits


def validate_last(identities: Sequence[str], days: Sequence[str], splits: Sequence[str]) -> list[str]:
    """The splits, with the last training day of every identity that trains on two days or more as validation."""
    mended = list(splits)
    for rows in group_indices(identities).values():
        known = sorted({days[i] for i in rows if splits[i] == "train"} - {""})
        for i in rows if len(known) > 1 else ():
            if splits[i] == "train" and days[i] == known[-1]:
                mended[i] = "val"
    return mended


def _split_days(days: set[str], *, train_ratio: float, min_sessions: int) -> dict[str, str]:
    ordered = sorted(days)
    if len(ordered) < max(2, min_sessions):
        return dict.fromkeys(ordered, "train")
    cut = count_train_sessions(len(ordered), ratio=train_ratio)
    return {
        day: "test" if place >= cut else "val" if place == cut - 1 and cut > 1 else "train" for place, day in enumerate(ordered)
    }


def choose_novel(identities: Sequence[str], days: Sequence[str], *, min_sessions: int, share: float, seed: int) -> set[str]:
    """Identities to hold out entirely: about `share` of those with `min_sessions` days or more, never all.

    With a share above 0 and two such identities or more, at least one is drawn.
    """
    able = [
        identity
        for identity, rows in group_indices(identities).items()
        if len({days[i] for i in rows} - {""}) >= max(2, min_sessions)
    ]
    if not share or len(able) < 2:
        return set()
    count = min(max(1, math.floor(share * len(able) + 0.5)), len(able) - 1)
    return set(sorted(able, key=lambda identity: _hash_name(seed, identity))[:count])


def assign_roles(
    identities: Sequence[str], splits: Sequence[str], sessions: Mapping[str, int], *, least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Roles of every image's identity in the protocol: distractor and novel, (images,) bool each.

    A distractor has fewer than `least` sessions and is in train entirely: in the gallery, never a query. A novel identity is in
    test only: a query without a match in the gallery.

    Args:
        sessions: identity -> number of known sessions.
    """
    distractor, novel = np.zeros(len(splits), bool), np.zeros(len(splits), bool)
    for identity, rows in group_indices(identities).items():
        found = {splits[i] for i in rows}
        distractor[rows] = found == {"train"} and sessions.get(identity, 0) < least
        novel[rows] = found == {"test"}
    return distractor, novel


def repair_splits(identities: Sequence[str], splits: Sequence[str], novel: Sequence[bool]) -> list[str]:
    """The splits, changed where an identity has no training images left: its val images become train, else its test images.

    Novel identities are unchanged.
    """
    mended = list(splits)
    for rows in group_indices(identities).values():
        found = {splits[i] for i in rows if not novel[i]}
        if found and "train" not in found:
            moved = "val" if "val" in found else "test"
            for i in rows:
                mended[i] = "train" if splits[i] == moved else splits[i]
    return mended


def find_units(images: ImageColumns) -> np.ndarray:
    """The unit of every image, which no split divides, (images,) int64.

    Images of one identity are connected when day or cluster is the same; a unit is a connected component. An image with neither
    is its own unit; where its identity has images with one, it is UNMOVED: it may be of the same day.
    """
    above: dict[Hashable, Hashable] = {}

    def top(mark: Hashable) -> Hashable:
        while above.setdefault(mark, mark) != mark:
            mark = above[mark]
        return mark

    marks = []
    for identity, day, cluster in zip(images.identities, images.days, images.clusters, strict=True):
        own = [(identity, kind, value) for kind, value in (("day", day), ("cluster", cluster)) if value]
        for mark in own:
            above[top(mark)] = top(own[0])
        marks.append(own[0] if own else None)
    known = {mark[0] for mark in marks if mark}
    numbers: dict[Hashable, int] = {}
    units = np.full(len(marks), UNMOVED, np.int64)
    for i, (identity, mark) in enumerate(zip(images.identities, marks, strict=True)):
        if mark or identity not in known:
            units[i] = numbers.setdefault(top(mark) if mark else i, len(numbers))
    return units


def count_units(images: ImageColumns, units: np.ndarray) -> dict[str, int]:
    """identity -> its number of units."""
    return {name: len(_group_by_unit(rows, units)) for name, rows in group_indices(images.identities).items()}


def split_by_day(images: ImageColumns, units: np.ndarray, *, ratio: float) -> list[str]:
    """train or test of every image: an identity's earliest units are train, near `ratio` of its dated images.

    Units without a day are train, and so are identities with fewer than two dated units.
    """

    def order(own: dict[int, list[int]]) -> list[int]:
        first = {unit: min((images.days[i] for i in rows if images.days[i]), default="") for unit, rows in own.items()}
        return sorted((unit for unit in own if first[unit]), key=lambda unit: first[unit])

    return _cut_units(images, units, ratio=ratio, order=order)


def split_by_hash(images: ImageColumns, units: np.ndarray, *, ratio: float, seed: int, clustered: bool = False) -> list[str]:
    """train or test of every image: units in hashed order, near `ratio` of an identity's images in train.

    Args:
        clustered: units without a cluster are train.
    """

    def order(own: dict[int, list[int]]) -> list[int]:
        able = [unit for unit, rows in own.items() if not clustered or any(images.clusters[i] for i in rows)]
        return sorted(able, key=lambda unit: _hash_unit(seed, images, own[unit]))

    return _cut_units(images, units, ratio=ratio, order=order)


def _cut_units(
    images: ImageColumns, units: np.ndarray, *, ratio: float, order: Callable[[dict[int, list[int]]], list[int]]
) -> list[str]:
    splits = ["train"] * len(units)
    for rows in group_indices(images.identities).values():
        own = _group_by_unit(rows, units)
        ordered = order(own)
        if len(ordered) < 2:
            continue
        sizes = np.cumsum([len(own[unit]) for unit in ordered])
        cut = 1 + int(np.abs(sizes[:-1] - ratio * sizes[-1]).argmin())  # one unit at least on either side
        for i in (i for unit in ordered[cut:] for i in own[unit]):
            splits[i] = "test"
    return splits


def hold_out_units(images: ImageColumns, units: np.ndarray, *, share: float, seed: int) -> np.ndarray:
    """Training images to hold out for validation: whole units, about `share` of all images.

    Args:
        images, units: of the training images only. An identity's latest unit is taken first; without days, in hashed order.

    Returns:
        (images,) bool. Images are taken from identities with two units or more, or with four images that are units of their
        own; one unit at least stays. The rounding error is carried over to the next identity, so that small ones contribute.
        Where few identities qualify, about half of their images are taken at most.
    """
    held = np.zeros(len(units), bool)
    able = []
    for name, rows in group_indices(images.identities).items():
        own = _group_by_unit(rows, units)
        alone = not any(images.days[i] or images.clusters[i] for i in rows)
        if len(own) >= (4 if alone else 2):
            able.append((_hash_name(seed, name), own))
    total = sum(len(rows) for _, own in able for rows in own.values())
    rate = min(share * len(units) / max(total, 1), 0.5)
    owed = 0.0  # pictures
    for _, own in sorted(able, key=lambda item: item[0]):
        owed += rate * sum(map(len, own.values()))
        order = sorted(own, key=lambda unit: _hash_unit(seed, images, own[unit]))
        order.sort(key=lambda unit: max(images.days[i] for i in own[unit]), reverse=True)
        for unit in order[:-1]:
            if owed < len(own[unit]) / 2:
                break
            held[own[unit]] = True
            owed -= len(own[unit])
    return held


def group_indices(names: Sequence[str]) -> dict[str, list[int]]:
    """name -> its indices, ascending; in order of first appearance."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        found[name].append(i)
    return dict(found)


def _group_by_unit(rows: Sequence[int], units: np.ndarray) -> dict[int, list[int]]:
    """unit -> indices of its images among `rows`; UNMOVED is left out."""
    own: dict[int, list[int]] = defaultdict(list)
    for i in rows:
        if units[i] != UNMOVED:
            own[int(units[i])].append(i)
    return dict(own)


def _hash_name(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _hash_unit(seed: int, images: ImageColumns, rows: Sequence[int]) -> bytes:
    return _hash_name(seed, min(images.names[i] for i in rows))
