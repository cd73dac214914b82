"""`tarpon completion SHELL`: a script for the Tab key, made from the commands' and the trainings' own options."""

import argparse
from collections.abc import Iterable
from typing import Literal

from tarpon.tools.command_options import known_options
from tarpon.tools.task import load
from tarpon.train.config import list_options
from tarpon.train.option import Option
from tarpon.train.tasks import TASKS

FILE = {  # what the shell itself offers where a text may be a path
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "tcsh": "f",
}


def run(shell: Literal["bash", "zsh", "tcsh"]) -> int:
    """Print what makes the Tab key complete commands, options and choices.

    bash: `tarpon completion bash > ~/.local/share/bash-completion/completions/tarpon`. zsh: `tarpon completion zsh > _tarpon`
    in a folder of $fpath. Printed again after an update of Tarpon it knows the new options.

    Args:
        shell: whose script.
    """
    import shtab

    print(shtab.complete(make_parser(), shell=shell))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands as one parser, which nothing is parsed with: the completion is read off it."""
    from tarpon.tools.cli import COMMANDS

    root = argparse.ArgumentParser(prog="tarpon", add_help=False)
    verbs = root.add_subparsers()
    for verb in dict.fromkeys(name.split()[0] for name, command in COMMANDS.items() if not command.raw):
        own = COMMANDS.get(verb)
        words = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{verb} ")]
        parser = verbs.add_parser(verb, help=own.does if own else ", ".join(words), add_help=False)
        if own:
            options = known_options(own, load(own.target)).values()
            add_options(parser, [option for option in options if not (option.positional and words)])
        inner = parser.add_subparsers() if words else None
        for word in words:
            command = COMMANDS[f"{verb} {word}"]
            below = inner.add_parser(word, help=command.does, add_help=False)
            add_options(below, known_options(command, load(command.target)).values())
    training = verbs.add_parser("train", help=COMMANDS["train"].does, add_help=False).add_subparsers()
    for name in TASKS:
        task = TASKS[name]
        parser = training.add_parser(name, help=task.does, add_help=False)
        parser.add_argument("--config", help="YAML file of options").complete = FILE
        add_options(parser, list_options(task.recipe().options))
    return root


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Options with their choices; a text may be a path."""
    for name in ("--help", "--help-all"):
        parser.add_argument(name, action="store_true", help="what there is" if name == "--help" else "all options")
    for option in options:
        choices, help_ = option.choices() or None, option.sentence.replace("%", "%%")
        flag = option.name if option.positional else f"--{option.name}"
        action = parser.add_argument(flag, help=help_, choices=choices)
        if not choices:
            action.complete = FILE
