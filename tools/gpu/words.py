"""A task met with its data by the options of a command line."""

from collections.abc import Sequence
from pathlib import Path

from tarpon.train.config import parse, parser_for
from tarpon.train.engine import DistContext
from tarpon.train.task import Problem
from tarpon.train.tasks import TASKS


def problem(name: str, shards: Path, words: Sequence[str], context: DistContext) -> Problem:
    """The task of this name met with its shards."""
    kind = TASKS[name]
    parser = parser_for(kind.options, recipe=kind.recipe(), task=name)
    run, options, _ = parse(parser, kind.options, [f"--data={shards}", *words])
    return kind.build(run, options, context)
