"""Learning rates worked out by hand, and what counts as a plateau."""

import itertools
from dataclasses import replace

import pytest

from tarpon.train.config import Optim, Schedule
from tarpon.train.schedule import Plateau, learning_rate, observe


def rates(schedule: Schedule, *, total: int, warmup: int, lr: float = 1.0, falls: int = 0) -> list[float]:
    """With one step an epoch."""
    schedule = replace(schedule, warmup_epochs=warmup)
    return [learning_rate(Optim(lr=lr), schedule, step=s, total=total, falls=falls) for s in range(total)]


def test_warm_up_and_cosine_by_hand():
    got = rates(Schedule(min_lr=0.2), total=9, warmup=4)
    # four equal steps up to the full rate; then 0.2 + 0.8 (1 + cos(pi k / 4)) / 2 for k = 0..4
    root = 2**0.5 / 2
    assert got == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.2 + 0.4 * (1 + root), 0.6, 0.2 + 0.4 * (1 - root), 0.2])


def test_rate_changes_at_every_step_and_ends_at_the_minimum():
    got = rates(Schedule(), total=100, warmup=10, lr=5e-5)
    assert got[0] == pytest.approx(5e-6)
    assert max(got) == got[9] == 5e-5
    assert got[-1] == pytest.approx(1e-6)
    after = got[10:]
    assert all(later < before for before, later in itertools.pairwise(after))


def test_minimum_above_the_rate_is_no_rise():
    assert rates(Schedule(min_lr=1.0), total=6, warmup=2, lr=0.1)[2:] == pytest.approx([0.1] * 4)


def test_plateau_and_constant_after_the_warm_up():
    plateau = Schedule(kind="plateau", factor=0.5, min_lr=0.1)
    assert rates(plateau, total=4, warmup=2, falls=0) == [0.5, 1.0, 1.0, 1.0]
    assert rates(plateau, total=4, warmup=2, falls=2) == [0.5, 1.0, 0.25, 0.25]
    assert rates(plateau, total=3, warmup=0, falls=9) == [0.1] * 3
    assert rates(Schedule(kind="constant"), total=4, warmup=2, falls=3) == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["cosine", "plateau", "constant"])
def test_one_step_runs_at_the_full_rate_without_warm_up(kind):
    assert rates(Schedule(kind=kind), total=1, warmup=0) == [1.0]


def test_observe_counts_by_hand():
    state, seen = Plateau(), []
    for step, value in enumerate([0.5, 0.5, 0.4, 0.6, 0.1, 0.2, 0.3, 0.3, float("nan")], start=1):
        state = observe(state, value, step=step, patience=2)
        seen.append((state.best, state.best_step, state.since, state.waited, state.falls))
    assert seen == [
        (0.5, 1, 0, 0, 0),
        (0.5, 1, 1, 1, 0),
        (0.5, 1, 2, 0, 1),  # an equal value is no better; two in vain: the rate falls
        (0.6, 4, 0, 0, 1),
        (0.6, 4, 1, 1, 1),
        (0.6, 4, 2, 0, 2),
        (0.6, 4, 3, 1, 2),
        (0.6, 4, 4, 0, 3),
        (0.6, 4, 5, 1, 3),
    ]


def test_the_first_value_is_the_best_even_at_zero():
    assert observe(Plateau(), 0.0, step=3, patience=1).best_step == 3


def test_a_straight_line_by_hand():
    got = rates(Schedule(kind="linear", min_lr=0.2), total=7, warmup=2)
    assert got == pytest.approx([0.5, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_stairs_by_hand():
    stairs = Schedule(kind="step", step_epochs=2, factor=0.1, warmup_epochs=1, min_lr=0.005)
    got = [learning_rate(Optim(lr=1.0), stairs, step=step, total=99, epoch_steps=2) for step in range(16)]
    # two steps an epoch: one epoch of warm-up, then a fall every two epochs, never below the minimum
    assert got == pytest.approx([0.5, 1.0] + [1.0] * 4 + [0.1] * 4 + [0.01] * 4 + [0.005] * 2)


@pytest.mark.parametrize("kind", ["cosine", "linear", "step", "plateau", "constant", "none"])
def test_every_kind_warms_up(kind):
    assert rates(Schedule(kind=kind), total=20, warmup=4)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
