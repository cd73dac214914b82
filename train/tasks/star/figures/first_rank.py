"""How far down the list the right animal first comes, over all photographs, beside what a random order would do."""

import numpy as np
from matplotlib.figure import Figure

from tarpon.train.tasks.star.metrics.chance import random_hit_rates
from tarpon.train.tasks.star.metrics.retrieval import Retrieval

FOUND, RANDOM = "#0072B2", "#555555"


def rank_bins(most: int) -> list[tuple[int, int]]:
    """(first, last) rank of each bar: 1, 2, 3-4, 5-8 and so on, each twice as wide, the last one with `most` in it."""
    made = [(1, 1)]
    while made[-1][1] < most:
        made.append((made[-1][1] + 1, 2 * made[-1][1]))
    return made


def count_ranks(retrieval: Retrieval) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """Bins, (bins,) queries whose first match lies in each, (bins,) how many a random order would put there."""
    scored = retrieval.take(retrieval.valid)
    bins = rank_bins(int(scored.candidates.max()))
    last = np.array([high for _, high in bins])
    own = np.bincount(np.searchsorted(last, scored.first_rank), minlength=len(bins))
    pairs, often = np.unique(np.stack([scored.matches, scored.candidates], 1), axis=0, return_counts=True)
    within = random_hit_rates(*pairs.T, most=int(last[-1]))[:, last - 1]
    return bins, own, np.diff(often @ within, prepend=0.0)


def first_ranks(retrieval: Retrieval, *, split: str = "") -> Figure:
    """Bars of queries by the rank of their first match; the line is what a random order would give."""
    bins, own, random = count_ranks(retrieval)
    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    axes = figure.subplots()
    x = np.arange(len(bins))
    bars = axes.bar(x, own, color=FOUND, width=0.85, label="this run")
    axes.bar_label(bars, fontsize=8)
    axes.plot(x, random, color=RANDOM, linestyle=":", marker="o", markersize=4, label="a random order")
    names = [str(low) if low == high else f"{low}-{high}" for low, high in bins]
    axes.set_xticks(x, names, fontsize=8, rotation=30 if len(names) > 9 else 0)
    axes.set_xlabel("rank of the first photograph of the right animal")
    axes.set_ylabel("photographs")
    of = f" ({split})" if split else ""
    axes.set_title(f"How far down the list the right animal comes{of}", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(axis="y", color="#E9E9E9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
