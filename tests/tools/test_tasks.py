"""The table of the tasks' tools: its targets are there, and what a task leaves out is told in one line."""

import pytest

from tarpon.tools import report, tasks
from tarpon.tools.bench.loader import default_task
from tarpon.tools.gpu.checks import load_checks
from tarpon.tools.task import TaskTools, load
from tarpon.train.tasks import TASKS

PARTS = ("lint", "look", "report", "ensemble", "gpu")
BARE = TaskTools(kind="sand")


@pytest.fixture
def with_bare(monkeypatch) -> None:
    """A task more, of which nothing but the kind is known."""
    monkeypatch.setitem(tasks.TOOLS, "beach", BARE)


def test_both_tables_have_the_same_tasks():
    assert tasks.TOOLS.keys() == TASKS.keys()
    kinds = [tools.kind for tools in tasks.TOOLS.values()]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("name", tasks.TOOLS)
def test_targets_are_there(name):
    tools = tasks.TOOLS[name]
    targets = [target for part in PARTS if (target := getattr(tools, part))] + list(tools.benchmarks.values())
    assert all(load(target) is not None for target in targets)
    assert all(target.startswith(f"{name}.") for target in targets)


@pytest.mark.parametrize("part", ["lint", "look"])
def test_kind_without_a_part_is_told_in_one_line(with_bare, part):
    with pytest.raises(ValueError, match=rf"^shards: holds sand data; {part} knows mouse, fish, cells, reid$"):
        tasks.part_of_kind("sand", part, where="shards")


def test_task_without_a_part_is_told_in_one_line(with_bare):
    with pytest.raises(ValueError, match=r"^runs/a: no ensemble of 'beach'; there is: mouse, fish, cells, star$"):
        tasks.part_of_task("beach", "ensemble", where="runs/a")
    with pytest.raises(ValueError, match=r"task='beach' has no loader benchmark"):
        tasks.benchmark_of("beach", "loader")


def test_report_of_a_task_without_one_shows_what_every_task_has(with_bare):
    assert report.sections_of("beach") is report.NOTHING
    with pytest.raises(ValueError, match="no report of a 'sea' run"):
        report.sections_of("sea")


def test_one_task_is_timed_and_a_task_more_changes_nothing(with_bare):
    assert default_task() == "mouse"
    assert list(load_checks()) == ["mouse", "fish", "cells", "star"]
