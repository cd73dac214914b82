"""The console script: a table of commands, their options made from the functions' signatures by jsonargparse.

The dispatch is our own: jsonargparse's subcommands need every command's function at start-up, and importing all of them takes
many seconds (PyTorch, DALI, matplotlib), where the overview takes 0.2 s.
"""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches

import jsonargparse

from tarpon.tools.task import Command, load
from tarpon.tools.tasks import TOOLS
from tarpon.train.config import UsageError, fail, one_line

GENERAL: dict[str, Command] = {
    "lint": Command(target="lint:run", takes=("shards",), does="prove that shards are whole and true"),
    "look": Command(target="look:run", takes=("shards",), does="counts, classes, splits and a contact sheet of shards"),
    "features": Command(
        target="features:run",
        takes=("shards",),
        does="every image once through a frozen backbone",
        published=("--dataset-root", "features extract"),
    ),
    "evaluate": Command(
        target="evaluate:run",
        takes=("run",),
        lead="--checkpoint",
        does="score a run's best weights on shards; of several the mean",
    ),
    "export": Command(
        target="export.command:run", takes=("run",), does="the trained network as one file for other programs, and a model card"
    ),
    "view": Command(
        target="view.command:run", takes=("source",), does="look through shards or a run on a page in your browser"
    ),
    "report": Command(target="report:run", takes=("run",), does="one HTML file of a run folder"),
    "bench loader": Command(target="bench.loader:run", does="frames/s of the loader against what labs do today"),
    "bench ops": Command(target="bench.ops:run", does="fused operations against plain and compiled PyTorch"),
    "bench train": Command(target="bench.train:run", does="rows/s of training against what labs do today"),
    "gpu": Command(target="gpu.command:run", does="check and time everything on an NVIDIA GPU"),
    "selftest resume": Command(target="selftest:resume", does="prove that a killed training ends as an unbroken one"),
    "replay": Command(target="replay:run", takes=("dump",), does="a step whose loss was no number, made again and looked into"),
    "doctor": Command(target="doctor:run", does="check what this machine has, and build what can be built ahead"),
}
VERBS = (  # the order of the overview: as work goes
    "doctor", "demo", "pack", "lint", "look", "features", "evaluate", "predict", "report", "view", "export",
    "gradcam", "ablate", "folds", "grid", "replay", "selftest", "bench", "gpu",
)  # fmt: skip


def arrange() -> dict[str, Command]:
    """The commands of all tasks and the general ones, verb by verb."""
    found = {name: command for tools in TOOLS.values() for name, command in tools.commands.items()} | GENERAL
    verbs = dict.fromkeys((*VERBS, *(name.split()[0] for name in found)))
    return {name: found[name] for verb in verbs for name in found if name.split()[0] == verb}


COMMANDS = arrange()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the words name.

    Returns:
        Exit status: 0 done, 1 a command's own negative result (findings, nothing packed), 2 a mistake of the user, in one line.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(overview())
            return 0
        name, rest = find(words)
        function = load(COMMANDS[name].target)
        return function(**options(name, function, rest))
    except (ValueError, OSError) as error:
        if os.environ.get("TARPON_DEBUG"):
            raise
        return fail(error, program="tarpon")
    except KeyboardInterrupt:
        print("tarpon: stopped; run the same command again to go on", file=sys.stderr)
        return 130


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  tarpon {name:<{width}}  {command.does}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tarpon COMMAND [--option VALUE ...]    (--help after a command lists its options)",
            "",
            *lines,
            "",
            "train with: deepspeed train/launch.py TASK --data SHARDS --out RUN [--config FILE] [--section.option VALUE]",
        ]
    )


def find(words: list[str]) -> tuple[str, list[str]]:
    """The command that the first words name, and the words after it."""
    for count in (2, 1):
        if (name := " ".join(words[:count])) in COMMANDS:
            known_by, other = COMMANDS[name].published
            given = {word.partition("=")[0].replace("_", "-") for word in words}
            return other if known_by and known_by in given else name, words[count:]
    asked = " ".join(words[:2])
    begun = [name for name in COMMANDS if name.split()[0] == words[0]]
    near = begun or get_close_matches(asked, COMMANDS, n=1) or list(COMMANDS)
    raise UsageError(f"no command {asked!r}; there is: {', '.join(near)}")


def options(name: str, function: Callable, words: Sequence[str]) -> dict:
    """Words -> keyword arguments; UsageError in one line."""
    command, parameters = COMMANDS[name], inspect.signature(function).parameters
    parser = jsonargparse.ArgumentParser(prog=f"tarpon {name}", exit_on_error=False, description=inspect.getdoc(function))
    flat = set(parameters) - set(command.takes)
    many = {key for key in command.takes if parameters[key].annotation == list[str]}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=flat | many)
    for key in many:
        parser.add_argument(key, type=str, nargs="+", help="one or more")
    parser.add_function_arguments(function, as_group=False, as_positional=False, skip=set(command.takes))
    flags = {f"--{key}" for key, parameter in parameters.items() if parameter.annotation is bool}
    spelt: list[str] = []
    words = _without(words, command.lead) if command.lead else words
    for i, word in enumerate(words):
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            word = option.replace("-", "_").replace("__", "--", 1) + equals + value
        spelt.append(word)
        if word in flags and (i + 1 == len(words) or words[i + 1].startswith("-")):
            spelt.append("true")  # a bare flag
    try:
        values = parser.parse_args(spelt)
        made = parser.instantiate(values)
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        raise UsageError(f"{name}: {one_line(str(error))}") from error
    return {key: made[key] for key in parameters}


def _without(words: Sequence[str], lead: str) -> list[str]:
    """`--lead A B` and `--lead=A B` as `A B`."""
    return [word.removeprefix(f"{lead}=") for word in words if word != lead]


if __name__ == "__main__":
    sys.exit(main())
