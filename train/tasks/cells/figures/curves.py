"""Figures of a cells run over its optimizer steps: what it lost, and what it scored on validation."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tarpon.train.figures import style

Lines = Sequence[Mapping[str, float]]  # of metrics.jsonl: `step`, and any of the named values
LOSSES = {  # title -> name in training, name in validation
    "Loss": ("loss", "val/loss"),
    "Class term": ("loss/label", "val/loss_label"),
    "Hours term": ("loss/hours", "val/loss_hours"),
}
SHARES = {  # name in validation -> legend
    "val/auc": "AUC",
    "val/f1": "F1",
    "val/accuracy": "accuracy",
    "val/balanced_accuracy": "balanced accuracy",
    "val/precision": "precision",
    "val/recall": "recall",
    "val/auc_before_onset": "AUC before the onset",
}
ERRORS = {
    "val/mae": "mean absolute, all pages",
    "val/mae_infected": "mean absolute, infected",
    "val/mae_uninfected": "mean absolute, uninfected",
    "val/rmse": "root mean square, all pages",
}


def training_curves(lines: Lines) -> Figure:
    """Loss and its two terms in training and validation, and the learning rate."""
    figure, panels = _panels(4)
    for axes, (title, names) in zip(panels, LOSSES.items(), strict=False):
        for name, colour, word in zip(names, ("#4477AA", "#EE6677"), ("training", "validation"), strict=True):
            _line(axes, lines, name, colour=colour, label=word)
        _finish(axes, title, of="loss (no unit)")
        _log_where_wide(axes)
    rates = sorted({name for line in lines for name in line if name == "lr" or name.startswith("lr/")})
    for name, colour in zip(rates, style.SERIES_COLOURS, strict=False):
        _line(panels[3], lines, name, colour=colour, label=name.removeprefix("lr/") if name != "lr" else "all parameters")
    _finish(panels[3], "Learning rate", of="learning rate per step")
    return figure


def validation_metrics(lines: Lines, *, best_step: int | None = None) -> Figure:
    """Class scores, errors in hours beside those of constant answers, the selection score, calibration; best step marked."""
    figure, panels = _panels(4)
    for (name, label), colour in zip(SHARES.items(), (*style.SERIES_COLOURS, "#999999"), strict=True):
        _line(panels[0], lines, name, colour=colour, label=label, dashed=name == "val/auc_before_onset")
    _finish(panels[0], "Classes on validation", of="score (0 to 1)")
    for (name, label), colour in zip(ERRORS.items(), style.SERIES_COLOURS, strict=False):
        _line(panels[1], lines, name, colour=colour, label=label)
    _line(panels[1], lines, "val/constant_mae", colour="#999999", label="mean absolute, always the median", dashed=True)
    panels[1].set_ylim(bottom=0)
    _finish(panels[1], "Hours on validation", of="error, h", columns=2)
    _line(panels[2], lines, "val/combined", colour="#222222", label="selection score")
    _finish(panels[2], "Selection score: 0.6 F1 + 0.4 (1 - MAE / highest)", of="score (0 to 1)")
    _line(panels[3], lines, "val/ece", colour="#AA3377", label="expected calibration error")
    panels[3].set_ylim(bottom=0)
    _finish(panels[3], "Calibration on validation", of="error (share of pages)")
    if best_step is not None:
        for axes, columns in zip(panels, (3, 2, 3, 3), strict=True):
            axes.axvline(best_step, color="#999999", linewidth=0.9, linestyle=":", label="best step, whose weights are kept")
            _legend(axes, columns=columns)
    return figure


def _panels(count: int) -> tuple[Figure, np.ndarray]:
    rows = -(-count // 2)
    figure = Figure(figsize=(style.WIDTH_IN, 3.4 * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)  # inches; keeps a legend off the title below it
    return figure, figure.subplots(rows, 2, squeeze=False).ravel()


def _line(axes: Axes, lines: Lines, name: str, *, colour: str, label: str, dashed: bool = False) -> None:
    points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    if points:
        step, value = np.array(points, dtype=float).T
        marker = "o" if len(step) < 40 and not dashed else None
        linestyle = "--" if dashed else "-"
        axes.plot(step, value, color=colour, label=label, linewidth=1.4, marker=marker, markersize=2.5, linestyle=linestyle)


def _log_where_wide(axes: Axes) -> None:
    values = np.concatenate([line.get_ydata() for line in axes.get_lines()]) if axes.get_lines() else np.empty(0)
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 50 * values.min():
        axes.set_yscale("log")


def _finish(axes: Axes, title: str, *, of: str, columns: int = 3) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel(of, fontsize=9)
    axes.set_xlabel("optimizer step", fontsize=9)
    axes.grid(color="#E3E3E3", linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_lines():
        _legend(axes, columns=columns)
    else:
        axes.text(0.5, 0.5, "nothing written", transform=axes.transAxes, ha="center", color="#999999")


def _legend(axes: Axes, *, columns: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, fontsize=8, frameon=False)
