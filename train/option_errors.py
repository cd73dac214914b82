"""What is wrong with an option, in words: its name, what was given, what it may be, and the nearest name there is."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from tarpon.train.option import Option

HELP = "--help shows the options that matter, --help-all every one"
INVALID = re.compile(r'Parser key "(?P<key>[\w.]+)".*?(?:Got value|Given value): (?P<value>.*)', re.DOTALL)
NO_VALUE = re.compile(r"argument --(?P<key>[\w.]+): expected (?:one|at least one) argument")
MISSING = re.compile(
    r"the following arguments are required: (?P<keys>.+)|(?:Key|Parser key|Option) ['\"](?P<key>[\w.]+)['\"] is required.*"
)
UNKNOWN = re.compile(r"(?:Group '(?P<group>[\w.]+)' does not accept option|Option) '(?P<key>[\w.-]+)'")
STRAY = re.compile(r"[Uu]nrecognized arguments: (?P<words>.+)")


def explain_unknown(name: str, known: Sequence[str]) -> str:
    """No option of that name, with the nearest."""
    near = find_near(name, known)
    return f"no option --{name}; " + (f"near: {', '.join(f'--{other}' for other in near)} ({HELP})" if near else HELP)


def explain_stray(words: Sequence[str], known: Sequence[str]) -> str:
    """What nothing takes: the first option among the words that is not known, or words that belong to no option."""
    names = (word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--"))
    unknown = next((name for name in names if name not in known), None)
    if unknown is None:
        return f"nothing takes {' '.join(words)}; the name of an option begins with two dashes"
    return explain_unknown(unknown, known)


def find_near(name: str, known: Sequence[str], *, count: int = 3) -> list[str]:
    """Names like it: begun alike, ending in it after a dot (`lr` -> `optim.lr`), or spelt alike."""
    begun = [other for other in known if other.startswith(name)]
    inner = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    last = {other.rpartition(".")[2]: other for other in reversed(known)}
    alike = get_close_matches(name, known, n=count, cutoff=0.6)
    alike += [last[other] for other in get_close_matches(name.rpartition(".")[2], last, n=count, cutoff=0.75)]
    return list(dict.fromkeys([*inner, *begun, *alike]))[:count]


def explain(message: str, options: Mapping[str, Option]) -> str:
    """The parser's own message in words; as it is where it is of no kind that is known here."""
    if (found := INVALID.search(message)) and (option := options.get(found["key"])):
        return explain_value(option, found["value"].strip())
    if (found := NO_VALUE.search(message)) and (option := options.get(found["key"])):
        return f"{option.name} needs a value, {_may_be(option)}"
    if found := UNKNOWN.search(message):
        return explain_unknown(".".join(filter(None, (found["group"], found["key"]))), list(options))
    if found := MISSING.search(message):
        names = (found["keys"] or found["key"]).split(", ")
        return f"needed: {', '.join(_flag(name, options) for name in names)} ({HELP})"
    if found := STRAY.search(message):
        return explain_stray(found["words"].split(), list(options))
    return message


def _flag(name: str, options: Mapping[str, Option]) -> str:
    return name.upper() if name in options and options[name].positional else f"--{name}"


def explain_value(option: Option, value: str) -> str:
    """What was given, what it may be, and the nearest of that."""
    near = get_close_matches(value, option.choices(), n=1)
    given = repr(value) if option.choices() else value
    return f"{option.name}={given} must be {_may_be(option)}" + (f"; near: {near[0]}" if near else "")


def _may_be(option: Option) -> str:
    choices, words = option.choices(), option.words()
    if choices:
        return f"one of {', '.join(choices)}" if len(choices) > 3 else words
    return f"{'a list' if words.startswith('[') else 'a'} {words}"
