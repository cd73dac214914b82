"""Bad samples: counted once each, fatal past the limit, kept on disk."""

import errno

import numpy as np
import pytest

from tarpon.shards.quarantine import (
    Budget,
    Fault,
    attempt,
    contain,
    group_by_reason,
    longest_run,
    read_faults,
    write_faults,
)

ROWS = np.array([3, 5, 7, 9, 11])  # of a split


def test_the_budget_counts_a_fault_once_and_stops_past_its_limit():
    budget = Budget(limit=1)
    first, second = Fault(file="a", reason="x", offset=512), Fault(file="b", reason="y")
    budget.spend(first, row=3, split=ROWS)
    budget.spend(Fault(file="a", reason="x", offset=512), row=3, split=ROWS)
    with pytest.raises(ValueError, match=r"2 bad samples, 1 allowed.*a offset 512: x.*tarpon lint"):
        budget.spend(second, row=5, split=ROWS)


def test_a_budget_of_zero_stops_at_the_first():
    with pytest.raises(ValueError, match="1 bad samples, 0 allowed"):
        Budget(limit=0).spend(Fault(file="a", reason="x"), row=3, split=ROWS)


def spend_rows(budget: Budget, rows: list[int]) -> None:
    for row in rows:
        budget.spend(Fault(file=f"row{row}", reason="x"), row=row, split=ROWS)


def test_a_share_of_the_split_ends_the_run_before_the_number_does():
    budget = Budget(limit=9, share=0.4)  # of five rows
    spend_rows(budget, [3, 11])
    with pytest.raises(ValueError, match=r"3 of 5 rows are bad, a share of 0\.4 is allowed \(bad_share\); the first: row3: x"):
        spend_rows(budget, [7])


def test_rows_side_by_side_end_the_run_before_the_number_does():
    budget = Budget(limit=9, run=2)
    spend_rows(budget, [3, 7, 11, 3])  # 3 5 7 9 11: none beside another
    with pytest.raises(ValueError, match=r"3 bad rows side by side, 2 allowed \(bad_run\)"):
        spend_rows(budget, [9])  # 7 9 11


def test_rows_of_another_split_do_not_count_in_a_share():
    budget = Budget(limit=9, share=0.5, run=1, rows={2, 4, 6, 8})
    spend_rows(budget, [3, 7])  # two of five, none beside another
    assert budget.rows == {2, 3, 4, 6, 7, 8}
    with pytest.raises(ValueError, match="3 of 5 rows are bad"):
        spend_rows(budget, [11])


@pytest.mark.parametrize(("bad", "length"), [([], 0), ([0], 0), ([1], 1), ([1, 1, 0, 1], 2), ([0, 1, 0, 1, 1, 1], 3)])
def test_longest_run(bad, length):
    assert longest_run(np.array(bad, bool)) == length


def test_faults_are_read_back(tmp_path):
    faults = [Fault(file="é\n.csv", reason='a, "b"', row=3), Fault(file="s:k", reason="c", offset=7)]
    write_faults(tmp_path / "q.jsonl", faults)
    assert read_faults(tmp_path / "q.jsonl") == faults
    assert read_faults(tmp_path / "none.jsonl") == []


def test_an_unexpected_exception_ends_the_unit_and_keeps_what_it_gave():
    def items():
        yield 1
        yield Fault(file="a", reason="expected")
        raise AttributeError("'NoneType' object\nhas no attribute 'pages'")

    assert list(contain("b", items())) == [
        1,
        Fault(file="a", reason="expected"),
        Fault(file="b", reason="AttributeError: 'NoneType' object has no attribute 'pages'"),
    ]


def test_a_message_for_the_user_stands_without_its_type():
    def fail(error):
        raise error

    assert attempt("a", fail, ValueError("too short"))[1] == Fault(file="a", reason="too short")
    assert attempt("a", fail, MemoryError())[1] == Fault(file="a", reason="MemoryError")
    assert attempt("a", fail, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"))[1].reason.startswith("UnicodeDecodeError")
    assert attempt("a", len, "abc") == (3, None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_a_fault_of_the_machine_ends_the_run(number):
    def items():
        raise OSError(number, "no more")
        yield

    with pytest.raises(OSError, match="no more"):
        list(contain("a", items()))
    assert attempt("a", lambda: 1 / 0)[1].reason == "ZeroDivisionError: division by zero"


def test_faults_of_one_kind_stand_together():
    faults = [
        Fault(file="b", reason="359 rows; a trial has 360"),
        Fault(file="c", reason="needs frames up to 719, m1.mp4 gives 700"),
        Fault(file="a", reason="345 rows; a trial has 360"),
        Fault(file="d", reason="needs frames up to 359, m2.mp4 gives 300"),
        Fault(file="e", reason="344 rows; a trial has 360"),
        Fault(file="f", reason="no such folder"),
    ]
    assert [(reason, [fault.file for fault in found]) for reason, found in group_by_reason(faults)] == [
        ("359 rows; a trial has 360", ["b", "a", "e"]),
        ("needs frames up to 719, m1.mp4 gives 700", ["c", "d"]),
        ("no such folder", ["f"]),
    ]
