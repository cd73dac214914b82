"""Learning rate as a pure function of the optimizer step, and of how often the plateau was reached."""

import math
from dataclasses import dataclass, replace

from tarpon.train.config import Optim, Schedule


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """How the selection metric has been doing; saved with every checkpoint."""

    best: float = -math.inf
    best_step: int = 0
    since: int = 0  # evaluations since the best: early stopping counts these
    waited: int = 0  # evaluations since the best or the last fall of the rate
    falls: int = 0  # times the rate fell


def observe(plateau: Plateau, value: float, *, step: int, patience: int) -> Plateau:
    """Take in one evaluation; only a strictly better value counts."""
    if value > plateau.best:
        return replace(plateau, best=value, best_step=step, since=0, waited=0)
    waited = plateau.waited + 1
    fell = waited >= patience
    return replace(plateau, since=plateau.since + 1, waited=0 if fell else waited, falls=plateau.falls + fell)


def learning_rate(optim: Optim, schedule: Schedule, *, step: int, total: int, warmup: int, falls: int = 0) -> float:
    """Rate for optimizer step `step` (0 is the first) of `total`.

    Linear warm-up over `warmup` steps that reaches the full rate at its end, then half a cosine to min_lr at the last
    step, or the full rate times factor**falls (plateau), or the full rate.
    """
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    if schedule.kind == "cosine":
        floor = min(schedule.min_lr, optim.lr)
        done = (step - warmup) / max(total - 1 - warmup, 1)
        return floor + (optim.lr - floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if schedule.kind == "plateau":
        return max(optim.lr * schedule.factor**falls, min(schedule.min_lr, optim.lr))
    return optim.lr
