"""Pages an hour: as an option says, or as the files tell; a contradiction is an error."""

import math
from collections.abc import Sequence
from itertools import pairwise

SAME_INTERVAL = 0.01  # share of the interval by which two that are one may differ
EVEN = 0.1  # share of the usual step by which the steps between pages that were taken at even times may differ
LATE = 0.03  # share of a step of whole minutes by which every page may be late: microscopes wait, and then take their time
USUAL = 2.0  # pages an hour where nothing tells


def find_step(stamps: Sequence[float]) -> float:
    """Seconds from page to page by the pages' time stamps: the median, or whole minutes close to it.

    0 where there are no stamps, or they are not even.
    """
    steps = sorted(later - earlier for earlier, later in pairwise(stamps))
    usual = steps[len(steps) // 2] if steps else 0.0
    if not 0 < usual < math.inf or max(usual - steps[0], steps[-1] - usual) > EVEN * usual:
        return 0.0
    whole = 60.0 * round(usual / 60)
    return whole if abs(usual - whole) <= LATE * whole else usual


def format_hours(hours: float) -> str:
    """For people: to the hundredth, which is half a minute."""
    return f"{round(hours, 2):g}"


def find_rate(told: Sequence[tuple[str, float]], *, given: float | None) -> float:
    """Pages an hour of all stacks.

    Args:
        told: (name, seconds from page to page as the file tells them, 0 where it does not) of every stack.
        given: by an option; goes before the files, which `check_rate` then holds against it.

    Raises:
        ValueError: nothing is given, and two files tell different intervals.
    """
    if given is not None:
        return given
    known = [(seconds, name) for name, seconds in told if seconds]
    if not known:
        return USUAL
    (least, first), (most, last) = min(known), max(known)
    if most > least * (1 + SAME_INTERVAL):
        raise ValueError(
            f"{first} tells {least / 60:g} min from page to page, {last} {most / 60:g}; one rate holds for all stacks: set "
            f"data.frames.frames_per_hour, and what contradicts it is kept out"
        )
    seconds = sorted(seconds for seconds, _ in known)[len(known) // 2]
    minutes = round(seconds / 60)  # a microscope's own clock drifts: 1799.6 s are half an hour
    return 60 / minutes if minutes and abs(seconds / 60 / minutes - 1) <= SAME_INTERVAL else 3600 / seconds


def check_rate(seconds: float, rate: float) -> None:
    """ValueError where a file tells another time from page to page (seconds; 0: none) than the rate, by more than 1%."""
    if seconds and abs(seconds * rate / 3600 - 1) > SAME_INTERVAL:
        raise ValueError(
            f"the file tells {seconds / 60:g} min from page to page, frames_per_hour={rate:g} tells {60 / rate:g}; set "
            f"frames_per_hour to {3600 / seconds:g}, or mend the file's metadata"
        )
