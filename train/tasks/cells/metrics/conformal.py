"""When the infection of a new stack began, from when it is called: a split conformal interval over the wells of validation.

Split conformal prediction (Papadopoulos et al., ECML 2002; Lei et al., JASA 2018) takes the errors on data that the model was
not fitted to, here the delays from infection to call, and cuts off as many of the extremes as the level allows: for a new one
that is exchangeable with them the interval holds with that probability, whatever the model and the distribution. Stacks of one
well are not exchangeable with those of another, so a well gives one earliest and one latest delay, and wells are what is
counted (see Dunn, Wasserman and Ramdas, JASA 2023, on grouped data); a new stack's delay lies within its own well's.

The weights were chosen on the same validation, which makes its delays a little too good.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tarpon.train.tasks.cells.metrics.called import CalledStack

LEVEL = 0.9


@dataclass(frozen=True, kw_only=True)
class DelayInterval:
    """From the beginning of an infection to its call, hours."""

    low: float
    high: float
    level: float  # probability with which a new well's delays lie in it, at least
    wells: int  # of validation it is made from

    def find_onset(self, called: float) -> tuple[float, float]:
        """Hours of the clock between which the infection of a stack called at that hour began; not before the first page."""
        return max(called - self.high, 0.0), max(called - self.low, 0.0)


def calibrate(stacks: Sequence[CalledStack], *, level: float = LEVEL) -> DelayInterval | None:
    """The interval of the infected stacks that were called; of too few wells for the level, the widest with the level it has.

    None with fewer than two wells.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be between 0 and 1, such as {LEVEL}")
    by_well: dict[str, list[float]] = {}
    for stack in stacks:
        if stack.label == 1 and math.isfinite(stack.delay):
            by_well.setdefault(stack.well, []).append(stack.delay)
    wells = len(by_well)
    if wells < 2:
        return None
    # with k cut off on a side, a new well is beyond that side with probability k / (wells + 1) at most
    cut = math.floor((wells + 1) * (1 - level) / 2 + 1e-9)
    earliest, latest = sorted(map(min, by_well.values())), sorted(map(max, by_well.values()))
    if cut < 1:
        cut, level = 1, 1 - 2 / (wells + 1)
    return DelayInterval(low=earliest[cut - 1], high=latest[wells - cut], level=level, wells=wells)
