"""Words after a command's name -> keyword arguments of its function, and the screen of its --help: both from its signature."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tarpon.tools.task import Command
from tarpon.train.option import Option, options_of_function
from tarpon.train.option_docs import read_summary
from tarpon.train.option_errors import explain
from tarpon.train.option_help import format_sections, screen_width, wrap_text
from tarpon.train.option_words import spell_words
from tarpon.train.usage import UsageError, one_line


def read_options(name: str, command: Command, function: Callable, words: Sequence[str]) -> dict:
    """Keyword arguments of the function; UsageError in one line."""
    import jsonargparse  # here: an eighth of a second that the overview need not wait

    if lacking := set(command.fixed) - set(inspect.signature(function).parameters):
        raise UsageError(f"{name} cannot be done: its function {command.target} takes no {', '.join(sorted(lacking))}")
    known = known_options(command, function)
    parser = jsonargparse.ArgumentParser(prog=f"tarpon {name}", exit_on_error=False, allow_abbrev=False, add_help=False)
    flat = {key for key, option in known.items() if not option.positional}
    many = {key for key, option in known.items() if option.positional and option.kind == list[str]}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=flat | many | set(command.fixed))
    for key in many:
        parser.add_argument(key, type=str, nargs="+")
    parser.add_function_arguments(function, as_group=False, as_positional=False, skip=set(command.takes) | set(command.fixed))
    try:
        made = parser.instantiate(parser.parse_args(spell_words(_without(words, command.lead), known.values())))
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        raise UsageError(f"{name}: {one_line(explain(str(error), known))}") from error
    return {key: made[key] for key in known} | command.fixed


def known_options(command: Command, function: Callable) -> Mapping[str, Option]:
    """Name -> option, those without a dash first."""
    free = [option for option in options_of_function(function) if option.name not in command.fixed]
    options = [replace(option, positional=option.name in command.takes) for option in free]
    return {option.name: option for option in sorted(options, key=lambda option: not option.positional)}


def show_command(name: str, command: Command, function: Callable, *, every: bool) -> str:
    """What a command does and its options: those that must be given first."""
    width, options = screen_width(), list(known_options(command, function).values())
    needed, free = ([option for option in options if option.required == must] for must in (True, False))
    shown = free if every or not command.first else [option for option in free if option.name in command.first]
    usage = " ".join(
        [f"usage: tarpon {name}", *(option.flag() for option in needed), *(["[--option VALUE ...]"] if free else [])]
    )
    summary = f"{command.does[0].upper()}{command.does[1:]}." if command.fixed else read_summary(function)
    titled = (("Needed", needed), ("Options", shown))
    sections = [replace(option, section=title) for title, own in titled for option in own]
    more = [f"tarpon {name} --help-all lists {len(free) - len(shown)} more."] if len(shown) < len(free) else []
    return "\n".join([usage, "", *wrap_text(summary, width=width), "", *format_sections(sections, width=width), *more]).rstrip()


def _without(words: Sequence[str], lead: str) -> list[str]:
    """`--lead A B` and `--lead=A B` as `A B`."""
    return [word.removeprefix(f"{lead}=") for word in words if not lead or word != lead]
