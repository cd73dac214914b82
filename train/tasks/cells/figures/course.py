"""The course of one stack: how probable infection is, and the hours told, page by page over the clock. N pages, M runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures.hours import COLOURS, GUIDE
from tarpon.train.tasks.cells.metrics.predictions import THRESHOLD


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """What was answered for one stack."""

    name: str
    clock: np.ndarray  # (N,) hours
    prob: np.ndarray  # (N,) mean over the runs
    hours: np.ndarray  # (N,)
    runs: Sequence[tuple[np.ndarray, np.ndarray]] = ()  # prob and hours of each run, where there are several
    called: float = float("nan")  # hour of the clock; NaN: not called infected
    onset: tuple[float, float] | None = None  # hours between which the infection began
    level: float = 0.0  # of that interval


def draw_course(course: Course) -> Figure:
    """Two panels over the clock: probability of infection, and predicted hours beside the clock itself."""
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for number, (prob, hours) in enumerate(course.runs):
        label = "each run" if number == 0 else None
        top.plot(course.clock, prob, color="#BBBBBB", linewidth=0.8, label=label)
        bottom.plot(course.clock, hours, color="#BBBBBB", linewidth=0.8, label=label)
    word = "mean of the runs" if len(course.runs) else "model"
    top.plot(course.clock, course.prob, "o-", color="#222222", markersize=3, linewidth=1.3, label=word)
    top.axhline(THRESHOLD, **GUIDE, label=f"threshold {THRESHOLD:g}")
    bottom.plot(course.clock, course.hours, "o-", color="#222222", markersize=3, linewidth=1.3, label=word)
    bottom.plot(course.clock, course.clock, **GUIDE, label="the clock")
    title = style.plain(course.name, limit=60)
    if np.isfinite(course.called):
        title += f": called infected from hour {course.called:g} on"
        for axes in (top, bottom):
            axes.axvline(course.called, color=COLOURS[1], linewidth=1.2, linestyle="--", label="called infected")
            if course.onset is not None:
                low, high = course.onset
                words = f"infection began ({course.level:.0%} interval)"
                axes.axvspan(low, high, color=COLOURS[1], alpha=0.15, linewidth=0, label=words)
    else:
        title += ": not called infected"
    top.set_title(title, loc="left", fontsize=11)
    top.set_ylabel("probability of infection")
    top.set_ylim(-0.03, 1.03)
    bottom.set_ylabel("predicted time, h")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("hour of the clock, since the first page")
    for axes in (top, bottom):
        axes.grid(color="#E9E9E9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return figure
