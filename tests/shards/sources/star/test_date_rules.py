"""Month first or day first: from all dates of a data set, or said; never a mixture, never a guess."""

from pathlib import Path

import pytest

from tarpon.shards.sources.star.date_rules import collect_evidence, decide_rules, parse_dates


@pytest.mark.parametrize(("names", "rule", "open_"), [
    (["3_5_2024", "13_8_2024"], "day_first", False),
    (["3_5_2024", "8_13_2024", "2024-02-01"], "month_first", False),
    (["3_5_2024", "7_6_2023"], None, True),
    (["13_8_2024", "8_13_2024"], None, True),
    (["5_5_2024", "2024-03-01", "12 Mar 2023", "shore"], None, False),
])  # fmt: skip
def test_what_names_demand(names, rule, open_):
    found = collect_evidence(names)
    assert (found.rule, found.open) == (rule, open_)


@pytest.mark.parametrize(("names", "asked", "rules", "line"), [
    ({"A": ["3_5_2024", "13_8_2024"]}, None, {"A": "day_first"}, "dates of A are read day first: '13_8_2024' can"),
    ({"A": ["3_5_2024"]}, "day_first", {"A": "day_first"}, "dates of A are read day first: as --dates says"),
    (
        {"A": ["13_8_2024", "8_13_2024"]}, "month_first", {"A": "month_first"},
        "dates of A are read month first: as --dates says; 1 names such as '13_8_2024' are no day that way",
    ),
    (
        {"A": ["8_13_2024"], "B": ["3_5_2024"]}, None, {"A": "month_first", "B": "month_first"},
        "dates of B are read month first: as the other data sets demand",
    ),
    ({"A": ["8_13_2024"], "B": ["3_5_2024"]}, "day_first", {"A": "month_first", "B": "day_first"}, "dates of B are"),
    ({"A": ["8_13_2024"], "B": ["13_5_2024"]}, None, {"A": "month_first", "B": "day_first"}, "dates of B are read day first"),
])  # fmt: skip
def test_each_data_set_has_one_rule_and_it_is_told(names, asked, rules, line):
    made, told = decide_rules(names, asked=asked)
    assert made == rules
    assert [one for one in told if one.startswith(line)]


def test_dates_without_two_numbers_need_nothing_and_say_nothing():
    assert decide_rules({"A": ["2024-03-01", "5_5_2024", "shore"]}) == ({"A": "month_first"}, [])


@pytest.mark.parametrize(("names", "asked", "said"), [
    ({"A": ["3_5_2024", "4_5_2024"]}, None, r"dates of A: '3_5_2024' and all others \(2 in all\).*--dates month_first or"),
    ({"A": ["13_8_2024", "8_13_2024"]}, None, "'8_13_2024' is a day only month first and '13_8_2024' only day first"),
    ({"A": ["8_13_2024"], "B": ["13_5_2024"], "C": ["1_2_2024"]}, None, "dates of C: '1_2_2024'"),
    ({"A": ["8_13_2024"], "B": ["13_5_2024", "5_13_2024"]}, None, "dates of B"),
    ({"A": ["8_13_2024", "1_2_2024"]}, "day_first", "'8_13_2024' of A is a day only month first.*leave --dates out"),
])  # fmt: skip
def test_what_is_not_decided_is_asked(names, asked, said):
    with pytest.raises(ValueError, match=said):
        decide_rules(names, asked=asked)


@pytest.mark.parametrize(("text", "made"), [
    (None, (None, None)),
    ("day_first", ("day_first", None)),
    ("days.csv", (None, Path("days.csv"))),
    ("month_first,days.csv", ("month_first", Path("days.csv"))),
])  # fmt: skip
def test_the_option_is_a_rule_or_a_file_or_both(text, made):
    assert parse_dates(text) == made


def test_a_word_that_is_neither_is_refused():
    with pytest.raises(ValueError, match=r"dates='dayfirst' must be month_first or day_first, or a CSV"):
        parse_dates("dayfirst")
