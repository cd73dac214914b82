"""The console script: a table of commands, their options made from the functions' signatures by jsonargparse.

The dispatch is our own: jsonargparse's subcommands need every command's function at start-up, and importing all of them takes
many seconds (PyTorch, DALI, matplotlib), where the overview takes a tenth of one.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches

from tarpon.tools.task import Command, load
from tarpon.tools.tasks import TOOLS
from tarpon.train.usage import UsageError, fail

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
    "bench plan": Command(target="bench.plan:run", does="seconds and memory to open and plan manifests of any size"),
    "bench train": Command(target="bench.train:run", does="rows/s of training against what labs do today"),
    "train": Command(target="train:run", raw=True, does="train a task on what was packed, on all GPUs of this machine"),
    "completion": Command(target="completion:run", takes=("shell",), does="a script for the Tab key of your shell"),
    "gpu": Command(target="gpu.command:run", does="check and time everything on an NVIDIA GPU"),
    "selftest resume": Command(target="selftest:resume", does="prove that a killed training ends as an unbroken one"),
    "upgrade": Command(
        target="upgrade:run", takes=("shards",), does="write what shards of an earlier version lack for very large sets"
    ),
    "replay": Command(target="replay:run", takes=("dump",), does="a step whose loss was no number, made again and looked into"),
    "doctor": Command(target="doctor:run", does="check what this machine has, and build what can be built ahead"),
}
HELP_ALL = {"--help-all", "--help_all"}
HELP = {"-h", "--help"} | HELP_ALL
VERBS = (  # the order of the overview: as work goes
    "doctor", "demo", "pack", "upgrade", "lint", "look", "features", "train", "evaluate", "predict", "report", "view", "export",
    "temporal", "gradcam", "ablate", "folds", "grid", "replay", "selftest", "bench", "gpu", "completion",
)  # fmt: skip


def arrange() -> dict[str, Command]:
    """The commands of all tasks and the general ones, verb by verb."""
    found = {name: command for tools in TOOLS.values() for name, command in tools.commands.items()} | GENERAL
    packs = {name.removeprefix("pack "): command for name, command in found.items() if name.startswith("pack ")}
    found |= {f"doctor {kind}": check_before(command, kind=kind) for kind, command in packs.items()}
    verbs = dict.fromkeys((*VERBS, *(name.split()[0] for name in found)))
    return {name: found[name] for verb in verbs for name in found if name.split()[0] == verb}


def check_before(command: Command, *, kind: str) -> Command:
    """`pack KIND` as a check of the lab's folder, with the same options."""
    does = f"what `tarpon pack {kind}` would find in a folder and refuse, before packing"
    return replace(command, fixed={"dry_run": True, "out": ""}, does=does)


COMMANDS = arrange()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the words name.

    Returns:
        Exit status: 0 done, 1 a command's own negative result (findings, nothing packed), 2 a mistake of the user, in one line.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help", "--help-all", "help"):
            print(overview())
            return 0
        if words[0] == "--version":
            print(f"tarpon {read_version()}")
            return 0
        if set(words) & HELP and (begun := commands_begun(words)):
            print(list_begun(begun))
            return 0
        return call(*find(words))
    except BrokenPipeError:  # who reads the output has seen enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if os.environ.get("TARPON_DEBUG"):
            raise
        return fail(error, program="tarpon")
    except KeyboardInterrupt:
        print("tarpon: stopped; run the same command again to go on", file=sys.stderr)
        return 130


def call(name: str, words: list[str]) -> int:
    """Run a command, or tell its options."""
    command = COMMANDS[name]
    function = load(command.target)
    if command.raw:
        return function(words)
    from tarpon.tools.command_options import read_options, show_command

    if set(words) & HELP:
        print(show_command(name, command, function, every=bool(HELP_ALL & set(words))))
        return 0
    return function(**read_options(name, command, function, words))


def read_version() -> str:
    """Of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tarpon")
    except PackageNotFoundError:
        return "(not installed: a source tree)"


def overview() -> str:
    """All commands."""
    usage = "usage: tarpon COMMAND [--option VALUE ...]    (--help after a command lists its options)"
    return "\n".join([usage, "", *list_commands(COMMANDS)])


def list_commands(names: Iterable[str]) -> list[str]:
    """A line a command: its words and what it does."""
    names = list(names)
    width = max(map(len, names))
    return [f"  tarpon {name:<{width}}  {COMMANDS[name].does}" for name in names]


def commands_begun(words: Sequence[str]) -> list[str]:
    """The commands of two words whose first alone is given: `tarpon pack --help`; none where that is a command itself."""
    first = words[0]
    alone = len(words) == 1 or words[1].startswith("-")
    return [name for name in COMMANDS if name.split()[0] == first] if alone and first not in COMMANDS else []


def list_begun(names: Sequence[str]) -> str:
    """The commands that begin with the same word."""
    return "\n".join([f"usage: tarpon {names[0].split()[0]} WHAT [--option VALUE ...]", "", *list_commands(names)])


def find(words: list[str]) -> tuple[str, list[str]]:
    """The command that the first words name, and the words after it."""
    for count in (2, 1):
        if (name := " ".join(words[:count])) in COMMANDS:
            known_by, other = COMMANDS[name].published
            given = {word.partition("=")[0].replace("_", "-") for word in words}
            return other if known_by and known_by in given else name, words[count:]
    asked = " ".join(words[:2])
    begun = [name for name in COMMANDS if name.split()[0] == words[0]]
    close = get_close_matches(asked, COMMANDS, n=3) or get_close_matches(words[0], COMMANDS, n=3)
    raise UsageError(f"no command {asked!r}; there is: {', '.join(begun or close or COMMANDS)}")


if __name__ == "__main__":
    sys.exit(main())
