"""Steps are written before the next begins, fail alone, and are not done twice."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tarpon.tools.gpu.journal import Journal, read_rows
from tarpon.tools.gpu.step_runner import Step, Visit, main, run_steps


def step(name: str, *rows: dict, seconds: float = 0.0, fails: Exception | None = None, resumes: bool = False) -> Step:
    def make(visit: Visit):
        yield from ({"kind": "check", **row} for row in rows)
        if fails:
            raise fails

    return Step(name=name, make=make, seconds=seconds, resumes=resumes)


def go(tmp_path, steps: list[Step], *, ends: float = float("inf"), since: float = float("inf")) -> int:
    visit = Visit(out=tmp_path, device="cpu", ends=ends)
    return run_steps(steps, visit, Journal(tmp_path, "x", since=since))


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), AssertionError(), KeyError("k")])
def test_a_step_that_fails_keeps_its_rows_and_the_others_are_done(tmp_path, rows, error):
    assert go(tmp_path, [step("bad", {"name": "a"}, fails=error), step("good", {"name": "b"})]) == 1
    found = rows(tmp_path / "x.jsonl")
    assert [(row["kind"], row["name"]) for row in found] == [
        ("begin", "bad"), ("check", "a"), ("error", "bad"), ("step", "bad"),
        ("begin", "good"), ("check", "b"), ("step", "good"),
    ]  # fmt: skip
    assert type(error).__name__ in found[2]["traceback"]
    assert [row["ok"] for row in found if row["kind"] == "step"] == [False, True]
    assert all(row["part"] == "x" for row in found)
    assert found[1]["step"] == "bad"


def test_a_row_that_is_not_ok_makes_its_step_not_ok(tmp_path, rows):
    assert go(tmp_path, [step("one", {"name": "a", "ok": True}, {"name": "b", "ok": False})]) == 1
    assert "1 of 2 failed: b" in rows(tmp_path / "x.jsonl")[-1]["said"]


def test_what_went_well_is_not_done_again_and_what_failed_is(tmp_path, rows):
    go(tmp_path, [step("good", {"name": "a"}), step("bad", fails=ValueError("no"))])
    assert go(tmp_path, [step("good", fails=ValueError("again")), step("bad", {"name": "b"})]) == 0
    assert [row["name"] for row in rows(tmp_path / "x.jsonl") if row["kind"] == "step"] == ["good", "bad", "bad"]


def test_a_step_that_ended_its_process_is_passed_over_unless_it_resumes(tmp_path, rows):
    begun = time.time() - 1
    for name in ("deadly", "resuming"):
        Journal(tmp_path, "x").write("begin", name)
    later = [step("deadly", {"name": "a"}), step("resuming", {"name": "b"}, resumes=True)]
    assert go(tmp_path, later, since=begun) == 0
    assert [row["name"] for row in rows(tmp_path / "x.jsonl") if row["kind"] == "check"] == ["b"]
    assert go(tmp_path, later, since=time.time()) == 0  # another visit tries it again
    assert [row["name"] for row in rows(tmp_path / "x.jsonl") if row["kind"] == "check"] == ["b", "a"]


def test_a_step_for_which_no_time_is_left_is_told(tmp_path, rows):
    steps = [step("long", {"name": "a"}, seconds=60), step("short", {"name": "b"}, seconds=3)]
    assert go(tmp_path, steps, ends=time.monotonic() + 5) == 1
    assert [(row["name"], row["ok"]) for row in rows(tmp_path / "x.jsonl") if row["kind"] == "step"] == [
        ("long", False), ("short", True),
    ]  # fmt: skip


def test_a_line_that_a_kill_cut_off_costs_only_itself(tmp_path):
    Journal(tmp_path, "x").write("check", "whole")
    with open(tmp_path / "x.jsonl", "a") as file:
        file.write('{"kind": "check", "na')
    Journal(tmp_path, "x").write("check", "next")
    assert [row["name"] for row in read_rows(tmp_path / "x.jsonl")] == ["whole", "next"]
    assert list(read_rows(tmp_path / "none.jsonl")) == []


SLEEPER = """
import sys, time
from tarpon.tools.gpu.step_runner import Step, main
def make(visit):
    yield {"kind": "check", "name": "done"}
    time.sleep(60)
    yield {"kind": "check", "name": "never"}
sys.exit(main("x", [Step(name="slow", make=make, seconds=1)], sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_part_has_written_what_it_found(tmp_path, rows, number):
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, f"--out={tmp_path}", "--device=cpu"], stdout=subprocess.DEVNULL)
    wait_for(tmp_path / "x.jsonl", '"done"')
    os.kill(process.pid, number)
    process.wait(10)
    assert [row["name"] for row in rows(tmp_path / "x.jsonl")] == ["slow", "done"]


def wait_for(path, text: str, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f"{path} never held {text}"
        time.sleep(0.05)


def test_the_options_of_a_part(tmp_path, rows):
    assert main("x", [step("one", {"name": "a"})], [f"--out={tmp_path}", "--device=cpu", "--seconds=5"]) == 0
    with pytest.raises(SystemExit):
        main("x", [], ["--device=tpu"])
