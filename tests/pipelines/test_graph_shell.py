"""Inputs by name: arrays and noise of the same batch, whichever DALI asks for first."""

import numpy as np
import pytest

from tarpon.pipelines.graph_shell import InputSource
from tarpon.pipelines.noise import NoiseSlice

VALUES = np.arange(100)


def batches(count: int):
    return iter([{"row": [np.array(i)], "noise": [NoiseSlice(i, (2,))]} for i in range(count)])


@pytest.mark.parametrize("order", [("arrays", "noise"), ("noise", "arrays")])
def test_arrays_and_noise_are_of_one_batch_in_any_order(order):
    source = InputSource(batches(3).__next__, arrays=("row",), noise={"noise": VALUES})
    for number in range(3):
        got = {name: getattr(source, name)() for name in order}
        assert got["arrays"] == ([number],)
        np.testing.assert_array_equal(got["noise"][0][0], [number, number + 1])
    for name in order:
        with pytest.raises(StopIteration):
            getattr(source, name)()


def test_an_epoch_may_follow_another():
    work = iter(())
    source = InputSource(lambda: next(work), arrays=("row",), noise={"noise": VALUES})
    for _ in range(2):
        work = batches(1)
        source.arrays()
        source.noise()
        for ask in (source.arrays, source.noise):
            with pytest.raises(StopIteration):
                ask()


def test_without_noise_nothing_is_kept_for_it():
    source = InputSource(batches(50).__next__, arrays=("row",), noise={})
    for _ in range(50):
        source.arrays()
    assert [len(queue) for queue in source._waiting.values()] == [0]
