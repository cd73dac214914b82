"""Figures over the clock of any set of runs: scores by window with their intervals, and how a population comes to be called."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures.hours import COLOURS, GUIDE, mark_onsets
from tarpon.train.tasks.cells.metrics.kinetics import ClassCourse
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS
from tarpon.train.tasks.cells.metrics.temporal import TemporalScores

SETS = ("#222222", *style.SERIES_COLOURS[1:])  # colours of the sets


def draw_temporal(scores: Mapping[str, TemporalScores], *, onsets: np.ndarray) -> Figure:
    """AUC and error by window of the clock, a line a set with its 95% interval. onsets: hours of the clock, ascending."""
    figure = Figure(figsize=(9.6, 7.0), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for number, (name, own) in enumerate(scores.items()):
        colour, label = SETS[number % len(SETS)], style.plain(name)
        _band(top, own, "auc", colour=colour, label=label)
        _band(bottom, own, "mae", colour=colour, label=label)
    first = next(iter(scores.values()))
    top.axhline(first.level, **GUIDE, label=f"AUC {first.level:g}")
    top.axhline(0.5, color="#999999", linewidth=0.9, label="a guess (0.5)")
    width = first.windows[0]["end_h"] - first.windows[0]["start_h"]
    units = " or ".join(dict.fromkeys(own.unit.partition(" (")[0] for own in scores.values()))
    top.set_title(f"By windows of {width:g} h; bands: 95% over {units}", loc="left", fontsize=11)
    top.set_ylabel("AUC (0 to 1)")
    top.set_ylim(top=1.02)
    bottom.set_ylabel("mean absolute error, h")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("hour of the clock, middle of the window")
    _finish((top, bottom), onsets=onsets)
    return figure


def draw_kinetics(courses: Mapping[str, Mapping[str, ClassCourse]], *, onsets: np.ndarray) -> Figure:
    """Share of each class's pages called infected over the clock, a panel a set, with the fitted curve and its half time."""
    figure = Figure(figsize=(9.6, 0.6 + 3.2 * len(courses)), layout="constrained")
    panels = figure.subplots(len(courses), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, classes) in zip(panels, courses.items(), strict=True):
        for label, word in enumerate(CONDITIONS):
            if word in classes:
                _course(
                    axes, classes[word], colour=COLOURS[label], label=f"{word}, 95% over {classes[word].unit.split(',')[0]}"
                )
        axes.set_title(f"{style.plain(name, limit=60)}: {_half_words(classes.get(CONDITIONS[1]))}", loc="left", fontsize=11)
        axes.set_ylabel("share of pages called infected")
        axes.set_ylim(-0.03, 1.03)
    panels[-1].set_xlabel("hour of the clock")
    _finish(panels, onsets=onsets)
    return figure


def _band(axes: Axes, own: TemporalScores, score: str, *, colour: str, label: str) -> None:
    middle, value, low, high = (
        np.array([window[key] for window in own.windows]) for key in ("middle_h", score, f"{score}_low", f"{score}_high")
    )
    axes.plot(middle, value, "o-", color=colour, linewidth=1.4, markersize=4, label=label)
    axes.fill_between(middle, low, high, color=colour, alpha=0.15, linewidth=0)


def _course(axes: Axes, course: ClassCourse, *, colour: str, label: str) -> None:
    axes.plot(course.hours, course.called, "o", color=colour, markersize=3, label=label)
    axes.fill_between(course.hours, course.low, course.high, color=colour, alpha=0.15, linewidth=0)
    if np.isfinite(course.rise.half_h):
        fine = np.linspace(course.hours[0], course.hours[-1], 300)
        axes.plot(fine, course.rise.at(fine), color=colour, linewidth=1.4, label="logistic curve through the infected")
        axes.axvline(course.rise.half_h, color=colour, linewidth=1.2, linestyle="-.", label="half time")


def _half_words(course: ClassCourse | None) -> str:
    if course is None:
        return "no infected pages"
    if not np.isfinite(course.rise.half_h):
        return "no rise within the hours filmed"
    words = f"half time {course.rise.half_h:.1f} h"
    return words + (" (95% {:.1f} to {:.1f})".format(*course.half_interval) if course.half_interval else "")


def _finish(panels, *, onsets: np.ndarray) -> None:
    for axes in panels:
        mark_onsets(axes, onsets)
        axes.grid(color="#E9E9E9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
