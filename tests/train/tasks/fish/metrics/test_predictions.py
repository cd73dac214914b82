"""The split's rows: checked when made, the same after a way through the file."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, AttributeRows, load_rows, save_rows
from tarpon.train.tasks.fish.metrics.scores import score

NAMES = AttributeNames(
    families=("Labridae", "Ästhetidae"),
    orders=("p",),
    habitats=("Tropical", "Polar"),
    tasks=("family", "order", "habitat", "troph"),
    family_order=np.array([0, 0]),
    train_images=np.array([20, 5]),
    common=10,
    rare=6,
)


def split(**changes) -> AttributeRows:
    arrays = {
        "key": np.array(["a", "b", "c"]),
        "group": np.array(["s", "s", "b"]),
        "family": np.array([0, 1, -1]),
        "family_pred": np.array([0, 0, 1]),
        "family_rank": np.array([0, 1, -1]),
        "family_confidence": np.array([0.9, 0.6, 0.5], np.float32),
        "order": np.array([0, 0, -1]),
        "order_pred": np.array([0, 0, 0]),
        "habitat": np.array([[0, 1], [1, 1], [-1, -1]]),
        "habitat_prob": np.array([[0.49999, 0.5], [0.2, 1.0], [0.3, 0.3]], np.float32),
        "troph": np.array([2.5, 3.5, np.nan], np.float32),
        "troph_pred": np.array([2.25, 3.5, 4.0], np.float32),
    }
    return AttributeRows(**{"names": NAMES} | arrays | changes)


@pytest.mark.parametrize(
    "changes",
    [{}, {"gates": np.full((3, 4, 2), 0.5, np.float32)}],
    ids=["plain", "gates"],
)
def test_a_file_gives_back_every_array_name_and_score(tmp_path, changes):
    rows = split(**changes)
    save_rows(tmp_path / "new" / "val.npz", rows)
    back = load_rows(tmp_path / "new" / "val.npz")
    assert back.arrays() == rows.arrays()
    for name in rows.arrays():
        np.testing.assert_array_equal(getattr(back, name), getattr(rows, name))
        assert getattr(back, name).dtype == getattr(rows, name).dtype
    for name in ("families", "orders", "habitats", "feedings", "tasks", "common", "rare"):
        assert getattr(back.names, name) == getattr(NAMES, name)
    np.testing.assert_array_equal(back.names.train_images, NAMES.train_images)
    assert score(back) == score(rows)
    assert score(rows)["exact_habitat"] == 0.5  # 0.49999 stays a no
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["val.npz"]


def test_another_file_is_refused(tmp_path):
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match="cut short"):
        load_rows(tmp_path / "cut.npz")
    with pytest.raises(ValueError, match="not a file of attribute predictions"):
        load_rows(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"troph": np.zeros(2, np.float32)}, "troph has 2 rows, key has 3"),
        ({"family": np.array([0, 2, 1])}, "family 2 is none of the 2"),
        ({"habitat_prob": np.zeros((3, 8), np.float32)}, "must be \\(3, 2\\)"),
        ({"troph_pred": np.full(3, np.nan, np.float32)}, "troph_pred must be finite"),
        ({"key": np.array([], str)}, "the split is empty"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        split(**changes)


def test_names_must_fit_the_families():
    with pytest.raises(ValueError, match="family_order must be \\(2,\\)"):
        replace(NAMES, family_order=np.array([0]))
