"""Where the time goes: parts of steps and what lies outside of them, by a clock that the tests set."""

from types import SimpleNamespace

import pytest
import torch

from tarpon.train import timing
from tarpon.train.timing import FIRST, Ledger, Spent, StepTimer

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """`clock.now` in seconds; `clock.wait_s` is what the loader says that it made the loop wait."""
    held = SimpleNamespace(now=0.0, wait_s=0.0)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: held.now))
    return held


def take_step(
    timer: StepTimer, clock, *, data: float, waited: float, forward: float, backward: float, optimizer: float
) -> None:
    timer.begin()
    for part, seconds in {"data": data, "forward": forward, "backward": backward, "optimizer": optimizer}.items():
        clock.now += seconds
        clock.wait_s += waited if part == "data" else 0.0
        timer.mark(part)


def test_parts_add_up_and_the_first_step_is_apart(clock):
    timer = StepTimer(CPU)
    ledger = Ledger(timer, lambda: clock.wait_s)
    take_step(timer, clock, data=50.0, waited=40.0, forward=9.0, backward=1.0, optimizer=0.0)
    ledger.step()
    for _ in range(2):
        take_step(timer, clock, data=2.0, waited=1.5, forward=3.0, backward=4.0, optimizer=1.0)
        ledger.step()
        clock.now += 0.25  # logging: of no part
    ledger.read()
    with ledger.of("evaluation"):
        clock.now += 10.0
    spent = ledger.take()
    steps = {"data": 3.0, "copy": 1.0, "forward": 6.0, "backward": 8.0, "optimizer": 2.0}
    assert spent.parts == pytest.approx(steps | {"evaluation": 10.0, FIRST: 60.0})
    assert (spent.total_s, spent.step_s) == pytest.approx((90.5, 20.0))
    assert spent.share("evaluation") == pytest.approx(10 / 90.5)


def test_each_take_starts_anew_and_the_whole_is_their_sum(clock):
    timer = StepTimer(CPU)
    ledger = Ledger(timer, lambda: clock.wait_s)
    ledger.step()
    for forward in (1.0, 5.0):
        take_step(timer, clock, data=1.0, waited=0.0, forward=forward, backward=0.0, optimizer=0.0)
        ledger.read()
        assert ledger.take().parts["forward"] == forward
    assert ledger.take().step_s == 0
    assert ledger.whole.parts["forward"] == 6.0
    assert ledger.whole.total_s == pytest.approx(8.0)


def test_more_waiting_than_the_queue_stood_still_is_no_copy():
    """On a GPU the host waits ahead of the queue: only as long as the queue was idle did the waiting cost anything."""
    waits = iter([0.0, 9.0])
    timer = SimpleNamespace(read=lambda: {"data": 2.0, "forward": 7.0})
    ledger = Ledger(timer, lambda: next(waits))
    ledger.read()
    parts = ledger.take().parts
    assert (parts["data"], parts["copy"]) == (2.0, 0.0)


def test_a_timer_that_is_off_holds_nothing():
    timer = StepTimer(CPU, on=False)
    timer.begin()
    timer.mark("forward")
    assert timer.read() == {}


def test_stretches_add_up():
    total = Spent(total_s=1.0, parts={"data": 0.5}) + Spent(total_s=2.0, parts={"data": 0.5, "copy": 1.0})
    assert total == Spent(total_s=3.0, parts={"data": 1.0, "copy": 1.0})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_marks_on_a_gpu_are_its_own_time_and_make_no_wait():
    timer, device = StepTimer(torch.device("cuda", 0)), torch.device("cuda", 0)
    x = torch.randn(2048, 2048, device=device)
    x @ x
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            timer.begin()
            torch.cuda._sleep(100_000_000)
            timer.mark("forward")
            timer.mark("backward")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    x.sum().item()
    parts = timer.read()
    assert parts["forward"] > 20 * parts["backward"]
    assert timer.read() == {}
