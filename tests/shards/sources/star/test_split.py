"""Sessions are never cut, later days test, and every identity that is asked can be found."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from tarpon.shards.sources.star import split as reid_split
from tarpon.shards.sources.star.split import ImageColumns


def days(identity: str, count: int, *, pictures: int = 2) -> list[tuple[str, str]]:
    return [(identity, f"2022-{1 + day // 28:02d}-{1 + day % 28:02d}") for day in range(count) for _ in range(pictures)]


def table(rows: list[tuple[str, ...]]) -> ImageColumns:
    """(identity, day, cluster) rows."""
    identities, dates, clusters = zip(*rows, strict=True)
    return ImageColumns(identities=identities, days=dates, clusters=clusters, names=[f"p{i:04d}" for i in range(len(rows))])


def by_identity(rows: list[tuple[str, ...]], splits: list[str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for (name, *_), split in zip(rows, splits, strict=True):
        found[name].append(split)
    return dict(found)


def wild(seed: int, *, identities: int = 28) -> ImageColumns:
    """Random pictures: days, clusters over days, neither, in any mixture."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(identities):
        kind = number % 4
        for _ in range(rng.integers(1, 14)):
            day = f"2020-01-{rng.integers(1, 6):02d}" if kind in (1, 3) and rng.random() < 0.9 else ""
            cluster = str(rng.integers(0, 5)) if kind in (2, 3) and rng.random() < 0.8 else ""
            rows.append((f"i{number}", day, cluster))
    return table([rows[i] for i in rng.permutation(len(rows))])


def test_training_sessions_as_the_published_rule_has_them():
    assert [reid_split.count_train_sessions(count, ratio=0.8) for count in range(2, 7)] == [1, 2, 3, 4, 4]
    assert reid_split.count_train_sessions(100, ratio=0.57) == 57  # 0.57 * 100 is 56.99999999999999
    assert reid_split.count_train_sessions(3, ratio=0.01) == 1
    assert reid_split.count_train_sessions(3, ratio=0.999) == 2


@pytest.mark.parametrize(("count", "expected"), [
    (1, ["train"]),
    (2, ["train", "test"]),
    (3, ["train", "val", "test"]),
    (4, ["train", "train", "val", "test"]),
    (5, ["train", "train", "train", "val", "test"]),
    (6, ["train", "train", "train", "val", "test", "test"]),
])  # fmt: skip
def test_the_last_training_day_validates_and_later_days_test(count, expected):
    rows = days("a", count)[::-1]  # the order of the rows is not that of time
    splits = reid_split.split_by_time(*zip(*rows, strict=True))
    assert splits[::-1] == [split for split in expected for _ in range(2)]


def test_days_are_ordered_in_time_and_undated_pictures_are_no_session():
    rows = [("a", "2022-01-05"), ("a", "2021-10-02"), ("a", "2021-09-13"), ("a", ""), ("b", ""), ("b", "2020-01-01")]
    assert reid_split.split_by_time(*zip(*rows, strict=True)) == ["test", "val", "train", "train", "train", "train"]


def test_too_few_sessions_and_novel_identities_stay_whole():
    rows = days("two", 2) + days("three", 3) + days("new", 4) + [("new", "")]
    identities, dates = zip(*rows, strict=True)
    splits = reid_split.split_by_time(identities, dates, min_sessions=3, novel=["new"])
    found = by_identity(rows, splits)
    assert set(found["two"]) == {"train"}
    assert set(found["three"]) == {"train", "val", "test"}
    assert set(found["new"]) == {"test"}
    sessions = {"two": 2, "three": 3, "new": 4}
    distractor, novel = reid_split.assign_roles(identities, splits, sessions, least=3)
    assert set(np.array(identities)[distractor]) == {"two"}
    assert set(np.array(identities)[novel]) == {"new"}
    assert not reid_split.assign_roles(identities, splits, sessions, least=2)[0].any()


def test_novel_identities_are_a_share_of_those_that_can_be_asked():
    rows = [row for number in range(20) for row in days(f"i{number}", 1 if number < 10 else 3)]
    columns = list(zip(*rows, strict=True))
    for share, count in ((0, 0), (0.01, 1), (0.3, 3), (0.99, 9)):
        chosen = reid_split.choose_novel(*columns, min_sessions=2, share=share, seed=1)
        assert len(chosen) == count
        assert chosen <= {f"i{number}" for number in range(10, 20)}
    backwards = [column[::-1] for column in columns]
    three = reid_split.choose_novel(*columns, min_sessions=2, share=0.3, seed=1)
    assert reid_split.choose_novel(*backwards, min_sessions=2, share=0.3, seed=1) == three
    assert len({frozenset(reid_split.choose_novel(*columns, min_sessions=2, share=0.3, seed=s)) for s in range(9)}) > 3


def test_validation_of_a_given_split_is_the_last_training_day():
    rows = [("a", "2020-01-01"), ("a", "2020-01-02"), ("a", "2020-01-02"), ("a", "2020-01-03"), ("b", "2020-01-01"), ("a", "")]
    identities, dates = zip(*rows, strict=True)
    assert reid_split.validate_last(identities, dates, ["train", "train", "train", "test", "train", "train"]) == [
        "train", "val", "val", "test", "train", "train"
    ]  # fmt: skip


def test_what_lost_its_gallery_becomes_one():
    identities = ["a", "a", "b", "b", "c", "d", "d"]
    splits = ["val", "test", "test", "test", "test", "train", "test"]
    novel = [False, False, False, False, True, False, False]
    assert reid_split.repair_splits(identities, splits, novel) == ["train", "test", "train", "train", "test", "train", "test"]


def test_units_join_what_shares_a_day_or_a_cluster():
    rows = [("a", "d1", "c1"), ("a", "d1", ""), ("a", "d2", "c1"), ("a", "d3", "c2"), ("a", "", "c2"), ("a", "", ""),
            ("b", "d1", "c1"), ("c", "", ""), ("c", "", "")]  # fmt: skip
    units = reid_split.find_units(table(rows)).tolist()
    assert units[0] == units[1] == units[2]
    assert units[3] == units[4] != units[0]
    assert units[5] == reid_split.UNMOVED
    assert len({units[0], units[3], units[6], units[7], units[8]}) == 5
    assert reid_split.count_units(table(rows), np.array(units)) == {"a": 2, "b": 1, "c": 2}


@pytest.mark.parametrize("seed", range(5))
def test_units_are_the_connected_parts(seed):
    """The oracle joins by relabelling until nothing changes."""
    pictures = wild(seed)
    label = list(range(len(pictures.names)))
    rows = list(zip(pictures.identities, pictures.days, pictures.clusters, strict=True))
    changed = True
    while changed:
        changed = False
        for i, (name, day, cluster) in enumerate(rows):
            for j, (other, day_j, cluster_j) in enumerate(rows):
                alike = (day and day == day_j) or (cluster and cluster == cluster_j)
                if name == other and alike and label[i] > label[j]:
                    label[i], changed = label[j], True
    units = reid_split.find_units(pictures)
    moved = np.flatnonzero(units != reid_split.UNMOVED)
    assert len({(label[i], units[i]) for i in moved}) == len({units[i] for i in moved}) == len({label[i] for i in moved})
    known = {name for name, day, cluster in rows if day or cluster}
    assert all((name in known and not day and not cluster) == (i not in moved) for i, (name, day, cluster) in enumerate(rows))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rule", ["day", "cluster", "random"])
def test_no_day_and_no_cluster_is_cut(seed, rule):
    pictures = wild(seed)
    units = reid_split.find_units(pictures)
    if rule == "day":
        splits = reid_split.split_by_day(pictures, units, ratio=0.8)
    else:
        splits = reid_split.split_by_hash(pictures, units, ratio=0.8, seed=seed, clustered=rule == "cluster")
    train = np.flatnonzero(np.array(splits) == "train")
    held = reid_split.hold_out_units(pictures.take(train), units[train], share=0.1, seed=seed)
    for i in train[held]:
        splits[i] = "val"
    found = defaultdict(set)
    for name, day, cluster, split in zip(pictures.identities, pictures.days, pictures.clusters, splits, strict=True):
        for said in ((name, "day", day), (name, "cluster", cluster)):
            if said[2]:
                found[said].add(split)
    assert all(len(where) == 1 for where in found.values())
    assert set(splits) == {"train", "val", "test"}
    assert all("train" in where for where in by_identity([(name,) for name in pictures.identities], splits).values())
    if rule != "random":
        marked = pictures.days if rule == "day" else pictures.clusters
        assert all(
            any(marked[j] for j in np.flatnonzero(units == units[i])) for i in np.flatnonzero(np.array(splits) == "test")
        )


def test_time_aware_tests_the_latest_days():
    rows = [("a", f"2020-01-{day:02d}", "") for day in range(1, 11) for _ in range(3)] + [("b", "2020-01-01", "")] * 5
    splits = reid_split.split_by_day(table(rows), reid_split.find_units(table(rows)), ratio=0.8)
    assert splits == ["train"] * 24 + ["test"] * 6 + ["train"] * 5
    heavy = [("a", "2020-01-01", "")] + [("a", "2020-01-02", "")] * 9  # 80% of the pictures are not to be had
    assert reid_split.split_by_day(table(heavy), reid_split.find_units(table(heavy)), ratio=0.8) == ["train"] + ["test"] * 9


def test_draws_depend_on_names_and_not_on_rows():
    pictures = wild(9)
    order = np.random.default_rng(0).permutation(len(pictures.names)).tolist()

    def split(some: ImageColumns) -> dict[str, str]:
        return dict(
            zip(some.names, reid_split.split_by_hash(some, reid_split.find_units(some), ratio=0.7, seed=3), strict=True)
        )

    assert split(pictures) == split(pictures.take(order))


def test_about_a_tenth_validates_also_where_all_identities_are_small():
    rows = [(f"i{number}", "", "") for number in range(300) for _ in range(4 if number < 200 else 1)]
    held = reid_split.hold_out_units(table(rows), np.arange(len(rows)), share=0.1, seed=0)
    assert abs(held.sum() - 0.1 * len(rows)) <= 1
    count = Counter(np.array([name for name, *_ in rows])[held].tolist())
    assert max(count.values()) == 1
    three = [(f"i{number}", "", "") for number in range(50) for _ in range(3)]
    assert not reid_split.hold_out_units(table(three), np.arange(150), share=0.1, seed=0).any()
    sessions = [(f"i{number}", f"2020-01-{day:02d}", "") for number in range(50) for day in (1, 2)]
    found = reid_split.hold_out_units(table(sessions), np.arange(100), share=0.1, seed=0)
    assert abs(found.sum() - 10) <= 1
    assert all(sessions[i][1] == "2020-01-02" for i in np.flatnonzero(found))
