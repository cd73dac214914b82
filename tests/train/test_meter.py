"""Means since the last read."""

import pytest
import torch

from tarpon.train.meter import Meter


def test_means_over_micro_batches_then_starts_anew():
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add({"a": torch.tensor(value, requires_grad=True), "b": torch.tensor(-value, dtype=torch.bfloat16)})
    assert meter.read() == {"a": 3.0, "b": -3.0}
    assert meter.read() == {}
    meter.add({"a": torch.tensor(7.0)})
    assert meter.read() == {"a": 7.0}


def test_the_mean_over_processes_is_asked_for():
    meter = Meter()
    meter.add({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    assert meter.read(lambda values: values * 10) == {"a": 10.0, "b": 20.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_bad_micro_batch_stops_the_run(bad):
    meter = Meter()
    for value in (1.0, bad, 1.0):
        meter.add({"loss": torch.tensor(value)})
    with pytest.raises(FloatingPointError, match=r"non-finite loss within the last 3 micro-batches.*optim\.lr"):
        meter.read()
