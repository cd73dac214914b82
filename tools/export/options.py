"""A task's options from the JSON in an exported file."""

from collections.abc import Mapping
from dataclasses import fields

from tarpon.train.config import parser_for
from tarpon.train.tasks import TASKS


def read_options(task: str, held: Mapping[str, object]) -> object:
    """The task's options; ValueError where the file holds others than this version knows."""
    kind = TASKS[task]
    parser = parser_for(kind.options, recipe=kind.recipe(), task=task)
    made = parser.instantiate(parser.parse_object({"data": "", **held}))
    return kind.options(**{field.name: made[field.name] for field in fields(kind.options)})
