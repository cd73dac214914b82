"""Options under the names that labs know from older trainers, on the command line and in configuration files."""

from collections.abc import Callable, Mapping, Sequence

import yaml

from tarpon.train.config import UsageError, one_line

Names = Mapping[str, tuple[str, ...]]  # their name -> ours, dotted; one of theirs may set several of ours


def respelt(
    words: Sequence[str],
    names: Names,
    refused: Mapping[str, str],
    published: Callable[[str], dict | None] = lambda path: None,
) -> list[str]:
    """Command line with their options turned into ours: `--name value`, `--name=value`, or a bare flag.

    Files after --config are turned too; one that needs no change is left to be read as it is.

    Args:
        refused: their options that nothing takes, with what to do.
        published: a file in a layout of theirs -> our options, dotted; None for any other file.

    Raises:
        UsageError: an option of `refused`, or a file that sets one option under two names.
    """
    out: list[str] = []
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        own = bool(equals) or (bool(rest) and not rest[0].startswith("--"))  # it has a value
        key = name.removeprefix("--").replace("-", "_") if name.startswith("--") else ""
        _refuse(key, refused, place="")
        if name == "--config" and own:
            value = value if equals else rest.pop(0)
            theirs = published(value)
            out.append(f"--config={_respelt_file(value, names, refused) if theirs is None else _nested(theirs, place=value)}")
        elif key in names:
            value = value if equals else _values(rest) if own else "true"
            out += [f"--{ours}={value}" for ours in names[key]]
        else:
            out.append(name + equals + value)
    return out


def _values(rest: list[str]) -> str:
    """The words up to the next option, taken off the list: one as it stands, several as a list."""
    taken = [rest.pop(0)]
    while rest and not rest[0].startswith("--"):
        taken.append(rest.pop(0))
    return taken[0] if len(taken) == 1 else f"[{', '.join(taken)}]"


def _respelt_file(path: str, names: Names, refused: Mapping[str, str]) -> str:
    """The path itself, or the file's content under our names as YAML text."""
    try:
        with open(path) as file:
            held = yaml.safe_load(file)
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"--config {path}: cannot be read ({one_line(str(error))})") from error
    if not isinstance(held, dict) or not any(key in names or key in refused for key in held):
        return path
    made: dict = {key: value for key, value in held.items() if key not in names}
    for key, value in held.items():
        _refuse(key, refused, place=f"{path}: ")
        for ours in names.get(key, ()):
            _put(made, ours, value, place=f"{path}: {key}")
    return yaml.safe_dump(made)


def _nested(options: Mapping[str, object], *, place: str) -> str:
    """Dotted options as YAML text."""
    made: dict = {}
    for dotted, value in options.items():
        _put(made, dotted, list(value) if isinstance(value, tuple) else value, place=place)
    return yaml.safe_dump(made)


def _refuse(key: str, refused: Mapping[str, str], *, place: str) -> None:
    if key in refused:
        raise UsageError(f"{place}{key} is no option of training: {refused[key]}")


def _put(made: dict, dotted: str, value: object, *, place: str) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        made = made.setdefault(section, {})
    if last in made and made[last] != value:
        raise UsageError(f"{place} sets {dotted} to {value}, which the file also sets to {made[last]}; give it once")
    made[last] = value
