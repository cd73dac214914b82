"""The words of a training command: help and mistakes, before PyTorch or DeepSpeed is imported.

What a word says is settled here; `launch` begins with the outcome.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tarpon.train.config import Run, list_options, parse, parser_for
from tarpon.train.launchers import read_rank
from tarpon.train.option import Option
from tarpon.train.option_errors import find_near
from tarpon.train.option_help import format_columns, format_sections, screen_width, wrap_text
from tarpon.train.option_words import spell_words
from tarpon.train.recipe_files import list_recipes, resolve_recipes
from tarpon.train.spelling import translate_options
from tarpon.train.task import Task
from tarpon.train.tasks import TASKS
from tarpon.train.usage import UsageError, fail

# on the first screen of any task
FIRST = ("data", "out", "epochs", "micro_batch", "global_batch", "optim.lr", "seed", "resume")
TITLES = {"run": "The run", "task": "The task"}
CONFIG = (
    "YAML file of options, nested as their dots say, or the name of a recipe: {}. The command line comes after it (text; unset)"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command line asks for."""

    name: str  # of the task
    task: Task
    run: Run
    options: object  # the task's own
    text: str  # the whole configuration as YAML


def read_request(argv: Sequence[str]) -> Request:
    """Words -> what to train, checked as far as options go; UsageError in one line."""
    words = [word for word in argv if not word.startswith("--local_rank") and word != "--deepspeed"]
    words = [
        word.replace("--deepspeed_config", "--engine.deepspeed_config", 1) if word.startswith("--deepspeed_config") else word
        for word in words
    ]
    if any(word.partition("=")[0] == "--hostfile" for word in words):
        raise UsageError(
            "--hostfile stands before the script: deepspeed --hostfile FILE train/launch.py TASK ... (or tarpon train TASK ... "
            "--hostfile FILE); without ssh between the machines start one launcher on each (docs/scale.md)"
        )
    name = words[0] if words else "(none)"
    if name not in TASKS:
        near = find_near(name, list(TASKS), count=1)
        raise UsageError(f"task {name!r} must be one of {', '.join(TASKS)}" + (f"; near: {near[0]}" if near else ""))
    task = TASKS[name]
    given = resolve_recipes(words[1:], task=name)
    spelt = translate_options(given, task.spellings, task.refused, task.published, task.idle)
    spelt = spell_words(spelt, list_options(task.recipe().options))
    run, options, text = parse(parser_for(task.options, recipe=task.recipe(), task=name), task.options, spelt)
    return Request(name=name, task=task, run=run, options=options, text=text)


def answer_early(argv: Sequence[str], *, program: str) -> int | None:
    """Give help, or say what is wrong, as far as words and the data's folder tell; the exit status, None to go on.

    Every process of a launch comes to the same; the first one says it.
    """
    first = read_rank(os.environ) == 0
    if text := find_help(argv, program=program):
        if first:
            print(text)
        return 0
    try:
        request = read_request(argv)
        request.task.check(request.run, request.options)
    except (ValueError, OSError) as error:
        if os.environ.get("TARPON_DEBUG"):
            raise
        return fail(error, program=program) if first else 2
    return None


def find_help(argv: Sequence[str], *, program: str) -> str:
    """The screen that the words ask for; "" where they ask for none."""
    asked, every = {"-h", "--help"} & set(argv), "--help-all" in argv or "--help_all" in argv
    if argv and not asked and not every:
        return ""
    named = [word for word in argv if word in TASKS]
    return show_task(named[0], program=program, every=every) if named else show_tasks(program=program)


def show_tasks(*, program: str) -> str:
    """What can be trained."""
    width = screen_width()
    does = [(f"  {program} {name}", TASKS[name].does) for name in TASKS]
    lines = format_columns(does, width=width, names=max(len(name) for name, _ in does))
    usage = f"usage: {program} TASK --data SHARDS --out RUN [--option VALUE ...]"
    return "\n".join([usage, "", *lines, "", f"{program} TASK --help lists its options."])


def show_task(name: str, *, program: str, every: bool) -> str:
    """The options of a task: the dozen that matter, or all by subject."""
    width, task = screen_width(), TASKS[name]
    recipe = task.recipe()
    options = list_options(recipe.options, recipe.run)
    chosen = _titled(options) if every else _pick(options, (*FIRST, *task.first))
    count = len(options) - len(chosen)
    more = [f"{program} {name} --help-all lists {count} more. --print_config prints every option as YAML."]
    if every:
        theirs = ", ".join(f"--{other}" for other in sorted(task.spellings) if other not in {option.name for option in options})
        more = wrap_text(f"The names of published trainers are taken too: {theirs}.", width=width) if theirs else []
    head = [f"usage: {program} {name} --data SHARDS --out RUN [--option VALUE ...]", "", *wrap_text(task.does, width=width), ""]
    config = format_columns([("  --config", CONFIG.format(", ".join(list_recipes(name))))], width=width)
    return "\n".join([*head, *config, *([""] if every else []), *format_sections(chosen, width=width), *more])


def _titled(options: Sequence[Option]) -> list[Option]:
    return [replace(option, section=TITLES.get(option.section, option.section)) for option in options]


def _pick(options: Sequence[Option], names: Sequence[str]) -> list[Option]:
    """Options by name, in the order of the names, under no title."""
    known = {option.name: option for option in options}
    return [replace(known[name], section="") for name in names]
