"""What a training says of its time, on a clock that the test moves."""

from types import SimpleNamespace

import pytest
import torch

from tarpon.train import timing
from tarpon.train.checkpoint import Position
from tarpon.train.config import Run
from tarpon.train.console import Console
from tarpon.train.schedule import Plateau
from tarpon.train.sink import MultiSink
from tarpon.train.stepper import State
from tarpon.train.timing import StepTimer


@pytest.fixture
def training(monkeypatch):
    """A training whose steps take as long as `step` is told: (waiting for data, forward) in seconds."""
    clock = SimpleNamespace(now=0.0, waited=0.0, measured=[])
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def measure() -> float:
        clock.measured.append(clock.now)
        return 0.25

    class Data(SimpleNamespace):
        wait_s = property(lambda _: clock.waited)

    def open_console(*, first: bool = True) -> Console:
        data = Data(steps_per_epoch=1, measure_augment_share=measure)
        context = SimpleNamespace(first=first, local_world=1, device=torch.device("cpu"))
        stepper = SimpleNamespace(total=9, timer=StepTimer(context.device))
        console = Console(
            Run(data="toy", micro_batch=1, global_batch=1),
            SimpleNamespace(data=data, unit="rows", select="score"),
            SimpleNamespace(context=context, bf16=False),
            MultiSink(),
            state=State(at=Position(step=1, epoch=1), plateau=Plateau()),
            stepper=stepper,
        )

        def step(wait: float, forward: float) -> None:
            stepper.timer.begin()
            clock.now, clock.waited = clock.now + wait, clock.waited + wait
            stepper.timer.mark("data")
            clock.now += forward
            stepper.timer.mark("forward")
            console.step()
            console.read({"loss": 1.0, "rows_per_s": 1.0, "loader/wait_share": 0.0})

        console.take = step
        step(0.0, 0.0)  # the first, which no verdict counts
        return console

    return SimpleNamespace(open=open_console, clock=clock)


def told(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("time")]


def test_decoding_and_augmenting_are_told_apart_by_one_measurement_a_run(training, capsys):
    console = training.open()
    for _ in range(2):
        console.take(wait=8.0, forward=4.0)
        console.tell_time(ended=True)
    words = "time      12 s: waiting for data 67%, forward 33%; decode-bound: 67% of a step is waiting for data "
    assert all(line.startswith(f"{words}(decoding 75%, augmenting 25% of it); try ") for line in told(capsys))
    assert training.clock.measured == [12.0]


def test_what_is_not_bound_by_its_data_is_not_measured_and_other_processes_measure_nothing(training, capsys):
    fast = training.open()
    fast.take(wait=1.0, forward=19.0)
    fast.tell_time(ended=True)
    assert told(capsys) == ["time      20 s: waiting for data 5%, forward 95%; compute-bound"]
    other = training.open(first=False)
    other.take(wait=8.0, forward=4.0)
    other.tell_time(ended=True)
    assert told(capsys) == []
    assert training.clock.measured == []


def test_a_long_training_of_short_epochs_is_not_told_at_each_of_them(training, capsys):
    console = training.open()
    console.take(wait=0.0, forward=2000.0)
    console.tell_time(ended=True)
    for _ in range(4):
        console.take(wait=0.0, forward=11.0)
        console.tell_time(ended=True)
    assert [line.partition(":")[0] for line in told(capsys)] == ["time      33 min 20 s", "time      22 s", "time      22 s"]


def test_epochs_of_less_than_ten_seconds_are_judged_together(training, capsys):
    console = training.open()
    for _ in range(5):
        console.take(wait=0.0, forward=4.0)
        console.tell_time(ended=True)
    assert told(capsys) == ["time      12 s: forward 100%; compute-bound"]
