"""The tasks that the commands serve. A task more is one line here and one in `train/tasks/__init__.py`."""

from tarpon.tools.task import load
from tarpon.train.registry import Registry

TOOLS = Registry(  # name -> tarpon.tools.task.TaskTools
    {
        "mouse": "tarpon.tools.mouse.tools:MOUSE",
        "fish": "tarpon.tools.fish.tools:FISH",
        "cells": "tarpon.tools.cells.tools:CELLS",
        "star": "tarpon.tools.star.tools:STAR",
    }
)


def part_of_kind(kind: object, part: str, *, where: str) -> object:
    """A part (`lint`, `look`) of the task whose data sets are of this kind; ValueError with the kinds there are."""
    known = {tools.kind: getattr(tools, part) for tools in TOOLS.values() if getattr(tools, part)}
    if kind not in known:
        raise ValueError(f"{where}: holds {kind} data; {part} knows {', '.join(known)}")
    return load(known[kind])


def part_of_task(name: str, part: str, *, where: str) -> object:
    """A part (`report`, `ensemble`) of a task; ValueError with the tasks that have it."""
    known = {other: getattr(tools, part) for other, tools in TOOLS.items() if getattr(tools, part)}
    if name not in known:
        raise ValueError(f"{where}: no {part} of {name!r}; there is: {', '.join(known)}")
    return load(known[name])


def benchmark_of(name: str, what: str) -> object:
    """What `tarpon bench WHAT --task NAME` times; ValueError with the tasks that have one."""
    known = {other: tools.benchmarks[what] for other, tools in TOOLS.items() if what in tools.benchmarks}
    if name not in known:
        raise ValueError(f"task={name!r} has no {what} benchmark; there is: {', '.join(sorted(known))}")
    return load(known[name])
