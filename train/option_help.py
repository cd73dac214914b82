"""Screens of --help: options under the title of what they belong to, each with its sentence, what it may be and its default."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType

from tarpon.train.option import Option, show_value, split_union

NAMES = 28  # columns of the names; a longer one stands on a line of its own
WIDEST, NARROWEST = 110, 50  # columns


def screen_width() -> int:
    """Columns of the terminal, within reason."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def wrap_text(text: str, *, width: int) -> list[str]:
    """Lines of a text whose paragraphs are kept."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return [line for part in paragraphs for line in (*textwrap.wrap(part, width), "")][:-1]


def format_sections(options: Iterable[Option], *, width: int) -> Iterator[str]:
    """Lines: every section's title with its options below, in the order given."""
    sections: dict[str, list[Option]] = {}
    for option in options:
        sections.setdefault(option.section, []).append(option)
    for title, own in sections.items():
        if title:
            yield from textwrap.wrap(title, width)
        for option in own:
            yield from format_option(option, width=width)
        yield ""


def format_option(option: Option, *, width: int) -> Iterator[str]:
    """The lines of one option."""
    name = option.name.upper() if option.positional else f"--{option.name}"
    return format_columns([(f"  {name}", describe(option))], width=width)


def format_columns(rows: Sequence[tuple[str, str]], *, width: int, names: int = NAMES) -> Iterator[str]:
    """Two columns, the second wrapped; a first that is too long stands on a line of its own."""
    for name, text in rows:
        indent = " " * (names + 2)
        body = textwrap.wrap(text, width - len(indent)) or [""]
        if len(name) <= names:
            yield f"{name:<{names}}  {body[0]}".rstrip()
            body = body[1:]
        else:
            yield name
        yield from (indent + line for line in body)


def describe(option: Option) -> str:
    """The sentence, and in brackets what it may be and what it is unless given."""
    unset = option.default is None and NoneType not in split_union(option.kind)
    default = "needed" if option.required else "unset" if unset else f"default {show_value(option.default)}"
    return f"{option.sentence.rstrip('.')} ({option.words()}; {default})".lstrip()
