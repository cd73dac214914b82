"""Bad samples: counted once each, fatal past the limit, kept on disk."""

import pytest

from tarpon.shards.quarantine import Budget, Fault, read_faults, write_faults


def test_the_budget_counts_a_fault_once_and_stops_past_its_limit():
    budget = Budget(limit=1)
    first, second = Fault(file="a", reason="x", offset=512), Fault(file="b", reason="y")
    budget.spend(first)
    budget.spend(Fault(file="a", reason="x", offset=512))
    with pytest.raises(ValueError, match=r"2 bad samples, 1 allowed.*a offset 512: x.*tarpon lint"):
        budget.spend(second)


def test_a_budget_of_zero_stops_at_the_first():
    with pytest.raises(ValueError, match="1 bad samples, 0 allowed"):
        Budget(limit=0).spend(Fault(file="a", reason="x"))


def test_faults_are_read_back(tmp_path):
    faults = [Fault(file="é\n.csv", reason='a, "b"', row=3), Fault(file="s:k", reason="c", offset=7)]
    write_faults(tmp_path / "q.jsonl", faults)
    assert read_faults(tmp_path / "q.jsonl") == faults
    assert read_faults(tmp_path / "none.jsonl") == []
