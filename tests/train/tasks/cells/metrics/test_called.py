"""From which hour on a stack is called infected, and when its infection began: by hand, and how often the interval holds."""

import math

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.called import CalledStack, call_stacks, find_call
from tarpon.train.tasks.cells.metrics.conformal import calibrate

CLOCK = np.arange(6) / 2


@pytest.mark.parametrize(
    ("prob", "hold", "hour"),
    [
        ([0.1, 0.9, 0.1, 0.5, 0.6, 0.7], 3, 1.5),  # one page alone is no call; 0.5 is a yes
        ([0.1, 0.9, 0.1, 0.5, 0.6, 0.7], 1, 0.5),
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1], 3, 0.0),
        ([0.1, 0.1, 0.1, 0.1, 0.9, 0.9], 3, None),  # too short a run at the end
        ([0.1] * 6, 3, None),
        ([0.9, 0.8], 3, 0.0),  # of fewer pages all
        ([0.9, 0.1], 3, None),
    ],
)
def test_a_call_is_so_many_pages_in_a_row(prob, hold, hour):
    got = find_call(np.array(prob), CLOCK[: len(prob)], hold=hold)
    assert math.isnan(got) if hour is None else got == hour


def test_stacks_are_called_in_order_of_time(made):
    rows = made(
        [1] * 4 + [0] * 4,
        [0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1],
        [3, 2, 0, 1] * 2,
        [0] * 8,
        stack=list("aaaabbbb"),
        onset=0.5,
    )
    one, other = call_stacks(rows, hold=3)
    assert (one.stack, one.label, one.called, one.onset, one.delay) == ("a", 1, 1.0, 0.5, 0.5)
    assert other.label == 0
    assert math.isnan(other.called)
    assert math.isnan(other.onset)


def stacks(delays: dict[str, list[float]], *, onset: float = 2.0) -> list[CalledStack]:
    return [
        CalledStack(stack=f"{well}_{k}", well=well, label=1, called=onset + delay, onset=onset)
        for well, own in delays.items()
        for k, delay in enumerate(own)
    ]


def test_the_interval_by_hand():
    """Of 39 wells 90% leaves out 2 on each side: floor(40 x 0.05)."""
    got = calibrate(stacks({f"w{k}": [float(k)] for k in range(39)}), level=0.9)
    assert (got.low, got.high, got.level, got.wells) == (1.0, 37.0, 0.9, 39)
    assert got.find_onset(40.0) == (3.0, 39.0)
    assert got.find_onset(10.0) == (0.0, 9.0)  # not before the first page


def test_few_wells_give_the_widest_interval_and_its_own_level():
    got = calibrate(stacks({"a": [1.0, 3.0], "b": [2.0], "c": [0.5, 2.5]}), level=0.9)
    assert (got.low, got.high, got.level, got.wells) == (0.5, 3.0, 0.5, 3)
    assert calibrate(stacks({"a": [1.0, 3.0]})) is None
    uncalled = CalledStack(stack="d", well="d", label=1, called=math.nan, onset=2.0)
    healthy = CalledStack(stack="e", well="e", label=0, called=1.0, onset=math.nan)
    assert calibrate([*stacks({"a": [1.0], "b": [2.0]}), uncalled, healthy]).wells == 2
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibrate([], level=1.0)


def test_the_interval_holds_as_often_as_it_says():
    """Wells differ, and stacks within them; a new stack of a new well lies in the interval in at least 90% of 2,000 draws."""
    rng, held, draws = np.random.default_rng(0), 0, 2000
    for _ in range(draws):
        well = rng.exponential(2, 25)
        delays = well[:, None] + rng.normal(0, 0.5, (25, 3))
        got = calibrate(stacks({str(k): own.tolist() for k, own in enumerate(delays[:-1])}), level=0.9)
        held += got.low <= delays[-1, 0] <= got.high
    assert 0.88 < held / draws < 1
