"""Where a Frame column puts a table: by its length, by the other tables of the set, by the option, or not at all."""

import pytest

from tarpon.shards.sources.mouse.counting import place_rows, proofs

SPAN = 360


def place(tables: list[tuple[int, int, int]], *, way: str = "auto", offset: int | None = None, span: int = SPAN) -> list:
    """Offsets of tables (begin, rows, trial) of one set; None where one is refused."""
    how = {"span": span, "offset": offset}
    proven = set().union(*(proofs(begin, rows, trial=trial, **how) for begin, rows, trial in tables))
    found = []
    for begin, rows, trial in tables:
        try:
            found.append(place_rows(begin, rows, trial=trial, way=way, proven=proven, **how)[0])
        except ValueError:
            found.append(None)
    return found


@pytest.mark.parametrize(
    ("tables", "offsets"),
    [
        ([(0, 360, 1), (0, 360, 2)], [0, 0]),
        ([(0, 345, 1), (15, 345, 2)], [15, 15]),
        ([(1, 360, 1), (1, 360, 2)], [0, 0]),  # 1 to 360: counts from 1
        ([(1, 345, 1)], [15]),  # numbers its rows from 1
        ([(16, 345, 1)], [15]),  # 16 to 360 fits only where the trial is counted from 1
        ([(360, 360, 2)], [0]),  # frames of the video
        ([(361, 360, 2)], [0]),  # the same, from 1
        ([(0, 360, 1), (360, 360, 2), (720, 360, 3)], [0, 0, 0]),
        ([(15, 345, 1), (375, 345, 2)], [15, 15]),
        ([(376, 345, 2)], [15]),
        ([(40, 200, 1)], [40]),
        ([(0, 360, 1), (1, 200, 2)], [0, 1]),  # another table counts from 0, so this one does
        ([(400, 200, 2)], [40]),
    ],
)
def test_the_ways_of_counting_are_told_apart(tables, offsets):
    assert place(tables) == offsets


@pytest.mark.parametrize(
    "tables",
    [
        [(1, 200, 1)],  # 1 of 0 to 359, or the first of 1 to 360: nothing says
        [(361, 200, 2)],
        [(0, 359, 1)],
        [(360, 360, 1)],  # no frame of trial 1
        [(720, 360, 2)],
    ],
)
def test_what_cannot_be_told_is_refused(tables):
    assert place(tables) == [None] * len(tables)


def test_tables_of_one_set_that_contradict_each_other_are_refused_where_both_readings_fit():
    assert place([(1, 360, 1), (15, 345, 2)]) == [0, None]
    assert place([(0, 345, 1), (360, 345, 2)]) == [None, 0]  # rows from frame 15, or frames of the video as they stand


@pytest.mark.parametrize(
    ("way", "offset"), [("zero", 1), ("one", None), ("absolute", 1), ("absolute_one", None), ("auto", None)]
)
def test_the_option_decides(way, offset):
    assert place([(1, 200, 1)], way=way) == [offset]


def test_short_trials():
    """1 to 15 of a trial of 30 frames is its second half by rows, as 0 to 14 is."""
    assert place([(1, 15, 1), (1, 15, 2)], span=30) == [15, 15]
    assert place([(0, 15, 1)], span=30) == [15]


def test_the_refusal_names_the_column_and_the_option():
    with pytest.raises(ValueError, match=r"Frame column counts 1 to 200: its first row may be .* --frame_column zero\|"):
        place_rows(1, 200, trial=1, span=SPAN, offset=None, way="auto", proven=())
    with pytest.raises(ValueError, match="Frame 720 to 1079, fit nowhere in trial 2"):
        place_rows(720, 360, trial=2, span=SPAN, offset=None, way="auto", proven=())
