"""From which hour on a new stack is called infected, and when its infection began, as the wells of validation tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tarpon.tools.cells.page_model import PageModel
from tarpon.train.tasks.cells.metrics.called import CalledStack, call_stacks
from tarpon.train.tasks.cells.metrics.conformal import DelayInterval, calibrate
from tarpon.train.tasks.cells.metrics.predictions import PageRows


@dataclass(frozen=True, kw_only=True)
class OnsetRule:
    """How a call is made, and what it says of the onset."""

    hold: int  # pages in a row
    level: float  # that was asked for
    interval: DelayInterval | None
    stacks: tuple[CalledStack, ...]  # of validation, by the same rule
    why: str = ""  # there is no interval

    def describe(self) -> str:
        """One line for the terminal."""
        infected, healthy = ([stack for stack in self.stacks if stack.label == label] for label in (1, 0))
        counts = ", ".join(
            f"{sum(math.isfinite(stack.called) for stack in own)} of {len(own)} {word}"
            for own, word in ((infected, "infected"), (healthy, "uninfected"))
        )
        said = f"of validation's stacks {counts} are called infected. " if self.stacks else ""
        if self.interval is None:
            return f"called infected: {self.hold} pages in a row; {said}No interval of the onset: {self.why}"
        short = "" if math.isclose(self.interval.level, self.level) else f" ({self.level:.0%} needs more wells)"
        return (
            f"called infected: {self.hold} pages in a row; {said}Infected stacks are called {self.interval.low:g} to "
            f"{self.interval.high:g} h after the infection began: {self.interval.level:.0%}{short} of wells like the "
            f"{self.interval.wells} of validation"
        )


def make_rule(models: Sequence[PageModel], *, level: float, hold: int) -> OnsetRule:
    """The rule, with the interval of the pages that no model was trained on: those that all have in validation."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1, such as 0.9")
    held = [model.validation() for model in models]
    missing = [model.name for model, rows in zip(models, held, strict=True) if rows is None]
    if missing:
        why = f"{missing[0]} has no predictions/val.npz beside its checkpoint; give the run's folder"
        return OnsetRule(hold=hold, level=level, interval=None, stacks=(), why=why)
    rows = average_rows([rows for rows in held if rows is not None])
    if rows is None:
        why = "the runs have no page in common in their validation"
        return OnsetRule(hold=hold, level=level, interval=None, stacks=(), why=why)
    stacks = tuple(call_stacks(rows, hold=hold))
    interval = calibrate(stacks, level=level)
    why = "" if interval else "fewer than two wells of validation with infected stacks that are called and whose onset is known"
    return OnsetRule(hold=hold, level=level, interval=interval, stacks=stacks, why=why)


def average_rows(parts: Sequence[PageRows]) -> PageRows | None:
    """The pages that all parts have, by key, with the mean of their answers; None: there is none.

    Raises:
        ValueError: a page has another class or onset in another part.
    """
    common = sorted(set.intersection(*(set(part.key.tolist()) for part in parts)))
    if not common:
        return None
    places = [{key: at for at, key in enumerate(part.key.tolist())} for part in parts]
    same = [part.take(np.array([own[key] for key in common])) for part, own in zip(parts, places, strict=True)]
    for part in same[1:]:
        if (part.label != same[0].label).any() or not np.array_equal(part.onset, same[0].onset, equal_nan=True):
            raise ValueError("the runs were trained for different classes or onsets of the same pages; predict with each alone")
    prob, hours = (np.mean([getattr(part, name) for part in same], 0, dtype=np.float64) for name in ("prob", "predicted"))
    return replace(same[0], prob=prob.astype(np.float32), predicted=hours.astype(np.float32))
