"""Which order is taken for which: a confusion matrix that stays readable with many classes. O orders."""

import numpy as np
from matplotlib.figure import Figure

from tarpon.train.figures import style
from tarpon.train.tasks.fish.metrics.predictions import AttributeRows

SHOWN = 20  # orders with rows and columns of their own
REST = "all others"


def count_orders(rows: AttributeRows, *, shown: int = SHOWN) -> tuple[np.ndarray, list[str]]:
    """Rows by true (row) and predicted (column) order, (C, C) int64, and the C names.

    The `shown` orders with most true rows, the largest first; all others together are the last class, where there are any.
    """
    names, known = rows.names.orders, rows.order >= 0
    support = np.bincount(rows.order[known], minlength=len(names))
    ranked = np.argsort(-support, kind="stable")
    kept = ranked[:shown]
    position = np.full(len(names), len(kept))
    position[kept] = np.arange(len(kept))
    size = len(kept) + (len(names) > len(kept))
    cell = position[rows.order[known]] * size + position[rows.order_pred[known]]
    counts = np.bincount(cell, minlength=size**2).reshape(size, size)
    return counts, [names[i] for i in kept] + [REST] * (size > len(kept))


def orders(rows: AttributeRows, *, shown: int = SHOWN) -> Figure:
    """Numbers of rows; the colour is the share of the true order, which tells small ones as well as large ones."""
    counts, names = count_orders(rows, shown=shown)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.6 + 0.37 * len(names)
    figure = Figure(figsize=(side + 0.9, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true order", shrink=0.7)
    words = [style.plain(name, limit=20) for name in names]
    axes.set_xticks(range(len(names)), words, rotation=50, ha="right", rotation_mode="anchor", fontsize=9)
    totals = [f"{word} ({total:,})" for word, total in zip(words, counts.sum(1), strict=True)]
    axes.set_yticks(range(len(names)), totals, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (rows)")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.55 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
    return figure
