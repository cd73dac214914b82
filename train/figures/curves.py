"""Figures of a run over its optimizer steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tarpon.train.figures import style
from tarpon.train.figures.words import in_words

BOUNDS = ("_low", "_high")  # of intervals
SCORES = ("val/macro_f1", "val/accuracy", "val/balanced_accuracy", "val/segment_f1_50", "val/edit")


def curves(lines: Sequence[Mapping[str, float]], *, classes: Sequence[str] = ()) -> list[Figure]:
    """Loss terms, scores, learning rate and speed over optimizer steps, a figure each.

    Args:
        lines: the lines of metrics.jsonl; each has `step`, and any of the named values. What no line has gets no figure.
        classes: the classes as they stand in the names (`val/f1_<class>`), in class order, so that each has its colour.
    """
    panels = _panels(lines, classes=classes)
    if not panels:
        raise ValueError(f"no curve can be drawn from {len(lines)} lines: none has a loss, a learning rate or a val/ score")
    return [_draw_panel(panel, lines=lines) for panel in panels]


def compare_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], name: str, *, title: str) -> Figure | None:
    """One value of several runs over their steps, a line a run; None where no run has it.

    Args:
        runs: what to call each -> the lines of its metrics.jsonl.
        name: in metrics.jsonl.
    """
    held = {run: [line for line in lines if name in line] for run, lines in runs.items()}
    if not any(held.values()):
        return None
    colours = style.class_colours(len(runs))
    merged = [{"step": line["step"], run: line[name]} for run, lines in held.items() for line in lines]
    series = {run: colour for run, colour in zip(runs, colours, strict=True) if held[run]}
    share = _is_score(name, [line for lines in held.values() for line in lines])
    panel = _Panel(title=title, series=series, share=share, wide="loss" in name, named=str, columns=1)
    return _draw_panel(panel, lines=merged)


def has_curves(lines: Sequence[Mapping[str, float]]) -> bool:
    """Whether `curves` has anything to draw."""
    return bool(_panels(lines, classes=()))


@dataclass(frozen=True, kw_only=True)
class _Panel:
    title: str
    series: Mapping[str, str]  # name in metrics.jsonl -> colour
    share: bool = False  # the y axis is [0, 1]
    wide: bool = False  # the y axis is logarithmic where the values span more than a factor of 50
    named: Callable[[str], str] = in_words  # a series' name in the legend
    columns: int = 2  # of the legend


def _panels(lines: Sequence[Mapping[str, float]], *, classes: Sequence[str]) -> list[_Panel]:
    """The panels that have anything to show, in reading order."""
    names = sorted({name for line in lines for name in line})
    losses = [name for name in names if name == "loss" or name.startswith("loss/") or name == "val/loss"]
    scores = [name for name in SCORES if name in names] or [name for name in names if _is_score(name, lines)]
    found = [name for name in names if name.startswith("val/f1_") and not name.endswith(BOUNDS)]
    ordered = [f"val/f1_{name}" for name in classes] or found
    per_class = dict(zip(ordered, style.class_colours(len(ordered)), strict=True))
    panels = (
        _Panel(title="Loss", series=_coloured(losses), wide=True),
        _Panel(title="Scores on validation", series=_coloured(scores[: len(style.SERIES_COLOURS)]), share=True),
        _Panel(
            title="F1 of each class on validation",
            share=True,
            series={name: per_class[name] for name in ordered if name in names},
            named=lambda name: name.removeprefix("val/f1_"),
        ),
        _Panel(title="Learning rate", series=_coloured([name for name in names if name == "lr" or name.startswith("lr/")])),
        _Panel(
            title="Keypoint error on validation, share of the image side",
            series=_coloured([name for name in names if name == "val/keypoint_mae"]),
        ),
        _Panel(
            title="Share of the time spent waiting for data",
            series=_coloured([name for name in names if name == "loader/wait_share"]),
        ),
    )
    return [panel for panel in panels if panel.series]


def _coloured(names: Sequence[str]) -> dict[str, str]:
    return {name: style.SERIES_COLOURS[index % len(style.SERIES_COLOURS)] for index, name in enumerate(names)}


def _is_score(name: str, lines: Sequence[Mapping[str, float]]) -> bool:
    """Whether a val/ name is one of the scores in [0, 1] that a reader follows, not a bound, a class or an error."""
    if not name.startswith("val/") or name.startswith("val/f1_") or name.endswith(BOUNDS):
        return False
    if any(word in name for word in ("loss", "keypoint", "majority", "mae", "rmse", "ece")):
        return False
    return all(0.0 <= line[name] <= 1.0 for line in lines if name in line)


def _draw_panel(panel: _Panel, *, lines: Sequence[Mapping[str, float]]) -> Figure:
    figure = Figure(figsize=(style.WIDTH_IN / 2, 3.3), layout="constrained")
    axes = figure.subplots()
    values = np.array([line[name] for name in panel.series for line in lines if name in line], dtype=float)
    values = values[np.isfinite(values)]
    for name, colour in panel.series.items():
        step, value = np.array([(line["step"], line[name]) for line in lines if name in line], dtype=float).T
        axes.plot(
            step,
            value,
            color=colour,
            linewidth=1.4,
            label=style.plain(panel.named(name), limit=70 // panel.columns),
            markersize=2.5,
            marker="o" if len(step) < 40 else None,
            linestyle="--" if name == "val/loss" else "-",
        )
    if panel.wide and values.size and values.min() > 0 and values.max() > 50 * values.min():
        axes.set_yscale("log")  # a keypoint term of 0.002 beside an action term of 2 would be a flat line
    if panel.share:
        axes.set_ylim(-0.02, 1.02)
    axes.set_title(panel.title, loc="left", fontsize=11)
    axes.set_xlabel("optimizer step", fontsize=9)
    axes.grid(color="#E3E3E3", linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(panel.series) > 1 or panel.wide or panel.share:  # one score alone wants its name too
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=panel.columns, fontsize=8, frameon=False)
    return figure
