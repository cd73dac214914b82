"""Pages of a split: checks, files, pooling, joining."""

import json
import zipfile

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.predictions import (
    PageNames,
    PageRows,
    find_one_well_classes,
    join_batches,
    load_rows,
    pool_rows,
    save_metadata,
    save_rows,
)


def pages(count: int = 12, *, start: int = 0, wells: tuple[str, str] = ("c4", "b2"), **changes) -> PageRows:
    """Stacks of three pages, classes in turn."""
    at = np.arange(count)
    stack = at // 3 + start
    label = stack % 2
    well = np.array(wells)[label]
    fields = {
        "key": np.array([f"{s:02}_{i % 3}" for i, s in zip(at, stack, strict=True)]),
        "stack": np.array([f"{w}_p{s}" for w, s in zip(well, stack, strict=True)]),
        "well": well,
        "position": stack.astype(str),
        "path": np.array([f"lab/{s}.tiff" for s in stack]),
        "page": at % 3,
        "label": label,
        "prob": np.linspace(0.1, 0.9, count).astype(np.float32),
        "clock": (at % 3 / 2).astype(np.float32),
        "target": (at % 3 / 2).astype(np.float32),
        "predicted": np.linspace(0, 9, count).astype(np.float32),
        "constant": np.full(count, 1.0, np.float32),
        "constant_class": np.full(count, 0.5, np.float32),
    }
    return PageRows(clamp_range=(0.0, 48.0), **(fields | changes))


def test_file_gives_back_every_field(tmp_path):
    rows = pages()
    save_rows(tmp_path / "predictions" / "test.npz", rows)
    again = load_rows(tmp_path / "predictions" / "test.npz")
    assert again.clamp_range == rows.clamp_range
    for name in rows.arrays():
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))
        assert getattr(again, name).dtype == getattr(rows, name).dtype


def test_file_has_the_published_names_and_no_pickle(tmp_path):
    rows = pages()
    save_rows(tmp_path / "test_predictions.npz", rows)
    with np.load(tmp_path / "test_predictions.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["cls_preds"], rows.prob)
        np.testing.assert_array_equal(stored["cls_targets"], rows.label)
        np.testing.assert_array_equal(stored["time_preds"], rows.predicted)
        np.testing.assert_array_equal(stored["time_targets"], rows.target)


def test_metadata_has_one_line_a_page_in_the_same_order(tmp_path):
    rows = pages()
    save_metadata(tmp_path / "test_metadata.jsonl", rows)
    lines = [json.loads(line) for line in (tmp_path / "test_metadata.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows)
    assert [line["key"] for line in lines] == rows.key.tolist()
    assert lines[4] == {
        "key": "01_1",
        "path": "lab/1.tiff",
        "condition": "infected",
        "well": "b2",
        "position": "1",
        "stack": "b2_p1",
        "frame_index": 1,
        "hours_since_start": 0.5,
        "label": 1,
    }


def test_other_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "a.npz").write_text("no")
    np.savez(tmp_path / "b.npz", time_preds=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        file.writestr("x.txt", "no")
    for name in "abc":
        with pytest.raises(ValueError, match=r"write it again"):
            load_rows(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"label": np.full(12, 2)}, "label must be 0"),
        ({"prob": np.full(12, np.nan)}, "prob must be finite"),
        ({"predicted": np.full(12, 48.5)}, "predicted leaves clamp_range"),
        ({"clock": np.zeros(11)}, "clock is"),
    ],
)
def test_impossible_pages_are_refused(change, word):
    with pytest.raises(ValueError, match=word):
        pages(**change)


def test_pooling_joins_stacks_once():
    one, two = pages(), pages(start=4)
    both = pool_rows([one, two])
    assert len(both) == 24
    assert both.key.tolist() == one.key.tolist() + two.key.tolist()
    with pytest.raises(ValueError, match=r"stack b2_p1 is in 2 parts"):
        pool_rows([one, pages(6)])


def test_a_position_number_in_two_wells_is_two_stacks():
    """b2_p6 and c4_p6 are different places; only the whole name of a stack tells."""
    assert len(np.unique(pages(wells=("c4", "b2")).stack)) == 4


def test_a_class_of_one_well_is_found():
    assert find_one_well_classes(pages()) == ("uninfected", "infected")
    mixed = pages()
    well = mixed.well.copy()
    well[6:9] = "c5"
    assert find_one_well_classes(pages(well=well)) == ("infected",)


def test_join_sorts_and_refuses_repeats():
    names = PageNames(**{n: getattr(pages(), n) for n in ("key", "stack", "well", "position", "path", "page")})
    rows = pages()

    def part(at):
        at = np.array(at)
        return {"row": at} | {n: getattr(rows, n)[at] for n in ("label", "prob", "clock", "target", "predicted")}

    def joined(parts, **more):
        return join_batches(parts, names=names, clamp_range=(0.0, 48.0), medians=(1.0, 0.5, 0.7), **more)

    got = joined([part([7, 2]), part([11, 3])])
    assert got.key.tolist() == rows.key[[2, 3, 7, 11]].tolist()
    np.testing.assert_array_equal(got.predicted, rows.predicted[[2, 3, 7, 11]])
    np.testing.assert_allclose(got.constant_class, [0.5, 0.7, 0.5, 0.7])
    assert np.isnan(got.onset).all()
    assert joined([part([7, 2])], onset=2.0).onset.tolist() == [2.0, 2.0]
    assert joined([part([7, 2])], onset=np.arange(12) / 2).onset.tolist() == [1.0, 3.5]  # each page its well's own
    with pytest.raises(ValueError, match="more than once"):
        joined([part([7, 2]), part([2])])
    with pytest.raises(ValueError, match="no pages"):
        joined([])
