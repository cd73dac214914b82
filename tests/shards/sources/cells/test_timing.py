"""Pages an hour: given, told by the files, or usual; a contradiction names both."""

import pytest

from tarpon.shards.sources.cells.timing import check_rate, find_rate, find_step, format_hours


@pytest.mark.parametrize(("told", "given", "rate"), [
    ([("a", 600.0), ("b", 0.0)], None, 6.0),
    ([("a", 1799.4), ("b", 1800.9)], None, 2.0),  # the clock drifts
    ([("a", 45.0)], None, 80.0),
    ([("a", 0.0)], None, 2.0),
    ([("a", 600.0), ("b", 1800.0)], 2.0, 2.0),  # which file contradicts it is told by check_rate
])  # fmt: skip
def test_the_rate(told, given, rate):
    assert find_rate(told, given=given) == pytest.approx(rate)


def test_files_that_disagree_are_both_named():
    with pytest.raises(ValueError, match=r"a tells 10 min from page to page, b 30; one rate holds .*frames_per_hour"):
        find_rate([("b", 1800.0), ("a", 600.0)], given=None)


def test_a_file_that_contradicts_the_rate():
    check_rate(0.0, 2)
    check_rate(1810.0, 2)
    with pytest.raises(ValueError, match="the file tells 10 min from page to page, frames_per_hour=2 tells 30"):
        check_rate(600.0, 2)


@pytest.mark.parametrize(("stamps", "step"), [
    ((), 0), ((5.0,), 0), ((0.445, 11.086, 21.740), 10.654), ((0.0, 60.0, 180.0), 0), ((0.0, -60.0), 0), ((3.0, 3.0), 0),
    ((0.0, 1820.0, 3645.0), 1800), ((0.0, 630.0, 1260.0), 630),
])  # fmt: skip
def test_the_step_of_even_stamps(stamps, step):
    assert find_step(stamps) == pytest.approx(step)


def test_hours_are_shown_to_the_hundredth():
    assert [format_hours(hours) for hours in (0.0, 29 / 60, 47.5, 100.25)] == ["0", "0.48", "47.5", "100.25"]
