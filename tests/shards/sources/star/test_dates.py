"""Days in folder names, in the usual spellings; what is no day is none."""

import pytest

from tarpon.shards.sources.star.dates import read_both_days, read_day, read_days


@pytest.mark.parametrize(("name", "day"), [
    ("3_23_2024_dive", "2024-03-23"),
    ("3-23-2024", "2024-03-23"),
    ("03.05.2021", "2021-03-05"),
    ("3 23 2024 north", "2024-03-23"),
    ("1/5/2022", "2022-01-05"),
    ("13_1_2024_x", "2024-01-13"),
    ("12_11_2024", "2024-12-11"),
    ("2024-03-23", "2024-03-23"),
    ("dive_2024_03_23_b", "2024-03-23"),
    ("20240323", "2024-03-23"),
    ("IMG_20240323_101112", "2024-03-23"),
    ("2015-06-21 10:00:00", "2015-06-21"),
    ("6_10_22_x", "2022-06-10"),
    ("6_10_22_2021-03-04", "2021-03-04"),
    ("12 Mar 2023", "2023-03-12"),
    ("March_12_2023", "2023-03-12"),
    ("Sept 3, 2022", "2022-09-03"),
    ("1st May 2020", "2020-05-01"),
    ("2023_Mar_12", "2023-03-12"),
    ("x_3_23_2024", "2024-03-23"),
    ("2_29_2024", "2024-02-29"),
])  # fmt: skip
def test_usual_spellings(name, day):
    assert read_day(name) == day


@pytest.mark.parametrize("name", [
    "", "undated", "PWS_2023_JU", "2_30_2024", "2_29_2023", "13_13_2024", "3_23_20245", "2024_13_01", "20241301", "1_2_3",
    "March_2023", "Marine_12_2023", "site3_12_2023", "120240323", "6_10_223", "3_23_1824",
])  # fmt: skip
def test_no_day(name):
    assert read_day(name) == ""


@pytest.mark.parametrize(("name", "month_first", "day_first"), [
    ("3_5_2024_dive", "2024-03-05", "2024-05-03"),
    ("13_8_2024", "", "2024-08-13"),
    ("8/13/2024", "2024-08-13", ""),
    ("5_5_2024", "2024-05-05", "2024-05-05"),
    ("6_10_22_x", "2022-06-10", "2022-10-06"),
    ("x_3_23_2024", "2024-03-23", ""),
])  # fmt: skip
def test_two_numbers_are_read_by_the_rule_and_by_no_other(name, month_first, day_first):
    assert read_both_days(name) == (month_first, day_first)
    assert [read_day(name, rule=rule) for rule in ("month_first", "day_first")] == [month_first, day_first]


@pytest.mark.parametrize("name", ["2024-03-05", "20240305", "5 Mar 2024", "March_5_2024", "2023_Mar_12", "shore", "13_13_2024"])
def test_other_spellings_need_no_rule(name):
    assert read_both_days(name) == ("", "")
    assert read_day(name, rule="day_first") == read_day(name, rule="month_first") == read_day(name)


def test_a_file_of_days(tmp_path):
    path = tmp_path / "days.csv"
    path.write_text("\ufefffolder,date\nPWS_2023_JU,2023-07-15\nA/b/,7/16/2023\n", encoding="utf-8")
    assert read_days(path) == {"PWS_2023_JU": ("2023-07-15", 2), "A/b": ("7/16/2023", 3)}


@pytest.mark.parametrize(("text", "part"), [
    ("folder,day\nx,2023-07-15\n", "no column date"),
    ("folder,date\nx,soon\n", r":2: a folder and its date"),
    ("folder,date\nx,2023-07-15\nx,2023-07-15\n", r":3: folder 'x' is in line 2"),
])  # fmt: skip
def test_a_wrong_file_of_days(tmp_path, text, part):
    path = tmp_path / "days.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=part):
        read_days(path)
    with pytest.raises(ValueError, match="no such file"):
        read_days(tmp_path / "none.csv")
