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


def learning_rate(optim: Optim, schedule: Schedule, *, step: int, total: int, epoch_steps: int = 1, falls: int = 0) -> float:
    """Rate for optimizer step `step` (0 is the first) of `total`, with `epoch_steps` an epoch.

    Linear warm-up that reaches the full rate at its end, then: half a cosine (cosine) or a straight line (linear) to min_lr
    at the last step; the full rate times factor to the power of falls seen (plateau) or of step_epochs passed (step), not
    below min_lr; or the full rate (constant, none).
    """
    warmup = round(schedule.warmup_epochs * epoch_steps)
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    floor = min(schedule.min_lr, optim.lr)
    left = 1 - min((step - warmup) / max(total - 1 - warmup, 1), 1.0)
    match schedule.kind:
        case "cosine":
            return floor + (optim.lr - floor) * 0.5 * (1 - math.cos(math.pi * left))
        case "linear":
            return floor + (optim.lr - floor) * left
        case "plateau":
            return max(optim.lr * schedule.factor**falls, floor)
        case "step":
            return max(optim.lr * schedule.factor ** ((step - warmup) // (schedule.step_epochs * epoch_steps)), floor)
    return optim.lr
