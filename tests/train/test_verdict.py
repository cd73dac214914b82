"""The verdict on a stretch of training, and the advice that fits the run."""

from dataclasses import replace

import pytest

from tarpon.train.timing import Spent
from tarpon.train.verdict import Setting, advise, as_scalars, describe, format_duration

GPU = Setting(gpu=True, bf16=True, compiled=True, cores=8, threads=8)


def spent(**parts: float) -> Spent:
    return Spent(total_s=100.0, parts=parts)


def test_shares_stand_in_the_order_of_the_work_without_the_smallest():
    words = describe(spent(evaluation=10.0, backward=40.0, forward=30.0, data=5.0, copy=0.3), GPU)
    parts = "waiting for data 5%, forward 30%, backward 40%, evaluation 10%, other 15%"
    assert words == f"1 min 40 s: {parts}; compute-bound"


def test_waiting_is_measured_against_the_steps_alone():
    """12 s of 100 are little, 12 of the 40 in steps are not."""
    words = describe(spent(data=10.0, copy=2.0, forward=28.0, evaluation=30.0), GPU)
    assert "decode-bound: 30% of a step is waiting for data; try shards packed at the size" in words
    assert "more than 8 cores a process" in words
    assert "try --loader.threads 8" in describe(spent(data=12.0, forward=28.0), replace(GPU, threads=2))


def test_where_it_was_measured_decoding_and_augmenting_are_told_apart():
    slow = spent(data=30.0, forward=70.0)
    words = describe(slow, replace(GPU, augment_share=0.2))
    assert "waiting for data (decoding 80%, augmenting 20% of it); try shards packed" in words
    words = describe(slow, replace(GPU, augment_share=0.6, threads=2))
    assert words.endswith("(decoding 40%, augmenting 60% of it); try lower probabilities in --augment, or --loader.threads 8")
    assert describe(spent(forward=70.0), replace(GPU, augment_share=0.6)).endswith("compute-bound")


def test_evaluation_that_takes_the_most_is_told():
    assert describe(spent(forward=30.0, evaluation=60.0), GPU).endswith("evaluation takes the most; try a larger --eval_every")
    assert describe(spent(evaluation=60.0), GPU).endswith("too short to judge")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (GPU, ""),
        (replace(GPU, compiled=False), "try --engine.compile on"),
        (replace(GPU, compiled=False, bf16=False), "try --engine.dtype bf16"),
        (replace(GPU, gpu=False, bf16=False), "a GPU or a smaller network makes it faster"),
    ],
)
def test_advice_fits_the_run(setting, words):
    assert advise(setting) == words


def test_every_share_is_logged_also_of_what_took_no_time():
    scalars = as_scalars(spent(data=25.0, forward=50.0))
    assert scalars["time/data"] == 0.25
    assert scalars["time/forward"] == 0.5
    assert {name for name, value in scalars.items() if value == 0} == {
        f"time/{part}" for part in ("copy", "backward", "optimizer", "evaluation", "saving")
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (250, "4 min 10 s"),
        (7500, "2 h 05 min"),
        (86400 * 3 + 4 * 3600, "3 d 04 h"),
    ],
)
def test_durations_are_words(seconds, words):
    assert format_duration(seconds) == words
