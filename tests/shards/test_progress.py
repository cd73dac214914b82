"""Progress: a line now and then into a pipe, a bar on a terminal, nothing where it is not shown."""

import sys

import pytest

from tarpon.shards import progress
from tarpon.shards.progress import Progress, format_duration, track


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_pipe_gets_a_line_after_ten_seconds_and_then_every_thirty(clock, capsys):
    with Progress(400, what="pack", unit="frames", done=100) as told:
        for now in (105, 109.9, 110, 120, 139.9, 140):
            clock[0] = now
            told.update(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["pack  160/400 frames  6/s  left 40 s", "pack  220/400 frames  3/s  left 1 min 00 s"]


def test_a_short_piece_of_work_says_nothing(clock, capsys):
    assert list(track("abc", total=3, what="lint", unit="samples")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_what_is_not_shown_is_silent(clock, capsys):
    with Progress(9, what="features", unit="rows", shown=False) as told:
        clock[0] += 100
        told.update()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_is_taken_away(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(10, what="pack", unit="frames") as told:
        clock[0] += 5
        told.update(5)
    out, err = capsys.readouterr()
    assert "pack  5/10 frames  1/s  left 5 s" in err
    assert " 50%|" in err
    assert not err.endswith("\n")
    assert not out


def test_an_unknown_total_is_not_guessed(clock):
    told = Progress(0, what="predict", unit="frames")
    told.update(1200)
    assert told.line(clock[0] + 60) == "predict  1,200 frames  20/s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (250, "4 min 10 s"), (7500, "2 h 05 min"), (273600, "3 d 04 h")],
)
def test_durations(seconds, words):
    assert format_duration(seconds) == words
