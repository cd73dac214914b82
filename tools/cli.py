"""The console script: a table of commands, their options made from the functions' signatures by jsonargparse."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import jsonargparse

from tarpon.train.config import UsageError, fail, one_line


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: a function whose keyword arguments are its options and whose int is the exit status."""

    target: str  # module:function under tarpon.tools, imported when called
    does: str  # one line for the overview
    takes: tuple[str, ...] = ()  # arguments given without a dash; one annotated list[str] takes one word or more
    lead: str = ""  # option that may stand before them and says nothing more

    def load(self) -> Callable[..., int]:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(f"tarpon.tools.{module}"), name)


COMMANDS: dict[str, Command] = {
    "demo mouse": Command(target="demo:mouse", does="write a synthetic mouse lab folder"),
    "demo fish": Command(target="demo:fish", does="write a synthetic FishNet folder"),
    "demo cells": Command(target="demo:cells", does="write a synthetic infection experiment of TIFF stacks"),
    "demo star": Command(target="demo:star", does="write photographs of drawn sea stars over many dates"),
    "demo wildlife": Command(target="demo:wildlife", does="write drawn animals in the layout of WildlifeReID-10k"),
    "pack mouse": Command(target="pack:mouse", does="a lab folder of videos, points and labels -> shards"),
    "pack fish": Command(target="fish.pack:fish", does="a FishNet folder of images and annotations -> shards"),
    "pack cells": Command(target="cells.pack:cells", does="folders of infected and uninfected TIFF stacks -> shards"),
    "pack star": Command(target="star.pack:star", does="a folder of stars by individual and outing -> shards"),
    "pack wildlife": Command(target="star.pack:wildlife", does="WildlifeReID-10k's folder -> shards"),
    "lint": Command(target="lint:run", takes=("shards",), does="prove that shards are whole and true"),
    "look": Command(target="look:run", takes=("shards",), does="counts, classes, splits and a contact sheet of shards"),
    "look augmentations": Command(
        target="star.look_augmentations:run", takes=("shards",), does="photographs as training varies them, on one picture"
    ),
    "features": Command(target="features:run", takes=("shards",), does="every image once through a frozen backbone"),
    "features import": Command(
        target="fish.features_import:run", takes=("folder",), does="published FishNet features -> our own"
    ),
    "evaluate": Command(
        target="evaluate:run",
        takes=("run",),
        lead="--checkpoint",
        does="score a run's best weights on shards; of several the mean",
    ),
    "predict mouse": Command(target="mouse.predict:mouse", does="label whole videos with a trained model"),
    "predict fish": Command(target="fish.predict:fish", does="families and attributes of a folder of images"),
    "predict star": Command(target="star.predict:star", does="which known animal photographs show, or that it is a new one"),
    "ablate mouse": Command(target="ablate:mouse", does="what each part of a recipe is worth, over several seeds"),
    "folds cells": Command(target="cells.folds:cells", does="train every test fold of the shards and sum up"),
    "grid star": Command(target="star.grid:star", does="train every strategy with every loss and compare them"),
    "gradcam": Command(target="cells.gradcam:run", takes=("run",), does="where on the page a cells run looks"),
    "report": Command(target="report:run", takes=("run",), does="one HTML file of a run folder"),
    "bench loader": Command(target="bench.loader:run", does="frames/s of the loader against what labs do today"),
    "bench retrieval": Command(target="star.bench_retrieval:run", does="seconds and memory of scoring re-identification"),
    "bench ops": Command(target="bench.ops:run", does="fused operations against plain and compiled PyTorch"),
    "bench train": Command(target="bench.train:run", does="rows/s of training against what labs do today"),
    "gpu": Command(target="gpu:run", does="check and time everything on an NVIDIA GPU"),
    "doctor": Command(target="doctor:run", does="check what this machine has, and build what can be built ahead"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 a command's own no (findings, nothing packed), 2 the user's mistake in one line."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(overview())
            return 0
        name, rest = find(words)
        function = COMMANDS[name].load()
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
        if " ".join(words[:count]) in COMMANDS:
            return " ".join(words[:count]), words[count:]
    said = " ".join(words[:2])
    begun = [name for name in COMMANDS if name.split()[0] == words[0]]
    near = begun or get_close_matches(said, COMMANDS, n=1) or list(COMMANDS)
    raise UsageError(f"no command {said!r}; there is: {', '.join(near)}")


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
        made = parser.instantiate_classes(values)
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        raise UsageError(f"{name}: {one_line(str(error))}") from error
    return {key: made[key] for key in parameters}


def _without(words: Sequence[str], lead: str) -> list[str]:
    """`--lead A B` and `--lead=A B` as `A B`."""
    return [word.removeprefix(f"{lead}=") for word in words if word != lead]


if __name__ == "__main__":
    sys.exit(main())
