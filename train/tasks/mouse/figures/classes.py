"""Figures of the classes: confusion, F1, precision against recall. C classes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tarpon.train.figures import style


def confusion(counts: np.ndarray, *, classes: Sequence[str]) -> Figure:
    """Counts of frames, (C, C) int, true class by row; the colour is the share of the row, that is of the true class."""
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    side = max(4.5, 0.85 * len(classes) + 1.8)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    names = [style.plain(name, limit=18) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:,}\n{share[row, column]:.0%}" if total[row, 0] else "–"
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    return figure


def f1_bars(f1: Sequence[float], *, support: Sequence[int], classes: Sequence[str]) -> Figure:
    """One bar a class, with the number of true frames it rests on; NaN (no frame true or predicted) is said, not drawn as 0."""
    figure = Figure(figsize=(5.9, 0.42 * len(classes) + 0.9), layout="constrained")
    axes = figure.subplots()
    values = np.asarray(f1, dtype=float)
    axes.barh(
        range(len(classes)),
        np.nan_to_num(values),
        color=style.class_colours(len(classes)),
        edgecolor="#444444",
        linewidth=0.5,
    )
    for row, (value, frames) in enumerate(zip(values, support, strict=True)):
        text = f"no frames (n = {frames:,})" if np.isnan(value) else f"{value:.3f} (n = {frames:,})"
        axes.text(np.nan_to_num(value) + 0.015, row, text, va="center", fontsize=9)
    axes.set_yticks(range(len(classes)), [style.plain(name) for name in classes])
    axes.set_xticks(np.linspace(0.0, 1.0, 6))
    axes.set_xlim(0.0, 1.0)  # the text of a full bar stands beside the axis; the layout makes room for it
    axes.invert_yaxis()
    axes.set_xlabel("F1 (n = true frames)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def precision_recall(
    curves: Sequence[np.ndarray | None], *, average: Sequence[float], support: Sequence[int], classes: Sequence[str]
) -> Figure:
    """Precision over recall of each class against the rest, over all thresholds.

    Args:
        curves: C times (n, 2) recall and precision, as metrics.ranking.precision_recall gives them; None: no true frames.
        average: C average precisions.
        support: C numbers of true frames; their share, a dotted line, is the precision of a blind guess.
    """
    figure = Figure(figsize=(8.6, 5.2), layout="constrained")
    axes = figure.subplots()
    colours, total = style.class_colours(len(classes)), max(sum(support), 1)
    for curve, value, frames, name, colour in zip(curves, average, support, classes, colours, strict=True):
        shown = style.plain(name, limit=24)
        if curve is None:
            axes.plot([], [], color=colour, label=f"{shown}: no true frames")
            continue
        label = f"{shown}: AP {value:.3f} (n = {frames:,})"
        # Precision between two thresholds is that of the lower one: steps, whose area is the average precision.
        axes.step(*curve[::-1].T, where="pre", color=colour, linewidth=1.6, label=label)
        axes.axhline(frames / total, color=colour, linewidth=0.8, linestyle=":")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_xlabel("recall: share of the class's true frames that are found")
    axes.set_ylabel("precision: share of the found frames that are right")
    axes.grid(color="#E3E3E3", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Dotted: a blind guess", loc="left", fontsize=9)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, title="AP: average precision (n = true frames)")
    return figure
