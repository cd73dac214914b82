"""Split: whole groups, no leak, every class in every split where that can be, near the ratios."""

import numpy as np
import pytest

from tarpon.shards.split import assign_splits, check_leak


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
