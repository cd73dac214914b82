"""Figures of a search: rank of the right animal over all queries and by animal, and similarity to own and other animals.

Q queries.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tarpon.train.figures import style
from tarpon.train.tasks.star.metrics.open_set import Novelty
from tarpon.train.tasks.star.metrics.retrieval import Retrieval
from tarpon.train.tasks.star.metrics.scores import cmc_curve

MOST_RANKS = 50  # of the curve
BANDS = {"1": 1, "2-5": 5, "6-10": 10, "11-20": 20, "beyond": None}  # of first ranks: name -> the last rank in it
BAND_COLOURS = ("#0072B2", "#56B4E9", "#F0E442", "#E69F00", "#D55E00")  # near to far: Okabe and Ito's, cold to warm
OWN, OTHER, NEW = "#0072B2", "#D55E00", "#555555"
MOST_IDENTITIES = 48  # named in one figure; of more, those found latest
GUIDE = {"color": "#222222", "linewidth": 1.0, "linestyle": ":"}


def cmc(searches: Mapping[str, Retrieval], *, split: str = "") -> Figure:
    """Share of queries whose animal is among the first k, over k; one line a search, by name."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for (name, retrieval), colour in zip(searches.items(), style.SERIES_COLOURS, strict=False):
        most = int(min(MOST_RANKS, max(retrieval.candidates.max(), 1)))
        curve = cmc_curve(retrieval, most=most)
        mean = retrieval.average_precision[retrieval.valid].mean()
        label = f"{name}: rank 1 {curve[0]:.1%}, mAP {mean:.3f}"
        axes.step(np.arange(1, most + 1), curve, where="mid", color=colour, linewidth=1.5, label=style.plain(label, limit=60))
    count = int(next(iter(searches.values())).valid.sum())
    axes.set_title(f"Found within the first k{_of(split)}, {count:,} queries", loc="left", fontsize=11)
    axes.set_xlabel("k")
    axes.set_ylabel("share of queries")
    axes.set_xscale("log")
    axes.set_xticks([k for k in (1, 2, 5, 10, 20, 50) if k <= axes.get_xlim()[1]], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_ylim(top=1.02)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    _tidy(axes)
    return figure


def ranks(retrieval: Retrieval, *, identities: np.ndarray, split: str = "") -> Figure:
    """How many queries of each animal find it at rank 1, 2 to 5 and so on; the animal with the lowest precision on top.

    Args:
        identities: (Q,).
    """
    valid = retrieval.valid
    names, group = np.unique(np.asarray(identities)[valid], return_inverse=True)
    precision = np.bincount(group, weights=retrieval.average_precision[valid]) / np.bincount(group)
    shown = np.argsort(-precision, kind="stable")[-MOST_IDENTITIES:]
    counts = band_counts(retrieval.first_rank[valid], group)[shown]
    figure = Figure(figsize=(9.0, 1.8 + 0.2 * len(shown)), layout="constrained")
    axes = figure.subplots()
    y, left = np.arange(len(shown)), np.zeros(len(shown))
    for (name, column), colour in zip(zip(BANDS, counts.T, strict=True), BAND_COLOURS, strict=True):
        axes.barh(y, column, left=left, color=colour, height=0.75, label=f"rank {name}" if name != "beyond" else name)
        left += column
    for line, at in enumerate(shown):
        axes.annotate(f"{precision[at]:.2f}", (left[line], line), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(y, [style.plain(names[at], limit=36) for at in shown], fontsize=8)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.margins(x=0.06)
    axes.set_xlabel("queries; the number is the animal's mean average precision")
    cut = f", the {len(shown)} found worst" if len(shown) < len(names) else ""
    axes.set_title(f"Rank of the first match by animal{_of(split)}: {len(names)} animals{cut}", loc="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=len(BANDS), frameon=False, fontsize=9)
    _tidy(axes)
    return figure


def similarities(
    retrieval: Retrieval, *, novelty: Novelty | None = None, new: np.ndarray | None = None, split: str = ""
) -> Figure:
    """Highest similarity of each query to its own animal and to any other, of new animals to any; the decision between.

    Args:
        new: (N,) highest similarity of the photographs of new animals, if there are any.
    """
    series = {
        "own animal": (retrieval.best_own, OWN),
        "any other animal": (retrieval.best_other, OTHER),
        "new animal, to any": (np.empty(0) if new is None else new, NEW),
    }
    series = {name: (values[np.isfinite(values)], colour) for name, (values, colour) in series.items()}
    every = np.concatenate([values for values, _ in series.values()])
    edges = np.linspace(every.min() - 1e-3, every.max() + 1e-3, 41) if len(every) else np.linspace(-1, 1, 41)
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, (values, colour) in series.items():
        if len(values):
            share = np.histogram(values, edges)[0] / len(values)
            label = f"{name} ({len(values):,})"
            axes.stairs(share, edges, fill=name != "new animal, to any", color=colour, alpha=0.55, linewidth=1.6, label=label)
    if novelty is not None:
        rule = f"known from {novelty.threshold:.3f} on ({novelty.false_positive_rate:.0%} of new pass)"
        axes.axvline(novelty.threshold, **GUIDE, label=rule)
    axes.set_title(f"Highest similarity of each query{_of(split)}", loc="left", fontsize=11)
    axes.set_xlabel("cosine similarity")
    axes.set_ylabel("share of queries")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _tidy(axes)
    return figure


def band_counts(first_rank: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(groups, bands) int64 queries of each group whose first match lies in each band. first_rank, group (Q,) int64."""
    last = [rank for rank in BANDS.values() if rank is not None]
    band = np.searchsorted(last, first_rank)  # the first band whose last rank is not below
    size = int(group.max()) + 1
    return np.bincount(group * len(BANDS) + band, minlength=size * len(BANDS)).reshape(size, len(BANDS))


def _of(split: str) -> str:
    return f" ({split})" if split else ""


def _tidy(axes: Axes) -> None:
    axes.grid(color="#E9E9E9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
