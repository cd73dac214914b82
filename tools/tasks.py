"""The tasks that the commands serve. A task more is one line here and one in `train/tasks/__init__.py`."""

from tarpon.tools.cells.tools import CELLS
from tarpon.tools.fish.tools import FISH
from tarpon.tools.mouse.tools import MOUSE
from tarpon.tools.star.tools import STAR
from tarpon.tools.task import TaskTools, load

TOOLS: dict[str, TaskTools] = {"mouse": MOUSE, "fish": FISH, "cells": CELLS, "star": STAR}


def part_of_kind(kind: object, part: str, *, where: str) -> object:
    """A part (`lint`, `look`) of the task whose data sets are of this kind; ValueError with the kinds there are."""
    known = {tools.kind: getattr(tools, part) for tools in TOOLS.values() if getattr(tools, part)}
    if kind not in known:
        raise ValueError(f"{where}: holds {kind} data; {part} knows {', '.join(known)}")
    return load(known[kind])


def part_of_task(task: str, part: str, *, where: str) -> object:
    """A part (`report`, `ensemble`) of a task; ValueError with the tasks that have it."""
    known = {name: getattr(tools, part) for name, tools in TOOLS.items() if getattr(tools, part)}
    if task not in known:
        raise ValueError(f"{where}: no {part} of {task!r}; there is: {', '.join(known)}")
    return load(known[task])


def benchmark_of(task: str, name: str) -> object:
    """What `tarpon bench NAME --task TASK` times; ValueError with the tasks that have one."""
    known = {other: tools.benchmarks[name] for other, tools in TOOLS.items() if name in tools.benchmarks}
    if task not in known:
        raise ValueError(f"task={task!r} has no {name} benchmark; there is: {', '.join(sorted(known))}")
    return load(known[task])
