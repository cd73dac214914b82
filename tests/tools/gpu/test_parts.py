"""A part in its process: its log, its limits, and what becomes of one that dies."""

import sys

import pytest

from tarpon.tools.gpu import parts
from tarpon.tools.gpu.child import Log
from tarpon.tools.gpu.parts import PARTS, run_part

PART = """
import os, sys, time
from tarpon.tools.gpu.step_runner import Step, main
def fine(visit):
    yield {"kind": "check", "name": "fine", "ok": True}
def dies(visit):
    print("about to die", flush=True)
    yield {"kind": "check", "name": "before", "ok": True}
    os.kill(os.getpid(), 11)
def after(visit):
    yield {"kind": "check", "name": "after", "ok": True}
def hangs(visit):
    yield {"kind": "check", "name": "begun", "ok": True}
    time.sleep(60)
steps = [Step(name=f.__name__, make=f, seconds=0.1) for f in (STEPS)]
sys.exit(main("kernels", steps, sys.argv[1:]))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """(steps, seconds) -> well?, with a part made of these steps."""
    call = parts.run_process

    def go(steps: str, seconds: float = 60.0) -> bool:
        def instead(words, **options):
            return call([sys.executable, "-c", PART.replace("STEPS", steps), *words[4:]], **options)

        monkeypatch.setattr(parts, "run_process", instead)
        return run_part("kernels", out=tmp_path, seconds=seconds, device="cpu", shards=None, log=Log(tmp_path / "gpu.log"))

    return go


def test_a_part_that_dies_goes_on_after_the_step_that_killed_it(run, tmp_path, rows):
    assert not run("fine, dies, after")
    found = rows(tmp_path / "kernels.jsonl")
    assert [row["name"] for row in found if row["kind"] == "begin"] == ["fine", "dies", "after"]
    ended = {row["name"]: row for row in found if row["kind"] == "step"}
    assert ended["fine"]["ok"]
    assert ended["after"]["ok"]
    assert not ended["dies"]["ok"]
    assert "signal 11" in ended["dies"]["said"]
    assert "before" in [row["name"] for row in found]
    log = (tmp_path / "gpu.log").read_text()
    assert "about to die" in log
    assert "goes on after that step" in log


def test_a_part_is_ended_for_its_time_and_says_where(run, tmp_path, rows):
    assert not run("fine, hangs", 8)
    found = rows(tmp_path / "kernels.jsonl")
    assert [(row["name"], row["ok"]) for row in found if row["kind"] == "step"] == [("fine", True), ("hangs", False)]
    assert "ended after 8 s" in found[-1]["said"]
    assert "begun" in [row["name"] for row in found]


def test_a_part_that_cannot_be_begun_is_told(run, tmp_path, rows):
    assert not run("missing")
    assert (tmp_path / "gpu.log").read_text().count("NameError") == 1
    assert run("fine, fine")


def test_every_part_has_steps_that_fit_its_time():
    for name, part in PARTS.items():
        steps = part.steps(name)
        assert len({step.name for step in steps}) == len(steps)
        assert sum(step.seconds for step in steps) <= part.seconds, name
    kernels = [step.name for step in PARTS["kernels"].steps("kernels")]
    assert max(i for i, name in enumerate(kernels) if "exact" in name) < min(i for i, n in enumerate(kernels) if "time" in n)
