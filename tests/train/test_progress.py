"""The line that tells how far a training is: now and then into a pipe, a bar on a terminal, nothing from other processes."""

import io
import sys
from types import SimpleNamespace

import pytest

from tarpon.train import progress
from tarpon.train.progress import Place, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    held = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: held.now))
    return held


def line_of(*, step: int = 0, shown: bool = True, best: float | None = None) -> Progress:
    place = Place(step=step, epoch=0, best=best)
    return Progress(place, total=1000, epochs=10, unit="frames", select="macro_f1", shown=shown)


def run_steps(told: Progress, clock, *, first: int, last: int, step_s: float = 1.0) -> None:
    for step in range(first, last + 1):
        clock.now += step_s
        told.step(step, epoch=1 + step // 100)


def test_into_a_pipe_after_10_seconds_and_then_every_30(clock, capsys):
    with line_of() as told:
        run_steps(told, clock, first=1, last=75)
    steps = [int(line.split()[1].split("/")[0]) for line in capsys.readouterr().out.splitlines()]
    assert steps == [10, 40, 70]


def test_the_line_has_everything(clock, capsys):
    with line_of(step=200) as told:
        run_steps(told, clock, first=201, last=202)
        told.read({"loss": 1.23456, "frames_per_s": 1234.5, "loader/wait_share": 0.021})
        told.best(0.6125)
        run_steps(told, clock, first=203, last=210)
    (line,) = capsys.readouterr().out.splitlines()
    parts = ("step 210/1000", "epoch 3/10", "loss 1.235", "1,234 frames/s", "waiting 2%", "left 13 min 10 s")
    assert line == "  ".join((*parts, "best macro_f1 0.6125"))


def test_time_left_counts_what_lies_between_the_steps_but_not_the_first(clock, capsys):
    with line_of() as told:
        run_steps(told, clock, first=1, last=1, step_s=100.0)  # pipelines are built and networks compiled
        run_steps(told, clock, first=2, last=11, step_s=0.5)
        clock.now += 15.0  # an evaluation
        run_steps(told, clock, first=12, last=21, step_s=0.5)
        assert told.line(clock.now).startswith("step 21/1000  epoch 1/10  left 20 min 24 s")  # 25 s for 20 steps
    assert capsys.readouterr().out.splitlines()[0] == "step 1/1000  epoch 1/10"


def test_other_processes_are_silent(clock, capsys):
    with line_of(shown=False) as told:
        run_steps(told, clock, first=1, last=100)
        told.say("val macro_f1 0.5")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_and_what_is_printed_goes_above_it(clock, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    with line_of() as told:
        run_steps(told, clock, first=1, last=100)
        told.say("val macro_f1 0.5")
        print("bad sample", file=sys.stderr)
        told.begin("evaluation")
        run_steps(told, clock, first=101, last=102)
    assert (sys.stdout, sys.stderr) == (screen, screen)
    text = screen.getvalue()
    lines = [line.split("\r")[-1] for line in text.split("\n")]
    assert lines[:2] == ["val macro_f1 0.5", "bad sample"]
    assert "%|" in text
    assert "step 100/1000  epoch 2/10" in text
    assert text.split("\r")[-1].strip() == ""  # the bar is gone in the end


def test_an_exception_takes_the_bar_away(clock, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)

    def stop() -> None:
        with line_of() as told:
            run_steps(told, clock, first=1, last=5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    print("stopped by Ctrl-C, saved")
    assert screen.getvalue().split("\r")[-1] == "stopped by Ctrl-C, saved\n"
