"""Train, validation and test of re-identification: by session within each identity, never by picture.

A query must find the same animal on another day, so of one identity some sessions are the gallery and later ones ask.
Every function is pure; all draws are by hash of names, so the order of the rows changes nothing.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

UNMOVED = -1  # unit of a picture of which is not known what it belongs with: it stays in train


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageColumns:
    """What is known of some pictures, a place each."""

    identities: Sequence[str]
    days: Sequence[str]  # YYYY-MM-DD, another text that tells days apart, or ""
    clusters: Sequence[str]  # near duplicates, or ""
    names: Sequence[str]  # each its own

    def take(self, places: Sequence[int]) -> "ImageColumns":
        columns = (self.identities, self.days, self.clusters, self.names)
        identities, days, clusters, names = ([column[i] for i in places] for column in columns)
        return ImageColumns(identities=identities, days=days, clusters=clusters, names=names)


def count_train_sessions(count: int, *, ratio: float) -> int:
    """How many of `count` sessions in order of time are for training: at least one, and at most all but one.

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
    """The split of every picture: an identity's first days train, the last of these validates, the later days test.

    Args:
        days: `YYYY-MM-DD`, or "" where the day is not known: such a picture trains and is no session.
        min_sessions: an identity of fewer days trains with all it has.
        novel: identities that are tested whole.

    With one day to train on there is no validation. A test day is never before a training day of the same identity.
    """
    splits = ["train"] * len(identities)
    held = set(novel)
    for identity, rows in group_indices(identities).items():
        told = _split_days({days[i] for i in rows} - {""}, train_ratio=train_ratio, min_sessions=min_sessions)
        for i in rows:
            splits[i] = "test" if identity in held else told.get(days[i], "train")
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
    """Identities to hold out whole, drawn from those of `min_sessions` days or more; about `share` of them, never all.

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
    """What every picture's identity is to the protocol: distractor, novel; (pictures,) bool each.

    A distractor has fewer than `least` sessions (identity -> how many can be told apart) and trains with all it has: never
    asked, but in the gallery. A novel one is in test only: it asks, and nothing in the gallery answers.
    """
    distractor, novel = np.zeros(len(splits), bool), np.zeros(len(splits), bool)
    for identity, rows in group_indices(identities).items():
        found = {splits[i] for i in rows}
        distractor[rows] = found == {"train"} and sessions.get(identity, 0) < least
        novel[rows] = found == {"test"}
    return distractor, novel


def repair_splits(identities: Sequence[str], splits: Sequence[str], novel: Sequence[bool]) -> list[str]:
    """The splits, where an identity lost all it had to be found by: what is left of it takes that place.

    Without train its validation trains; without both its test does. Novel identities are left as they are.
    """
    mended = list(splits)
    for rows in group_indices(identities).values():
        found = {splits[i] for i in rows if not novel[i]}
        if found and "train" not in found:
            moved = "val" if "val" in found else "test"
            for i in rows:
                mended[i] = "train" if splits[i] == moved else splits[i]
    return mended


def find_units(pictures: ImageColumns) -> np.ndarray:
    """What no split may cut, as a number for every picture, (pictures,) int64.

    Pictures of one identity belong together where day or cluster is the same, and so do all that are joined by others. A
    picture with neither stands alone; where its identity has pictures with one, it is UNMOVED: it may be of the same day.
    """
    above: dict[Hashable, Hashable] = {}

    def top(mark: Hashable) -> Hashable:
        while above.setdefault(mark, mark) != mark:
            mark = above[mark]
        return mark

    marks = []
    for identity, day, cluster in zip(pictures.identities, pictures.days, pictures.clusters, strict=True):
        own = [(identity, kind, said) for kind, said in (("day", day), ("cluster", cluster)) if said]
        for mark in own:
            above[top(mark)] = top(own[0])
        marks.append(own[0] if own else None)
    known = {mark[0] for mark in marks if mark}
    numbers: dict[Hashable, int] = {}
    units = np.full(len(marks), UNMOVED, np.int64)
    for i, (identity, mark) in enumerate(zip(pictures.identities, marks, strict=True)):
        if mark or identity not in known:
            units[i] = numbers.setdefault(top(mark) if mark else i, len(numbers))
    return units


def count_units(pictures: ImageColumns, units: np.ndarray) -> dict[str, int]:
    """identity -> its units."""
    return {name: len(_group_by_unit(rows, units)) for name, rows in group_indices(pictures.identities).items()}


def split_by_day(pictures: ImageColumns, units: np.ndarray, *, ratio: float) -> list[str]:
    """train or test of every picture: an identity's earliest units train, near `ratio` of its dated pictures.

    Units without a day train, and so does an identity with fewer than two that have one.
    """

    def order(own: dict[int, list[int]]) -> list[int]:
        first = {unit: min((pictures.days[i] for i in rows if pictures.days[i]), default="") for unit, rows in own.items()}
        return sorted((unit for unit in own if first[unit]), key=lambda unit: first[unit])

    return _cut_units(pictures, units, ratio=ratio, order=order)


def split_by_hash(pictures: ImageColumns, units: np.ndarray, *, ratio: float, seed: int, clustered: bool = False) -> list[str]:
    """train or test of every picture: units in drawn order, near `ratio` of an identity's pictures to train.

    Args:
        clustered: units without a cluster train.
    """

    def order(own: dict[int, list[int]]) -> list[int]:
        able = [unit for unit, rows in own.items() if not clustered or any(pictures.clusters[i] for i in rows)]
        return sorted(able, key=lambda unit: _hash_unit(seed, pictures, own[unit]))

    return _cut_units(pictures, units, ratio=ratio, order=order)


def _cut_units(
    pictures: ImageColumns, units: np.ndarray, *, ratio: float, order: Callable[[dict[int, list[int]]], list[int]]
) -> list[str]:
    splits = ["train"] * len(units)
    for rows in group_indices(pictures.identities).values():
        own = _group_by_unit(rows, units)
        ordered = order(own)
        if len(ordered) < 2:
            continue
        sizes = np.cumsum([len(own[unit]) for unit in ordered])
        cut = 1 + int(np.abs(sizes[:-1] - ratio * sizes[-1]).argmin())  # one unit at least on either side
        for i in (i for unit in ordered[cut:] for i in own[unit]):
            splits[i] = "test"
    return splits


def hold_out_units(pictures: ImageColumns, units: np.ndarray, *, share: float, seed: int) -> np.ndarray:
    """Which training pictures validate: whole units, about `share` of all pictures.

    Args:
        pictures, units: of the training pictures alone. An identity's latest unit goes first; without days in drawn order.

    Returns:
        (pictures,) bool. An identity gives some where it has two units, or four pictures that each stand alone, and keeps
        one at least. What rounding leaves over passes on to the next identity, so small ones give their part as well. Where
        few can give, they give at most half of what they have, about.
    """
    held = np.zeros(len(units), bool)
    able = []
    for name, rows in group_indices(pictures.identities).items():
        own = _group_by_unit(rows, units)
        alone = not any(pictures.days[i] or pictures.clusters[i] for i in rows)
        if len(own) >= (4 if alone else 2):
            able.append((_hash_name(seed, name), own))
    total = sum(len(rows) for _, own in able for rows in own.values())
    rate = min(share * len(units) / max(total, 1), 0.5)
    owed = 0.0  # pictures
    for _, own in sorted(able, key=lambda item: item[0]):
        owed += rate * sum(map(len, own.values()))
        order = sorted(own, key=lambda unit: _hash_unit(seed, pictures, own[unit]))
        order.sort(key=lambda unit: max(pictures.days[i] for i in own[unit]), reverse=True)
        for unit in order[:-1]:
            if owed < len(own[unit]) / 2:
                break
            held[own[unit]] = True
            owed -= len(own[unit])
    return held


def group_indices(names: Sequence[str]) -> dict[str, list[int]]:
    """name -> its places, ascending; in order of first appearance."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        found[name].append(i)
    return dict(found)


def _group_by_unit(rows: Sequence[int], units: np.ndarray) -> dict[int, list[int]]:
    """unit -> its pictures, of some; UNMOVED left out."""
    own: dict[int, list[int]] = defaultdict(list)
    for i in rows:
        if units[i] != UNMOVED:
            own[int(units[i])].append(i)
    return dict(own)


def _hash_name(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _hash_unit(seed: int, pictures: ImageColumns, rows: Sequence[int]) -> bytes:
    return _hash_name(seed, min(pictures.names[i] for i in rows))
