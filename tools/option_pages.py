"""The reference of the documentation: a page of all commands and one of training a task, made from what defines the options.

`python -m tarpon.tools.option_pages FOLDER`; `make docs` does it before the site is built.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from tarpon.shards import atomic
from tarpon.tools.cli import COMMANDS
from tarpon.tools.task import load
from tarpon.train.option import Option, options_of_function, options_of_record, show_value
from tarpon.train.option_docs import read_summary
from tarpon.train.tasks import TASKS

HEAD = "| option | what it does | what it may be | default |\n|---|---|---|---|\n"
NEEDED = "must be given"
LINKS = ", ".join(f"[{name}](train-{name}.md)" for name in TASKS)  # whose options are the task's


def write_pages(folder: Path) -> list[Path]:
    """Write commands.md and train-TASK.md for every task; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"commands": make_commands_page()} | {f"train-{name}": make_training_page(name) for name in TASKS}
    for name, text in pages.items():
        atomic.write_text(folder / f"{name}.md", text)
    return [folder / f"{name}.md" for name in pages]


def make_commands_page() -> str:
    """Every command of `tarpon`, as the overview orders them, with its options."""
    parts = ["# Commands\n", "`tarpon` alone lists them; `tarpon COMMAND --help` says what stands here.\n"]
    for name, command in COMMANDS.items():
        if command.raw:
            parts += [f"## tarpon {name}\n", f"{command.does[0].upper()}{command.does[1:]}: {LINKS}.\n"]
            continue
        function = load(command.target)
        options = options_of_function(function)
        parts += [
            f"## tarpon {name}\n",
            f"```\n{show_call(name, options, command.takes)}\n```\n",
            f"{read_summary(function)}\n",
        ]
        if options:
            parts.append(make_table(options, bare=command.takes))
    return "\n".join(parts)


def show_call(name: str, options: Iterable[Option], takes: Iterable[str]) -> str:
    """How a command is typed: what must be given, and that there may be more."""
    words = [option.name.upper() for option in options if option.name in takes]
    words += [f"--{option.name} {option.name.upper()}" for option in options if option.required and option.name not in takes]
    return " ".join(["tarpon", name, *words, "[--option VALUE ...]"])


def make_training_page(task: str) -> str:
    """Every option of training a task, section by section, with the values of its recipe."""
    recipe = TASKS[task].recipe()
    parts = [
        f"# Training: {task}\n",
        f"```\ntarpon train {task} --data SHARDS --out RUN [--config FILE] [--section.option VALUE ...]\n```\n",
        f"`deepspeed train/launch.py {task} ...` is the same program, started from the project's folder on one machine or "
        "several. Every option can also stand in a YAML file; a later `--config` wins over an earlier one, and the command "
        "line over both.\n",
    ]
    options = [
        *options_of_record(recipe.run, section="The run", required=("data",)),
        *options_of_record(recipe.options, section=f"The {task} task"),
    ]
    for section, members in group_by_section(options).items():
        name, _, does = section.partition(": ")
        parts += [f"## {name}\n", *([f"{does}\n"] if does else []), make_table(members)]
    return "\n".join(parts)


def group_by_section(options: Iterable[Option]) -> dict[str, list[Option]]:
    """Section -> its options, both in the order in which they come."""
    found: dict[str, list[Option]] = {}
    for option in options:
        found.setdefault(option.section, []).append(option)
    return found


def make_table(options: Iterable[Option], *, bare: Iterable[str] = ()) -> str:
    """Options as a table of Markdown; those in `bare` are given without dashes."""
    return HEAD + "".join(
        f"| `{'' if option.name in bare else '--'}{option.name}` | {fit_cell(option.sentence)} | {fit_cell(option.words())} | "
        f"{NEEDED if option.required else show_code(show_value(option.default))} |\n"
        for option in options
    )


def fit_cell(text: str) -> str:
    """Text that a cell of a table can hold, as it reads."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def show_code(text: str) -> str:
    """A value in the face of code; nothing for an empty one."""
    return f"`{' '.join(text.split())}`".replace("|", "\\|") if text else '`""`'


def main(words: list[str]) -> int:
    """Exit status."""
    if len(words) != 1:
        print("usage: python -m tarpon.tools.option_pages FOLDER", file=sys.stderr)
        return 2
    for path in write_pages(Path(words[0])):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
