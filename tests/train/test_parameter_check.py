"""What trains moves; what is frozen does not."""

import pytest
import torch
from torch import nn

from tarpon.train.parameter_check import ParameterCheck


@pytest.fixture
def groups():
    a, b, c = (nn.Parameter(torch.randn(3)) for _ in range(3))
    return {"backbone/decay": {"a": a}, "backbone/no_decay": {"b": b}, "rest/decay": {"c": c}}


def nudge(parameter: nn.Parameter) -> None:
    with torch.no_grad():
        parameter[0] += 1e-6


def test_the_rest_does_not_count_for_the_backbone(groups):
    watch = ParameterCheck(groups, "backbone")
    nudge(groups["rest/decay"]["c"])
    watch.expect_still()
    with pytest.raises(RuntimeError, match="no parameter of the backbone moved"):
        watch.expect_moved()


def test_one_that_moved_is_enough_and_the_others_are_named(groups):
    watch = ParameterCheck(groups, "backbone")
    nudge(groups["backbone/no_decay"]["b"])
    assert watch.expect_moved() == ["a"]
    with pytest.raises(RuntimeError, match="1 frozen parameters of the backbone moved"):
        watch.expect_still()


def test_a_part_without_parameters_has_nothing_to_prove(groups):
    watch = ParameterCheck({"rest/decay": groups["rest/decay"]}, "backbone")
    watch.expect_still()
    assert watch.expect_moved() == []


def test_a_swap_of_values_is_no_movement_of_the_sum_but_a_change_of_sign_is_seen(groups):
    watch = ParameterCheck(groups, "rest")
    with torch.no_grad():
        groups["rest/decay"]["c"].neg_()
    assert watch.expect_moved() == []
