"""Sentences of options come from where the options are defined."""

from dataclasses import dataclass, field

from tarpon.train.option_docs import read_argument_sentences, read_field_comments, read_summary


@dataclass
class Inner:
    """An inner record."""

    depth: int = 3  # layers; 0: none


@dataclass
class Example:
    """What is said of it.

    More, which no screen shows.
    """

    behind: int = 1  # behind the field
    # above the field,
    # on two lines
    above: str = "a"
    nothing: str = "# no comment"

    spread: tuple[int, ...] = (
        1,
        2,
    )  # at its end
    inner: Inner = field(default_factory=Inner)

    def method(self) -> int:  # no field
        return self.behind


def example(first: int, second: int, third: str = "") -> None:
    """Do a thing.

    Args:
        first, second: numbers, which
            go on.
        third: text: with a colon.

    Returns:
        fourth: nothing.
    """


def test_comments_stand_behind_or_above_a_field():
    assert read_field_comments(Example) == {
        "behind": "behind the field",
        "above": "above the field, on two lines",
        "nothing": "",
        "spread": "at its end",
        "inner": "",
    }


def test_arguments_are_read_up_to_the_next_section():
    assert read_argument_sentences(example) == {
        "first": "numbers, which go on.",
        "second": "numbers, which go on.",
        "third": "text: with a colon.",
    }


def test_the_summary_ends_at_the_first_section():
    assert read_summary(example) == "Do a thing."
    assert read_summary(Example) == "What is said of it.\n\nMore, which no screen shows."
