"""Batches are let go in order, when the device is done with them, and never more than the limit are held."""

import gc
import weakref

import pytest

from tarpon.pipelines.output_hold import OutputHold


class Device:
    """A device that finishes events when it is told to."""

    def __init__(self) -> None:
        self.recorded: list[FakeEvent] = []

    def record(self) -> "FakeEvent":
        self.recorded.append(FakeEvent())
        return self.recorded[-1]


class FakeEvent:
    def __init__(self) -> None:
        self.done = self.waited_for = False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.done = self.waited_for = True


class Outputs:
    """Something whose end can be seen."""


def handed(hold: OutputHold) -> weakref.ref:
    """Hands back a batch that nobody else keeps."""
    outputs = Outputs()
    hold.hand_back(outputs)
    return weakref.ref(outputs)


def test_a_batch_is_held_until_its_event_completes():
    device = Device()
    hold = OutputHold(device.record, limit=4)
    first, second = handed(hold), handed(hold)
    gc.collect()
    assert first() is not None
    device.recorded[0].done = True
    third = handed(hold)
    assert first() is None
    assert second() is not None
    assert third() is not None
    assert len(hold) == 2
    assert not any(event.waited_for for event in device.recorded)


def test_batches_are_let_go_in_order_even_where_a_later_event_is_done():
    device = Device()
    hold = OutputHold(device.record, limit=4)
    first, second = handed(hold), handed(hold)
    device.recorded[1].done = True
    handed(hold)
    assert first() is not None
    assert second() is not None


def test_past_the_limit_it_waits_for_the_oldest_alone():
    device = Device()
    hold = OutputHold(device.record, limit=2)
    refs = [handed(hold) for _ in range(4)]
    assert [ref() is not None for ref in refs] == [False, False, True, True]
    assert [event.waited_for for event in device.recorded] == [True, True, False, False]


def test_parts_of_one_decoded_batch_keep_it_until_the_last_is_done():
    device = Device()
    hold = OutputHold(device.record, limit=4)
    outputs = Outputs()
    ref = weakref.ref(outputs)
    hold.hand_back(outputs)
    hold.hand_back(outputs)
    del outputs
    device.recorded[0].done = True
    handed(hold)
    assert ref() is not None
    device.recorded[1].done = True
    handed(hold)
    assert ref() is None


def test_a_cpu_holds_nothing():
    hold = OutputHold(None, limit=1)
    ref = handed(hold)
    assert ref() is None
    assert len(hold) == 0


@pytest.mark.parametrize("limit", [0, 1])
def test_small_limits_still_let_go(limit):
    device = Device()
    hold = OutputHold(device.record, limit=limit)
    for _ in range(5):
        handed(hold)
        assert len(hold) <= limit
