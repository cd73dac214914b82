"""What the commands know of a task: one record, as light as a table, beside the trainer's `Task`.

Parts are given as "module:attribute" and loaded when a command asks for them, so that no command waits for what it does not
use.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: a function whose keyword arguments are its options and whose int is the exit status."""

    target: str  # module:function under tarpon.tools, imported when called
    does: str  # one line for the overview
    takes: tuple[str, ...] = ()  # arguments given without a dash; one annotated list[str] takes one word or more
    lead: str = ""  # option that may stand before them and says nothing more
    fixed: Mapping[str, object] = field(default_factory=dict)  # arguments that the command sets itself: no options of it
    first: tuple[str, ...] = ()  # of many options those on the first screen of --help; (): all
    raw: bool = False  # the function takes the words as they are
    published: tuple[str, str] = ("", "")  # an option by which a published command line is known, and the command that takes it


@dataclass(frozen=True, kw_only=True)
class TaskTools:
    """A task for the commands that serve every task. Targets are under tarpon.tools."""

    kind: str  # of the data sets it packs: `kind` in their dataset.json
    lint: str | None = None  # -> lint_checks.Kind: what must hold of a stored sample
    look: str | None = None  # -> look.Preview: tables and a contact sheet of a data set
    report: str | None = None  # -> report.ReportSections: what the task adds to a report
    ensemble: str | None = None  # -> ensemble.Averaging: how the outputs of several runs are averaged
    export: str | None = None  # -> export.record.Exporting: the network with its pre-processing, for other programs
    view: str | None = None  # -> subclass of view.record.Album: what the page of `tarpon view` shows of a data set and of a run
    gpu: str | None = None  # -> gpu.checks.GpuChecks: what `tarpon gpu` prepares, compares and times
    selftest: str | None = None  # -> prepare(folder): makes tiny data there, returns the options of a training on them
    benchmarks: Mapping[str, str] = field(default_factory=dict)  # "loader", "train" -> what `tarpon bench` times
    commands: Mapping[str, Command] = field(default_factory=dict)  # the task's own, by the words that call them


def load(target: str) -> object:
    """The object that "module:attribute" names, under tarpon.tools."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(f"tarpon.tools.{module}"), name)
