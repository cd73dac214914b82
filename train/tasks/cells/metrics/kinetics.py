"""How an infected population comes to be called infected: share of pages called over the clock, and a curve through it.

The curve is a logistic one with free plateaus, bottom + (top - bottom) / (1 + exp(-(t - half) / scale)): the bottom is what is
called before anything is to be seen, the half time the hour midway between the plateaus. T hours, S resamples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit
from scipy.special import expit

from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.cells.metrics.intervals import describe_unit, number_groups
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows
from tarpon.train.tasks.cells.metrics.temporal import ENDS, draw_weights

LEAST_RISE = 0.2  # of the share called: a curve that rises by less has no half time worth the name
SHARPEST_H = 0.05  # scale of a rise within a few minutes
TEN_TO_NINETY = 2 * math.log(9)  # scales of a logistic curve from 10% to 90% of its rise
FITS = 200  # resamples that a curve is fitted to


@dataclass(frozen=True, kw_only=True)
class Rise:
    """A fitted curve; NaN: there is no rise within the hours filmed."""

    half_h: float  # hour of the clock midway between the plateaus
    rise_h: float  # hours from 10% to 90% of the rise
    bottom: float
    top: float

    def at(self, hours: np.ndarray) -> np.ndarray:
        """The share called at (T,) hours of the clock."""
        return logistic(hours, self.bottom, self.top, self.half_h, self.rise_h / TEN_TO_NINETY)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCourse:
    """The share of a class's pages that is called infected, hour by hour."""

    hours: np.ndarray  # (T,) of the clock
    pages: np.ndarray  # (T,) int64
    called: np.ndarray  # (T,) share
    low: np.ndarray  # (T,) and its 95% interval; NaN where the class has one well only, or stack
    high: np.ndarray
    unit: str  # what the interval is over
    rise: Rise
    half_interval: tuple[float, float] | None  # of the half time, 95%, of the resamples that rise; None: not to be known


def follow_classes(rows: PageRows, *, resamples: int = 1000, seed: int = 0) -> dict[str, ClassCourse]:
    """Name of each class that occurs -> its course. A curve is fitted to the infected class alone."""
    return {
        name: _follow(rows.take(rows.label == label), fit=label == 1, resamples=resamples, seed=seed)
        for label, name in enumerate(CONDITIONS)
        if (rows.label == label).any()
    }


def _follow(rows: PageRows, *, fit: bool, resamples: int, seed: int) -> ClassCourse:
    hours, place = np.unique(rows.clock.astype(np.float64), return_inverse=True)
    group = number_groups(rows)
    groups = int(group.max()) + 1
    cell = group * len(hours) + place
    said, pages = (
        np.bincount(cell, weights=values, minlength=groups * len(hours)).reshape(groups, len(hours))
        for values in (rows.prob >= THRESHOLD, np.ones(len(rows)))
    )
    called = ratio(said.sum(0), pages.sum(0))
    rise = fit_rise(hours, called, pages.sum(0)) if fit else NO_RISE
    low, high, half = np.full(len(hours), np.nan), np.full(len(hours), np.nan), None
    if groups > 1:
        weights = draw_weights(groups, resamples=resamples, seed=seed)
        drawn, counts = ratio(weights @ said, weights @ pages), weights @ pages
        low, high = np.nanquantile(drawn, ENDS, axis=0)
        half = _half_interval(hours, drawn[:FITS], counts[:FITS]) if math.isfinite(rise.half_h) else None
    return ClassCourse(
        hours=hours,
        pages=pages.sum(0).astype(np.int64),
        called=called,
        low=low,
        high=high,
        unit=describe_unit(rows),
        rise=rise,
        half_interval=half,
    )


NO_RISE = Rise(half_h=math.nan, rise_h=math.nan, bottom=math.nan, top=math.nan)


def logistic(hours: np.ndarray, bottom: float, top: float, half: float, scale: float) -> np.ndarray:
    """(T,) share called."""
    return bottom + (top - bottom) * expit((hours - half) / scale)


def fit_rise(hours: np.ndarray, called: np.ndarray, pages: np.ndarray) -> Rise:
    """Least squares over hours (T,), weighted by their pages; no rise where it has no plateau, or falls, or is small."""
    known = pages > 0
    hours, called, pages = hours[known], called[known], pages[known]
    span = float(np.ptp(hours)) if len(hours) else 0.0
    if len(hours) < 5 or np.ptp(called) < LEAST_RISE:  # four parameters
        return NO_RISE
    middle = (called.max() + called.min()) / 2
    start = (called.min(), called.max(), hours[(called >= middle).argmax()], span / 10)
    least, most = (0.0, 0.0, hours[0], SHARPEST_H), (1.0, 1.0, hours[-1], span)
    try:
        (bottom, top, half, scale), _ = curve_fit(
            logistic, hours, called, p0=np.clip(start, least, most), sigma=1 / np.sqrt(pages), bounds=(least, most)
        )
    except RuntimeError:  # no least squares within the evaluations allowed
        return NO_RISE
    inside = hours[0] < half < hours[-1]
    if top - bottom < LEAST_RISE or not inside:
        return NO_RISE
    return Rise(half_h=float(half), rise_h=float(scale * TEN_TO_NINETY), bottom=float(bottom), top=float(top))


def _half_interval(hours: np.ndarray, drawn: np.ndarray, counts: np.ndarray) -> tuple[float, float] | None:
    halves = np.array([fit_rise(hours, one, own).half_h for one, own in zip(drawn, counts, strict=True)])
    halves = halves[np.isfinite(halves)]
    if len(halves) < len(drawn) / 2:
        return None
    low, high = np.quantile(halves, ENDS)
    return float(low), float(high)


def describe_rise(course: ClassCourse) -> Mapping[str, object]:
    """The fitted curve in names and numbers, for JSON."""
    low, high = course.half_interval or (None, None)
    return {
        "half_time_h": course.rise.half_h,
        "half_time_low_h": low,
        "half_time_high_h": high,
        "rise_10_to_90_h": course.rise.rise_h,
        "bottom": course.rise.bottom,
        "top": course.rise.top,
        "interval_over": course.unit,
    }
