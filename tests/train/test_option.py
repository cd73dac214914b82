"""Options in words, and what their screens and mistakes say: every one has a sentence."""

from dataclasses import dataclass
from typing import Literal

import pytest

from tarpon.tools import cli
from tarpon.tools.command_options import known_options
from tarpon.tools.task import load
from tarpon.train import command_line
from tarpon.train.config import list_options, parse, parser_for
from tarpon.train.option import MISSING, Option, name_kind, options_of_function, options_of_record, show_value
from tarpon.train.option_errors import explain, find_near
from tarpon.train.option_help import describe, format_sections
from tarpon.train.option_words import spell_words
from tarpon.train.tasks import TASKS
from tarpon.train.usage import UsageError


@dataclass(frozen=True)
class Part:
    """A part."""

    kind: Literal["round", "square"] = "round"  # its form


@dataclass(frozen=True)
class Whole:
    """A whole."""

    size: int = 3  # pixels
    part: Part = Part()


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_training_has_a_sentence_and_words(task):
    recipe = TASKS[task].recipe()
    options = list_options(recipe.options, recipe.run)
    assert not [option.name for option in options if len(option.sentence) < 5]
    assert not [option.name for option in options if "<" in option.words() or "typing" in option.words()]
    known = {option.name for option in options}
    assert {*command_line.FIRST, *TASKS[task].first} <= known
    assert len(known) == len(options)


@pytest.mark.parametrize("name", [name for name, command in cli.COMMANDS.items() if not command.raw])
def test_every_option_of_a_command_has_a_sentence(name):
    command = cli.COMMANDS[name]
    options = known_options(command, load(command.target))
    assert not [option.name for option in options.values() if len(option.sentence) < 5]
    assert set(command.takes) <= set(options)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "whole number"),
        (float | None, "number or null"),
        (bool | Literal["auto"], "true, false or auto"),
        (Literal["a", "b", "c"], "a, b or c"),
        (tuple[float, float] | None, "[number, number] or null"),
        (tuple[str, ...], "[text, ...]"),
        (list[str], "[text, ...]"),
        (dict[str, int], "{name: value, ...}"),
    ],
)
def test_types_are_words(kind, words):
    assert name_kind(kind) == words


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "null"), (True, "true"), (5e-5, "5e-05"), ((1, 2.5), "[1,2.5]"), ("", '""'), ("vp9", "vp9")]
)
def test_defaults_are_shown_as_they_are_typed(value, shown):
    assert show_value(value) == shown


def test_records_give_their_fields_under_titles_with_their_own_values():
    size, kind = options_of_record(Whole(size=7, part=Part(kind="square")), section="run", required=("size",))
    assert (size.name, size.default, size.section, size.required) == ("size", MISSING, "run", True)
    assert (kind.name, kind.default, kind.section, kind.choices()) == (
        "part.kind",
        "square",
        "part: A part.",
        ("round", "square"),
    )
    assert describe(kind) == "its form (round or square; default square)"
    assert next(format_sections([kind], width=60)) == "part: A part."


def test_an_unset_parameter_needs_no_null():
    def command(*, out: str | None = None, size: int) -> int:
        """Args:
        out: a file.
        """

    out, size = options_of_function(command)
    assert (out.words(), size.required) == ("text", True)
    assert describe(out).endswith("(text; unset)")


OPTIONS = {
    option.name: option
    for option in (
        Option(name="epochs", kind=int, default=3, sentence="passes"),
        Option(name="eval_every", kind=int, default=1, sentence="epochs"),
        Option(name="optim.lr", kind=float, default=0.1, sentence="rate"),
        Option(name="ema.enabled", kind=bool, default=False, sentence="average"),
        Option(name="kind", kind=Literal["cosine", "step"], default="step", sentence="how"),
        Option(name="shards", kind=str, default=MISSING, sentence="folder", positional=True),
    )
}


@pytest.mark.parametrize(
    ("name", "near"),
    [("epoch", "epochs"), ("lr", "optim.lr"), ("optim.rl", "optim.lr"), ("enabled", "ema.enabled"), ("xyz", None)],
)
def test_near_names(name, near):
    found = find_near(name, list(OPTIONS))
    assert found[:1] == ([near] if near else [])


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("unrecognized arguments: --epoch 3", "no option --epoch; near: --epochs"),
        ("unrecognized arguments: stray", "nothing takes stray"),
        ("argument --epochs: expected one argument", "epochs needs a value, a whole number"),
        ("Parser key \"epochs\": Expected a <class 'int'>. Got value: x", "epochs=x must be a whole number"),
        ('Parser key "kind": Expected. Got value: cosin', "kind='cosin' must be cosine or step; near: cosine"),
        ("the following arguments are required: shards", "needed: SHARDS"),
        ("Group 'optim' does not accept option 'lrr'", "no option --optim.lrr; near: --optim.lr"),
        ("something else", "something else"),
    ],
)
def test_the_parsers_messages_become_words(message, said):
    assert explain(message, OPTIONS).startswith(said)


def test_the_parser_says_what_is_expected_of_it():
    """The messages that `explain` knows are those of the installed jsonargparse."""
    task = TASKS["cells"]

    def refused(*words: str) -> str:
        with pytest.raises(UsageError) as caught:
            parse(parser_for(task.options, recipe=task.recipe(), task="cells"), task.options, ["--data=d", *words])
        return str(caught.value)

    assert refused("--epoch=3").startswith("no option --epoch; near: --epochs")
    assert refused("--epochs=x") == "epochs=x must be a whole number"
    assert refused("--resume=maybe") == "resume='maybe' must be true, false or auto"
    assert refused("--frames.train.infected_stride") == "frames.train.infected_stride needs a value, a whole number"
    assert refused("--optim={lrr: 1}").startswith("no option --optim.lrr; near: --optim.lr")
    assert refused("--schedule.kind=cosin").endswith("constant, none; near: cosine")


def test_dashes_and_bare_flags():
    given = ["--eval-every", "3", "--ema.enabled", "--optim.lr=1", "--no-such", "x", "--ema.enabled"]
    spelt = ["--eval_every", "3", "--ema.enabled", "true", "--optim.lr=1", "--no-such", "x", "--ema.enabled", "true"]
    assert spell_words(given, OPTIONS.values()) == spelt
