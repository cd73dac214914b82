"""An option as a user meets it: its name, what it may be in words, its default and its sentence.

Made from what defines it: the fields of a dataclass, or a function's parameters.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from tarpon.train.option_docs import read_argument_sentences, read_field_comments, read_summary

WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "{name: value, ...}"}
MISSING = object()  # the default of an option that must be given


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a command."""

    name: str  # dotted, without the dashes
    kind: object  # the annotation
    default: object
    sentence: str
    section: str = ""  # what it belongs to, as a title
    positional: bool = False  # given without its name

    @property
    def required(self) -> bool:
        return self.default is MISSING

    def flag(self) -> str:
        """As it is typed in a line of usage: `--out OUT`, or `OUT ...` where it is given without its name."""
        value = self.name.rpartition(".")[2].upper()
        return f"{value}{' ...' if get_origin(self.kind) is list else ''}" if self.positional else f"--{self.name} {value}"

    def choices(self) -> tuple[str, ...]:
        """What it may be, where that is a list of words."""
        return tuple(dict.fromkeys(choice for kind in split_union(self.kind) for choice in _choices(kind)))

    def words(self) -> str:
        """What it may be: `whole number`, `cosine, linear or none`, `text or null`."""
        return name_kind(self.kind)


def options_of_record(
    record: object, *, prefix: str = "", section: str = "", required: tuple[str, ...] = ()
) -> Iterator[Option]:
    """Every field of a dataclass and of those in it, with the record's own values as defaults.

    Args:
        required: names of fields that a user must give, whatever the record holds.
    """
    owner, deeper = type(record), []
    sentences, kinds = read_field_comments(owner), get_type_hints(owner)
    for field in fields(owner):
        value, name = getattr(record, field.name), prefix + field.name
        if is_dataclass(value):
            deeper.append((value, name))
        else:
            default = MISSING if name in required else value
            yield Option(name=name, kind=kinds[field.name], default=default, sentence=sentences[field.name], section=section)
    for value, name in deeper:
        yield from options_of_record(value, prefix=f"{name}.", section=f"{name}: {read_summary(type(value)).splitlines()[0]}")


def options_of_function(function: Callable) -> list[Option]:
    """Every parameter of a command's function."""
    sentences, kinds = read_argument_sentences(function), get_type_hints(function)
    return [
        Option(
            name=name,
            kind=_without_none(kinds[name]),
            default=MISSING if parameter.default is inspect.Parameter.empty else parameter.default,
            sentence=sentences.get(name, ""),
        )
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _without_none(kind: object) -> object:
    """A parameter's type without None, which no word on a command line is: the option is left out instead."""
    kept = [part for part in split_union(kind) if part is not NoneType]
    return Union[tuple(kept)] if len(kept) > 1 else kept[0]  # noqa: UP007 (made of a list)


def split_union(kind: object) -> tuple[object, ...]:
    """The types that an annotation allows."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _choices(kind: object) -> tuple[str, ...]:
    if kind is bool:
        return ("true", "false")
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def name_kind(kind: object) -> str:
    """An annotation in words."""
    words: list[str] = []
    for part in split_union(kind):
        if part is NoneType:
            words.append("null")
        elif get_origin(part) is Literal:
            words += map(str, get_args(part))
        elif get_origin(part) in (tuple, list):
            words.append(_name_list(get_args(part)))
        else:
            words.append(WORDS.get(get_origin(part) or part, getattr(part, "__name__", str(part))))
    flat = [word for words_of in words for word in words_of.split(" or ")]
    return " or ".join([", ".join(flat[:-1]), flat[-1]]) if len(flat) > 1 else flat[0]


def _name_list(parts: tuple[object, ...]) -> str:
    """`[whole number, ...]`, or as many as the annotation says."""
    if (len(parts) == 2 and parts[1] is Ellipsis) or len(parts) == 1:
        return f"[{name_kind(parts[0])}, ...]"
    return f"[{', '.join(name_kind(part) for part in parts)}]"


def show_value(value: object) -> str:
    """A default as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(show_value, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
