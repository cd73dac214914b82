"""Options under the names that labs know from older trainers, on the command line and in configuration files."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from tarpon.shards.bounded_text import read_yaml
from tarpon.train.usage import UsageError, one_line

Names = Mapping[str, tuple[str, ...]]  # their name -> ours, dotted; one of theirs may set several of ours, or name=value
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
NUMBERS = re.compile(rf"{NUMBER}(?:\s*,\s*{NUMBER})+")
SECTION = re.compile(r"\s*\{.*|.*\.(?:ya?ml|json)", re.IGNORECASE | re.DOTALL)  # a section of ours, in braces or in a file


def translate_options(
    words: Sequence[str],
    names: Names,
    refused: Mapping[str, str],
    published: Callable[[str], dict | None] = lambda path: None,
    idle: Mapping[str, Callable[[str], str]] = {},
) -> list[str]:
    """Command line with their options turned into ours: `--name value`, `--name=value`, or a bare flag.

    Numbers with commas between become a list. A name that is also a section of ours (`model`, `wandb`) is theirs unless its
    value is a section: braces, or a file of YAML. Files after --config are turned too; one that needs no change is left to be
    read as it is.

    Args:
        refused: their options that nothing takes, with what to do.
        published: a file in a layout of theirs -> our options, dotted; None for any other file.
        idle: their options that ask for what happens anyway -> what contradicts it in the value, "" for nothing; dropped.

    Raises:
        UsageError: an option of `refused` or a contradiction of `idle`, or a file that sets one option under two names.
    """
    lists = {ours for targets in names.values() for ours in targets}
    out: list[str] = []
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        own = bool(equals) or (bool(rest) and not rest[0].startswith("--"))  # it has a value
        key = name.removeprefix("--").replace("-", "_") if name.startswith("--") else ""
        _refuse(key, refused, context="")
        if name == "--config" and own:
            value = value if equals else rest.pop(0)
            theirs = published(value)
            read = _translate_file(value, names, refused, idle) if theirs is None else _as_yaml(theirs, context=value)
            out.append(f"--config={read}")
        elif key in idle:
            _check_idle(key, value if equals else _values(rest) if own else "true", idle)
        elif key in names and not SECTION.fullmatch(value if equals else rest[0] if own else ""):
            value = value if equals else _values(rest) if own else "true"
            out += _as_words(names[key], value)
        elif key in lists and own and NUMBERS.fullmatch(value if equals else rest[0]):
            out.append(f"--{key}={_as_list(value if equals else rest.pop(0))}")
        else:
            out.append(name + equals + value)
    return out


def _as_words(targets: Sequence[str], value: str) -> list[str]:
    """Our options of one of theirs; one with a value of its own is set where theirs is on."""
    own = [f"--{ours}={_as_list(value)}" for ours in targets if "=" not in ours]
    return own + [f"--{ours}" for ours in targets if "=" in ours and value != "false"]


def _as_list(value: str) -> str:
    """`1,0.5` as `[1,0.5]`; anything else as it is."""
    return f"[{value}]" if NUMBERS.fullmatch(value.strip()) else value


def _check_idle(key: str, value: str, idle: Mapping[str, Callable[[str], str]], *, context: str = "") -> None:
    if wrong := idle[key](value):
        raise UsageError(f"{context}{key}={value}: {wrong}")


def _values(rest: list[str]) -> str:
    """The words up to the next option, taken off the list: one as it stands, several as a list."""
    taken = [rest.pop(0)]
    while rest and not rest[0].startswith("--"):
        taken.append(rest.pop(0))
    return taken[0] if len(taken) == 1 else f"[{', '.join(taken)}]"


def _translate_file(path: str, names: Names, refused: Mapping[str, str], idle: Mapping[str, Callable[[str], str]]) -> str:
    """The path itself, or the file's content under our names as YAML text."""
    try:
        held = read_yaml(Path(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"--config {path}: cannot be read ({one_line(str(error))})") from error
    theirs = {key for key in names if isinstance(held, dict) and key in held and not isinstance(held[key], dict)}
    if not isinstance(held, dict) or not (theirs or any(key in refused or key in idle for key in held)):
        return path
    made: dict = {key: value for key, value in held.items() if key not in theirs and key not in idle}
    for key, value in held.items():
        _refuse(key, refused, context=f"{path}: ")
        if key in idle:
            _check_idle(key, str(value), idle, context=f"{path}: ")
        for ours in names[key] if key in theirs else ():
            name, fixed, own = ours.partition("=")
            if fixed and value is False:
                continue
            text = own if fixed else _as_list(value) if isinstance(value, str) else None
            _set_option(made, name, value if text is None else yaml.safe_load(text), context=f"{path}: {key}")
    return yaml.safe_dump(made)


def _as_yaml(options: Mapping[str, object], *, context: str) -> str:
    """Dotted options as YAML text."""
    made: dict = {}
    for dotted, value in options.items():
        _set_option(made, dotted, list(value) if isinstance(value, tuple) else value, context=context)
    return yaml.safe_dump(made)


def _refuse(key: str, refused: Mapping[str, str], *, context: str) -> None:
    if key in refused:
        raise UsageError(f"{context}{key} is no option of training: {refused[key]}")


def _set_option(made: dict, dotted: str, value: object, *, context: str) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        made = made.setdefault(section, {})
    if last in made and made[last] != value:
        raise UsageError(f"{context} sets {dotted} to {value}, which the file also sets to {made[last]}; give it once")
    made[last] = value
