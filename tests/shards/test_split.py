"""Split: whole groups, no leak, every class in every split where that can be, near the ratios."""

import hashlib

import numpy as np
import pytest

from tarpon.shards.split import assign_fold_splits, assign_folds, assign_splits, check_leak, hold_out


def lab(seed: int, *, groups: int = 40) -> dict[str, np.ndarray]:
    """Labels of unequal videos; the last class occurs in one video of five."""
    rng = np.random.default_rng(seed)
    made = {}
    for number in range(groups):
        counts = rng.multinomial(int(rng.integers(300, 1200)), [0.6, 0.3, 0.1])
        made[f"video{number}"] = np.append(counts, rng.integers(5, 30) if number % 5 == 0 else 0)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_near_the_ratios_for_every_class(seed):
    groups = lab(seed)
    split = assign_splits(groups, seed=seed)
    assert set(split) == set(groups)
    total = sum(groups.values())
    for name, ratio in zip(("train", "val", "test"), (0.7, 0.15, 0.15), strict=True):
        share = sum(groups[g] for g in groups if split[g] == name) / total
        assert (share > 0).all()
        np.testing.assert_allclose(share[:3], ratio, atol=0.06)
        assert share[3] == pytest.approx(ratio, abs=0.2)  # eight videos have it


def test_same_seed_same_split_whatever_the_order():
    groups = lab(0)
    assert assign_splits(groups) == assign_splits(dict(reversed(groups.items())))
    assert assign_splits(groups, seed=1) != assign_splits(groups, seed=0)


def test_every_class_reaches_every_split_when_three_groups_have_it():
    groups = {f"g{i}": np.array([100, 10 if i < 3 else 0]) for i in range(12)}
    split = assign_splits(groups)
    assert {split[f"g{i}"] for i in range(3)} == {"train", "val", "test"}


@pytest.mark.parametrize("count", [3, 4, 7])
def test_no_split_is_empty(count):
    split = assign_splits({str(i): np.array([5]) for i in range(count)}, ratios=(0.98, 0.01, 0.01))
    assert set(split.values()) == {"train", "val", "test"}


def test_groups_without_labels_are_shared_out_too():
    split = list(assign_splits({str(i): np.zeros(4) for i in range(100)}).values())
    assert split.count("train") == pytest.approx(70, abs=2)
    assert split.count("val") == pytest.approx(15, abs=2)


def test_a_ratio_of_zero_leaves_a_split_out():
    split = assign_splits({"a": np.array([5]), "b": np.array([5])}, ratios=(0.5, 0.5, 0))
    assert sorted(split.values()) == ["train", "val"]
    assert set(assign_splits({"a": np.array([5])}, ratios=(1, 0, 0)).values()) == {"train"}


def assign_slowly(groups: dict[str, np.ndarray], *, share: tuple[float, ...], seed: int) -> dict[str, str]:
    """The rule of `assign_splits` word for word: what is left and what each choice costs are found anew for every group."""
    names = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    counts = np.stack([groups[name].astype(float) for name in names])
    parts = [counts / np.maximum(counts.sum(0), 1), counts.sum(1, keepdims=True) / max(counts.sum(), 1)]
    weight = np.concatenate([*parts, np.full((len(names), 1), 1 / len(names))], axis=1)
    left = sorted(range(len(names)), key=lambda i: -weight[i].max())
    need, given, result = np.array(share)[:, None] * weight.sum(0), [[], [], []], {}
    while left:
        i, wanted = left[0], [s for s in range(3) if share[s] > 0]
        empty = [s for s in wanted if not given[s]]
        lacks = [[not any(counts[j, c] for j in given[s]) for c in range(counts.shape[1])] for s in range(3)]
        scarce = [
            counts[i, c] > 0 and (counts[left, c] > 0).sum() <= sum(lacks[s][c] for s in wanted) for c in range(counts.shape[1])
        ]
        cost = []
        for s in empty if len(empty) == len(left) else wanted:
            after = need - np.eye(3)[s][:, None] * weight[i]
            short = float((after**2 / np.array(share).clip(1e-9)[:, None]).sum())
            cost.append((-sum(a and b for a, b in zip(scarce, lacks[s], strict=True)), short, s))
        best = min(cost)[2]
        need[best] -= weight[i]
        given[best].append(i)
        result[names[i]] = ("train", "val", "test")[best]
        left = left[1:]
    return result


@pytest.mark.parametrize("classes", [1, 4, 45])
@pytest.mark.parametrize("share", [(0.7, 0.15, 0.15), (0.875, 0.125, 0.0)])
def test_what_is_carried_along_is_what_would_be_counted_anew(classes, share):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        groups = {f"g{n}": rng.poisson(0.4, classes) * rng.integers(1, 300) for n in range(80)}
        assert assign_splits(groups, ratios=share, seed=seed) == assign_slowly(groups, share=share, seed=seed)


def test_too_few_groups_are_told():
    with pytest.raises(ValueError, match=r"2 group\(s\) cannot fill train, val, test"):
        assign_splits({"a": np.array([5]), "b": np.array([5])})


@pytest.mark.parametrize("ratios", [(0, 0.5, 0.5), (0.7, 0.3), (0.7, -0.1, 0.4)])
def test_wrong_ratios_are_told(ratios):
    with pytest.raises(ValueError, match="three numbers"):
        assign_splits({"a": np.array([5])}, ratios=ratios)


def test_a_leak_is_named():
    check_leak(["a", "a", "b"], ["train", "train", "val"])
    with pytest.raises(ValueError, match="'a' is in both train and val"):
        check_leak(["a", "b", "a"], ["train", "val", "val"])


def test_a_given_split_may_share_groups():
    groups, splits = ["a", "a", "b", "b"], ["train", "test", "val", "test"]
    check_leak(groups, splits, given=("test",))
    with pytest.raises(ValueError, match="both train and test"):
        check_leak(groups, splits)
    with pytest.raises(ValueError, match="both val and train"):
        check_leak([*groups, "b"], [*splits, "train"], given=("test",))


def tail(seed: int) -> tuple[list[str], list[str]]:
    """Rows of 30 classes of 200 to 1 rows; groups of about three rows."""
    rng = np.random.default_rng(seed)
    classes, groups = [], []
    for number in range(30):
        count = int(200 / (number + 1) ** 1.2) or 1
        classes += [f"class{number}"] * count
        groups += [f"{number}-{group}" for group in rng.integers(0, max(1, count // 3), count)]
    return classes, groups


@pytest.mark.parametrize("seed", range(4))
def test_what_is_held_out_is_near_the_share_of_every_class_and_never_all(seed):
    classes, groups = tail(seed)
    held = hold_out(classes, groups, share=0.15, seed=seed)
    assert not {g for g, out in zip(groups, held, strict=True) if out} & {
        g for g, out in zip(groups, held, strict=True) if not out
    }
    for name in set(classes):
        mine = np.array([out for c, out in zip(classes, held, strict=True) if c == name])
        assert not mine.all()
        assert mine.sum() <= 0.15 * len(mine) + 5
        if len(mine) >= 60:
            assert mine.mean() == pytest.approx(0.15, abs=0.04)
    assert held.mean() == pytest.approx(0.15, abs=0.03)


def test_holding_out_by_hand():
    """Of 10 rows 2 are wanted (1.5 rounded up); a group of 4 would overshoot by as much as none falls short, so it stays."""
    groups = [f"{i}" for i in range(10)]
    assert hold_out(["a"] * 10, groups, share=0.15).sum() == 2
    assert hold_out(["a"] * 10, ["x"] * 4 + ["y"] * 6, share=0.15).sum() == 0
    assert hold_out(["a"] * 10, ["x"] * 3 + ["y"] * 7, share=0.15).tolist() == [True] * 3 + [False] * 7
    assert hold_out(["a"] * 10, ["x"] * 10, share=0.15).sum() == 0
    assert hold_out(["a", "b", "c", "c"], ["1", "2", "3", "4"], share=0.15).sum() == 0  # singletons and a pair
    assert hold_out(["a"] * 4, ["1", "2", "3", "4"], share=0.15).sum() == 1
    assert hold_out(["a"] * 2, ["1", "2"], share=0.9).sum() == 1  # one group always stays
    assert hold_out(["a"] * 9, [*map(str, range(9))], share=0.0).sum() == 0
    assert hold_out([], [], share=0.15).tolist() == []


def test_holding_out_does_not_depend_on_the_order_of_rows_nor_on_other_classes():
    classes, groups = tail(0)
    held = hold_out(classes, groups, share=0.15, seed=3)
    order = np.random.default_rng(0).permutation(len(classes))
    again = hold_out([classes[i] for i in order], [groups[i] for i in order], share=0.15, seed=3)
    assert np.array_equal(again, held[order])
    own = [i for i, name in enumerate(classes) if name == "class2"]
    alone = hold_out(["class2"] * len(own), [groups[i] for i in own], share=0.15, seed=3)
    assert np.array_equal(alone, held[own])
    assert not np.array_equal(hold_out(classes, groups, share=0.15, seed=4), held)


def test_a_group_of_two_classes_is_held_out_whole():
    for seed in range(20):
        held = hold_out(["a"] * 5 + ["b"] * 10, ["x", *"1234", "x", *"abcdefghi"], share=0.4, seed=seed)
        assert held[0] == held[5]


@pytest.mark.parametrize("share", [1, -0.1, 2])
def test_a_wrong_share_is_told(share):
    with pytest.raises(ValueError, match="share="):
        hold_out(["a"], ["1"], share=share)


def plates(seed: int, *, sizes: tuple[int, int] = (36, 36)) -> tuple[list[str], list[int], list[int]]:
    """Rows of stacks of unequal length: groups, labels and, of 5, the folds."""
    rng = np.random.default_rng(seed)
    counts = {
        f"{label}-{i}": np.eye(2, dtype=int)[label] * rng.integers(60, 94) for label in (0, 1) for i in range(sizes[label])
    }
    fold = assign_folds(counts, folds=5, seed=seed)
    groups = [group for group, count in counts.items() for _ in range(count.sum())]
    return groups, [int(group[0]) for group in groups], [fold[group] for group in groups]


@pytest.mark.parametrize("seed", range(4))
def test_folds_share_every_class_out_and_test_each_group_once(seed):
    groups, labels, folds = plates(seed)
    for label in (0, 1):
        own = [fold for fold, other in zip(folds, labels, strict=True) if other == label]
        np.testing.assert_allclose(np.bincount(own, minlength=5) / len(own), 0.2, atol=0.03)
    assert len(set(zip(groups, folds, strict=True))) == len(set(groups))
    for k in range(5):
        splits = assign_fold_splits(folds, groups, labels, k=k, val_share=0.125, seed=seed)
        check_leak(groups, splits)
        assert [split == "test" for split in splits] == [fold == k for fold in folds]
        for label in (0, 1):
            rest = [split for split, other in zip(splits, labels, strict=True) if other == label and split != "test"]
            assert rest.count("val") / len(rest) == pytest.approx(0.125, abs=0.05)


def test_folds_of_few_groups():
    counts = {f"{label}{i}": np.eye(2)[label] * 10 for label in (0, 1) for i in range(3)}
    fold = assign_folds(counts, folds=3)
    assert sorted((fold[name], name[0]) for name in fold) == [(k, label) for k in range(3) for label in "01"]
    assert fold == assign_folds(dict(reversed(counts.items())), folds=3)
    with pytest.raises(ValueError, match=r"folds=4, but class 0 has 3 group"):
        assign_folds(counts, folds=4)
    with pytest.raises(ValueError, match="folds=1"):
        assign_folds(counts, folds=1)
    groups, labels = list(counts), [int(name[0]) for name in counts]
    splits = assign_fold_splits([fold[name] for name in groups], groups, labels, k=1, val_share=0.01)
    for split in ("train", "val", "test"):  # of two groups left, however small the share
        assert {label for label, s in zip(labels, splits, strict=True) if s == split} == {0, 1}
    assert "val" not in assign_fold_splits([fold[name] for name in groups], groups, labels, k=1, val_share=0)


@pytest.mark.parametrize(("change", "part"), [
    ({"k": 2}, "fold=2 must be 0 to 1"), ({"k": -1}, "fold=-1 must be 0 to 1"), ({"val_share": 1}, "val_share=1"),
    ({"folds": [-1] * 4}, "pack them with --folds"), ({"folds": [0, 1, 0, 1], "groups": list("aabc")}, "a leak"),
])  # fmt: skip
def test_wrong_folds_are_told(change, part):
    whole = {"folds": [0, 0, 1, 1], "groups": list("abcd"), "labels": [0, 1, 0, 1], "k": 0, "val_share": 0.5} | change
    with pytest.raises(ValueError, match=part):
        assign_fold_splits(whole.pop("folds"), whole.pop("groups"), whole.pop("labels"), **whole)
