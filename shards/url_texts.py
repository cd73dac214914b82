"""Texts that name files of a URL while these lie in a local folder: local paths for who reads, URLs for who is told."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any


def to_path(text: str, *, roots: Sequence[str], base: Path) -> str:
    """The local path in place of a URL at or below one of the roots; other text as it is."""
    if any(text == root or text.startswith(f"{root}/") for root in roots):
        return f"{base}/{text.replace('://', '/', 1)}"
    return text


def to_url(text: str, *, roots: Sequence[str], base: Path) -> str:
    """The text with URLs in place of local paths."""
    for scheme in sorted({root.partition("://")[0] for root in roots}):
        text = text.replace(f"{base}/{scheme}/", f"{scheme}://")
    return text


@contextmanager
def errors_told(told: Callable[[str], str]) -> Iterator[None]:
    """Within it, the text of a ValueError and the file name of an OSError are told in other words."""
    try:
        yield
    except ValueError as error:
        raise ValueError(told(str(error))) from error
    except OSError as error:
        if error.filename:
            error.filename = told(str(error.filename))
        raise


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed: in lists, tuples and dataclasses; all else is passed over."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(change_texts(one, change) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        made = {name: (change_texts(one, change), one) for name, one in held.items()}
        changed = {name: new for name, (new, old) in made.items() if new is not old and new != old}
        return replace(value, **changed) if changed else value
    return value
