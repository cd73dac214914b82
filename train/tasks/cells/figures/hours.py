"""Figures of a split's classes and hours: predicted over true hours, scores over the clock, calibration, stacks. N pages."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import r2_score

from tarpon.train.figures import style
from tarpon.train.tasks.cells.metrics.calibration import bin_reliability
from tarpon.train.tasks.cells.metrics.control import list_onsets
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows
from tarpon.train.tasks.cells.metrics.scores import score_stacks
from tarpon.train.tasks.cells.metrics.windows import GOOD_AUC, WINDOW_H, count_pages, find_good_hour, score_windows

COLOURS = ("#0072B2", "#D55E00")  # uninfected, infected: Okabe and Ito's dark blue and vermilion
WORDS = {"auc": "AUC", "f1": "F1"}
ONSET = {"color": "#D55E00", "linewidth": 0.9, "linestyle": "--"}
GUIDE = {"color": "#999999", "linewidth": 0.9, "linestyle": ":"}
WINDOW_SCORES = {"auc": "#222222", "accuracy": "#228833", "f1": "#AA3377", "precision": "#66CCEE", "recall": "#EE6677"}
SPREAD_SEED = 0  # pages of one true hour lie beside each other, always in the same places
MAX_STACKS = 48  # named in one figure; of more, those with the largest errors


def scatter(rows: PageRows, *, split: str = "") -> Figure:
    """Predicted over true hours of all pages, of infected and of uninfected ones, each with its R2 and mean error."""
    figure = Figure(figsize=(12.0, 4.9), layout="constrained")
    grid = figure.subplots(1, 3, sharex=True, sharey=True)
    panels = [("all", np.ones(len(rows), bool))] + [(name, rows.label == CONDITIONS.index(name)) for name in CONDITIONS[::-1]]
    for axes, (name, mask) in zip(grid, panels, strict=True):
        _scatter_panel(axes, rows, mask, name=f"{split}, {name}" if split else name)
    grid[0].set_ylabel("predicted time, h")
    handles = [grid[0].plot([], [], "o", color=COLOURS[i], label=CONDITIONS[i], markersize=5)[0] for i in (1, 0)]
    handles += grid[0].plot([], [], color="#222222", linewidth=0.9, label="predicted as true")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def over_time(rows: PageRows, *, split: str = "") -> Figure:
    """Scores of the classes, error of the hours and number of pages, by window of the clock."""
    found = score_windows(rows)
    centre = np.array([window.centre for window in found])
    figure = Figure(figsize=(9.6, 8.2), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1.4))
    for name, colour in WINDOW_SCORES.items():
        values = np.array([window.scores[name] for window in found])
        top.plot(centre, values, "o-", color=colour, linewidth=1.5, markersize=4, label=WORDS.get(name, name))
    top.axhline(GOOD_AUC, **GUIDE, label=f"{GOOD_AUC:g}")
    from_hour = find_good_hour(found)
    status = f"AUC ≥ {GOOD_AUC} from hour {from_hour:g} on" if np.isfinite(from_hour) else f"AUC does not stay at {GOOD_AUC}"
    if len(np.unique(rows.label)) < 2:
        status = "one class only, no AUC"
    top.set_title(f"Windows of {WINDOW_H:g} h{_of(split)}: {status}", loc="left", fontsize=11)
    low = min([0.5] + [window.scores[name] for window in found for name in WINDOW_SCORES if window.scores[name] >= 0])
    top.set_ylim(low - 0.03, 1.02)
    top.set_ylabel("score (0 to 1)")
    for axes in (top, middle, bottom):
        mark_onsets(axes, list_onsets(rows))
    top.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)
    for label, name in enumerate(CONDITIONS):
        of_class = rows.take(rows.label == label) if (rows.label == label).any() else None
        if of_class is not None:
            own = score_windows(of_class)
            middle.plot([w.centre for w in own], [w.scores["mae"] for w in own], "o-", color=COLOURS[label], label=name, ms=4)
    middle.plot(centre, [window.scores["mae"] for window in found], color="#222222", label="all", linewidth=1.2)
    middle.set_ylim(bottom=0)
    middle.set_ylabel("mean absolute error, h")
    middle.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)
    _page_counts(bottom, rows)
    for axes in (top, middle, bottom):
        _tidy(axes)
    return figure


def mark_onsets(axes: Axes, onsets: np.ndarray) -> None:
    """A line at the onset, or a band from the first to the last; onsets: hours of the clock, ascending; none is marked so."""
    if len(onsets) == 1:
        axes.axvline(float(onsets[0]), **ONSET, label="onset of the infection")
    elif len(onsets):
        axes.axvspan(
            float(onsets[0]), float(onsets[-1]), color=ONSET["color"], alpha=0.12, linewidth=0, label="onsets of wells"
        )


def calibration(rows: PageRows, *, split: str = "") -> Figure:
    """Share of infected pages over the probability they were given, and how often each probability is given."""
    bins = bin_reliability(rows.label, rows.prob)
    figure = Figure(figsize=(5.4, 5.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], **GUIDE, label="as probable as said")
    some = bins.count > 0
    top.plot(
        bins.mean_predicted[some],
        bins.fraction_positive[some],
        "o-",
        color="#222222",
        markersize=5,
        linewidth=1.4,
        label="pages",
    )
    top.legend(loc="upper left", fontsize=8, frameon=False)
    top.set_ylabel("share of pages that are infected")
    top.set_ylim(-0.03, 1.03)
    top.set_title(f"Calibration{_of(split)}: error {bins.error():.4f}, {len(rows):,} pages", loc="left", fontsize=11)
    for label, name in enumerate(CONDITIONS):
        counts, _ = np.histogram(rows.prob[rows.label == label], bins.edges)
        bottom.stairs(counts, bins.edges, fill=True, color=COLOURS[label], alpha=0.5, label=name)
    bottom.set_yscale("symlog", linthresh=10)  # nearly all pages lie in the outermost bins
    bottom.set_ylabel("pages")
    bottom.set_xlabel("predicted probability of infection")
    bottom.set_xlim(-0.02, 1.02)
    bottom.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, fontsize=8, frameon=False, ncols=2)
    for axes in (top, bottom):
        _tidy(axes)
    return figure


def stacks(rows: PageRows, *, split: str = "") -> Figure:
    """Mean probability and mean error of each stack, the largest error on top."""
    records = sorted(score_stacks(rows), key=lambda record: (record["mae"], record["stack"]))
    shown = records[-MAX_STACKS:]
    figure = Figure(figsize=(9.0, 1.6 + 0.2 * len(shown)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    y = np.arange(len(shown))
    colours = [COLOURS[record["label"]] for record in shown]
    left.scatter([record["prob"] for record in shown], y, c=colours, s=22)
    threshold = left.axvline(THRESHOLD, **GUIDE, label=f"threshold {THRESHOLD:g}")
    left.set_xlim(-0.03, 1.03)
    left.set_xlabel("mean probability of infection")
    left.set_yticks(y, [style.plain(record["stack"], limit=24) for record in shown], fontsize=8)
    right.barh(y, [record["mae"] for record in shown], color=colours, height=0.7)
    right.set_xlabel("mean absolute error, h")
    cut = f", the {len(shown)} with the largest errors" if len(shown) < len(records) else ""
    left.set_title(f"{len(records)} stacks{_of(split)}{cut}", loc="left", fontsize=11)
    handles = [left.plot([], [], "o", color=COLOURS[label], label=CONDITIONS[label], markersize=5)[0] for label in (1, 0)]
    figure.legend(handles=[*handles, threshold], loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    for axes in (left, right):
        axes.set_ylim(-0.7, len(shown) - 0.3)
        _tidy(axes)
    return figure


def _scatter_panel(axes: Axes, rows: PageRows, mask: np.ndarray, *, name: str) -> None:
    low, high = rows.clamp_range
    axes.plot([low, high], [low, high], color="#222222", linewidth=0.9, zorder=3)
    true, predicted = rows.target[mask].astype(np.float64), rows.predicted[mask].astype(np.float64)
    spread = np.random.default_rng(SPREAD_SEED).uniform(-0.2, 0.2, len(true))
    order = np.random.default_rng(SPREAD_SEED).permutation(len(true))  # so that neither class covers the other
    colours = np.array(COLOURS)[rows.label[mask]]
    size = float(np.clip(4000 / max(len(true), 1), 2, 14))
    axes.scatter((true + spread)[order], predicted[order], c=colours[order], s=size, alpha=0.45, linewidths=0)
    fit = f", R² {r2_score(true, predicted):.3f}" if len(true) and np.ptp(true) > 0 else ""
    error = f"MAE {np.abs(predicted - true).mean():.2f} h{fit}, {len(true):,} pages" if len(true) else "no page"
    axes.set_title(f"{name}\n{error}", loc="left", fontsize=9.5)
    edge = 0.02 * (high - low)
    axes.set_xlim(low - edge, high + edge)
    axes.set_ylim(low - edge, high + edge)
    axes.set_aspect("equal")
    axes.set_xlabel("true time, h")
    _tidy(axes)


def _page_counts(axes: Axes, rows: PageRows) -> None:
    """Bars of the pages of each stretch of the clock, every page in one of them."""
    edges, (healthy, infected) = count_pages(rows)
    centre, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    total = healthy + infected
    axes.bar(centre, healthy, 0.9 * width, color=COLOURS[0], label=CONDITIONS[0])
    axes.bar(centre, infected, 0.9 * width, healthy, color=COLOURS[1], label=CONDITIONS[1])
    for x, height in zip(centre, total, strict=True):
        axes.annotate(f"{height}", (x, height), (0, 1), textcoords="offset points", ha="center", va="bottom", fontsize=7)
    axes.set_ylim(0, 1.2 * total.max())
    axes.set_ylabel(f"pages in {width:g} h")
    axes.set_xlabel("hour of the clock (of a score or an error: the middle of its window)")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)


def _of(split: str) -> str:
    return f" of {split}" if split else ""


def _tidy(axes: Axes) -> None:
    axes.grid(color="#E9E9E9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
