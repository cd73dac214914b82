"""Figures of a split's attributes: gates, families, habitats, trophic levels. N rows, F families, L habitats, K tasks."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import roc_auc_score, roc_curve

from tarpon.train.figures import style
from tarpon.train.metrics.confusion import ratio
from tarpon.train.tasks.fish.metrics.counts import CountedRows, average_gates

BUCKET_COLOURS = {"common": "#0072B2", "medium": "#E69F00", "rare": "#D55E00", "unseen": "#777777"}
SPREAD_SEED = 0  # points with the same number of images lie beside each other, always in the same places


def gates(rows: CountedRows) -> Figure:
    """Mean weight of each expert in each task's mix; beside the names the mean entropy in nats, and what an even mix has."""
    mean, entropy = average_gates(rows.counts)
    tasks, experts = mean.shape
    figure = Figure(figsize=(2.9 + 0.9 * experts, 1.3 + 0.62 * tasks), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(mean, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    figure.colorbar(image, ax=axes, label="mean weight", shrink=0.9)
    axes.set_xticks(range(experts), [str(expert) for expert in range(experts)])
    names = [f"{style.plain(task, limit=16)}\n{nats:.2f} nats" for task, nats in zip(rows.names.tasks, entropy, strict=True)]
    axes.set_yticks(range(tasks), names)
    axes.set_xlabel("expert")
    axes.set_title(f"Gates (an even mix: {np.log(experts):.2f} nats)", loc="left", fontsize=11)
    for (task, expert), value in np.ndenumerate(mean):
        colour = "white" if value > 0.55 else "black"
        axes.text(expert, task, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
    return figure


def families(rows: CountedRows) -> Figure:
    """Recall of each family over its training images, log x; the area of a point goes with its rows in this split.

    A family without training images stands left of 1.
    """
    support, hits = rows.counts.family
    images = rows.names.train_images
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(SPREAD_SEED)
    x = np.where(images > 0, images, 0.5) * np.exp(rng.uniform(-0.08, 0.08, len(images)))
    y = ratio(hits, support) + rng.uniform(-0.012, 0.012, len(images))
    handles = []
    for name, members in rows.names.buckets().items():
        shown = members & (support > 0)
        if name == "unseen" and not shown.any():
            continue
        colour = BUCKET_COLOURS[name]
        axes.scatter(x[shown], y[shown], s=6 + 2.5 * support[shown] ** 0.75, color=colour, alpha=0.55, linewidths=0)
        total = support[members].sum()
        score = f"{hits[members].sum() / total:.3f} of {total:,} rows" if total else "no rows"
        label = f"{name}: {shown.sum()} famil{'y' if shown.sum() == 1 else 'ies'}, {score}"
        handles.append(Line2D([], [], marker="o", linestyle="", color=colour, label=label))
    axes.set_xscale("log")
    for edge in (rows.names.rare, rows.names.common):
        axes.axvline(edge, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("training images of the family")
    axes.set_ylabel("share of its rows that are right")
    axes.set_title("Families by how often they were seen", loc="left", fontsize=11)
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8, frameon=False)
    axes.grid(color="#E9E9E9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def habitats(rows: CountedRows) -> Figure:
    """ROC curve of each habitat on the rows where habitats are known; a label that is always or never there has none."""
    known = (rows.habitat >= 0).all(1)
    truth, prob = rows.habitat[known], rows.habitat_prob[known]
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8, linestyle=":")
    colours = style.class_colours(len(rows.names.habitats))
    for index, (name, colour) in enumerate(zip(rows.names.habitats, colours, strict=True)):
        true, short = truth[:, index], style.plain(name, limit=18)
        if len(np.unique(true)) < 2:
            axes.plot([], [], color=colour, label=f"{short}: one class only")
            continue
        wrong, right, _ = roc_curve(true, prob[:, index])
        area, share = roc_auc_score(true, prob[:, index]), true.mean()
        axes.plot(wrong, right, color=colour, linewidth=1.5, label=f"{short}: {area:.3f} ({share:.0%} yes)")
    axes.set_aspect("equal")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("share of true no that is called yes")
    axes.set_ylabel("share of true yes that is found")
    axes.set_title(f"Habitats, {known.sum():,} rows", loc="left", fontsize=11)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9, frameon=False, title="area under the curve")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def troph(rows: CountedRows) -> Figure:
    """Predicted over true trophic level as a map of counts (many rows have one value), with the line of equality."""
    known = np.isfinite(rows.troph)
    true, said = rows.troph[known], rows.troph_pred[known]
    figure = Figure(figsize=(5.6, 4.9), layout="constrained")
    axes = figure.subplots()
    low, high = 1.75, 5.25  # FishBase's levels are 2 to 5; a tenth a cell, centred on whole tenths
    if known.any():
        kept = np.clip(said, low, high)  # what lies outside is drawn at the border, not left out
        edges = np.linspace(low, high, 36)
        cells, _, _ = np.histogram2d(kept, true, bins=(edges, edges))
        image = axes.pcolormesh(edges, edges, np.where(cells > 0, cells, np.nan), norm=LogNorm(vmin=1), cmap="viridis")
        figure.colorbar(image, ax=axes, label="rows", shrink=0.85)
    axes.plot([low, high], [low, high], color="#D55E00", linewidth=1.0)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    error = np.abs(said - true)
    title = f"mean error {error.mean():.3f}, {known.sum():,} rows" if known.any() else "no known row"
    axes.set_title(f"Trophic level: {title}", loc="left", fontsize=11)
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
