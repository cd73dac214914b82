"""Figures of a run: drawn once here, shown by TensorBoard (`pixels`) and by the report (`png`).

Figures are made without pyplot, so nothing global is touched and any thread may draw. All are meant for a white ground.
n images or trials, T frames, C classes, K points. A class has the same colour in every figure.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image

from tarpon.train.metrics.trial import Trial

# Okabe and Ito's eight, told apart by people with any of the common colour blindnesses; the calm blue first, because class 0 is
# the resting class and fills most of an ethogram.
CLASS_COLOURS = ("#56B4E9", "#D55E00", "#009E73", "#E69F00", "#0072B2", "#CC79A7", "#F0E442", "#000000")
UNLABELLED = "#C9C9C9"
SERIES_COLOURS = ("#222222", "#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE")  # Tol's bright set, for what is not a class
TRUE_COLOUR, PREDICTED_COLOUR = "#FFFFFF", "#FFD500"
WIDTH_IN = 10.0  # inches; 1100 px at the default resolution
HALO = (withStroke(linewidth=3.0, foreground="#000000"),)  # keeps points visible on fur and on glass
SCORES = ("val/macro_f1", "val/accuracy", "val/balanced_accuracy", "val/segment_f1_50", "val/edit")


def pixels(figure: Figure, *, dpi: int = 110) -> np.ndarray:
    """(H, W, 3) uint8 RGB, as TensorBoard's `add_image(..., dataformats="HWC")` takes it."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)  # savefig would lay out and draw everything twice
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def png(figure: Figure, *, dpi: int = 110, colours: int | None = None) -> bytes:
    """A PNG file's bytes; `colours` (2 to 256) reduces it to a palette, which makes a photograph about a third as large."""
    image = Image.fromarray(np.ascontiguousarray(pixels(figure, dpi=dpi)))
    if colours is not None:
        # The octree keeps a small bright mark its own colour; median cut turned yellow crosses on grey frames into brown.
        image = image.quantize(colours, method=Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def class_colours(count: int) -> tuple[str, ...]:
    """`count` hex colours in class order. Past eight classes no set stays safe for colour-blind readers: a wheel is used."""
    if count <= len(CLASS_COLOURS):
        return CLASS_COLOURS[:count]
    return tuple(to_hex(colormaps["turbo"](position)) for position in np.linspace(0.03, 0.97, count))


def curves(lines: Sequence[Mapping[str, float]], *, classes: Sequence[str] = ()) -> Figure:
    """Loss terms, scores, learning rate and speed over optimizer steps.

    Args:
        lines: the lines of metrics.jsonl; each has `step`, and any of the named values. What no line has gets no panel.
        classes: the classes as they stand in the names (`val/f1_<class>`), in class order, so that each has its colour.
    """
    panels = _panels(lines, classes=classes)
    if not panels:
        raise ValueError(f"no curve can be drawn from {len(lines)} lines: none has a loss, a learning rate or a val/ score")
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH_IN, 3.3 * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)  # inches; keeps a legend off the title below it
    grid = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _curve_panel(axes, panel, lines=lines)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def has_curves(lines: Sequence[Mapping[str, float]]) -> bool:
    """Whether `curves` has anything to draw."""
    return bool(_panels(lines, classes=()))


def confusion(counts: np.ndarray, *, classes: Sequence[str]) -> Figure:
    """Counts of frames, (C, C) int, true class by row; the colour is the share of the row, that is of the true class."""
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    side = max(4.5, 0.85 * len(classes) + 1.8)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    names = [_plain(name, limit=18) for name in classes]
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
    figure = Figure(figsize=(7.0, 0.42 * len(classes) + 0.9), layout="constrained")
    axes = figure.subplots()
    values = np.asarray(f1, dtype=float)
    axes.barh(range(len(classes)), np.nan_to_num(values), color=class_colours(len(classes)), edgecolor="#444444", linewidth=0.5)
    for row, (value, frames) in enumerate(zip(values, support, strict=True)):
        text = f"no frames (n = {frames:,})" if np.isnan(value) else f"{value:.3f} (n = {frames:,})"
        axes.text(np.nan_to_num(value) + 0.015, row, text, va="center", fontsize=9)
    axes.set_yticks(range(len(classes)), [_plain(name) for name in classes])
    axes.set_xticks(np.linspace(0.0, 1.0, 6))
    axes.set_xlim(0.0, 1.38)  # room for the text of a full bar
    axes.invert_yaxis()
    axes.set_xlabel("F1 (n = true frames)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def ethogram(trials: Sequence[Trial], *, classes: Sequence[str], heat: bool = False) -> Figure:
    """The true strip above the predicted strip for each trial, x in frames; `heat` adds the class probabilities below."""
    if not trials:
        raise ValueError("an ethogram needs at least one trial; got none")
    strips_in, heat_in = 0.85, 0.16 * len(classes) + 0.35
    heights = [strips_in, heat_in] * len(trials) if heat else [strips_in] * len(trials)
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.9), layout="constrained")
    grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}).ravel()
    colours = class_colours(len(classes))
    for row, trial in enumerate(trials):
        axes = grid[row * (2 if heat else 1)]
        _strips(axes, trial, colours=colours)
        if heat:
            _heat(grid[2 * row + 1], trial, classes=classes)
    grid[-1].set_xlabel("frame of the trial")
    grid[-1].set_xlim(0, max(len(trial.actions) for trial in trials))
    handles = [Patch(color=colour, label=_plain(name)) for colour, name in zip(colours, classes, strict=True)]
    if any((trial.actions < 0).any() for trial in trials):
        handles.append(Patch(color=UNLABELLED, label="not labelled"))
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 8), frameon=False, fontsize=9)
    return figure


def points(images: np.ndarray, *, true: np.ndarray | None, predicted: np.ndarray | None, titles: Sequence[str]) -> Figure:
    """Frames with true points as circles and predicted points as crosses, a line joining the two of one point.

    Args:
        images: (n, H, W, 3) uint8 RGB.
        true: (n, K, 3) x, y in [0, 1] of width and height, and visible (0 is not drawn); None: no truth.
        predicted: (n, K, 2) x, y in [0, 1]; None: no prediction.
        titles: one a frame, of one line or two.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images) == len(titles) > 0:
        raise ValueError(
            f"points wants images (n, H, W, 3) uint8 and n titles; got {images.shape} {images.dtype}, {len(titles)} titles"
        )
    columns = min(3, len(images))
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    figure = Figure(figsize=(WIDTH_IN, rows * (WIDTH_IN / columns * height / width + 0.45)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for index, (axes, image) in enumerate(zip(grid, images, strict=False)):
        axes.set_anchor("S")  # the space left over by the aspect goes above, where the title is
        axes.imshow(image, extent=(0, width, height, 0))  # pixel edges at whole numbers, as x = 1 is the right edge
        axes.set_title("\n".join(_plain(line, limit=46) for line in titles[index].split("\n")), fontsize=9)
        truth, guess = (None if place is None else place[index] for place in (true, predicted))
        _draw_points(axes, truth, guess, size=(width, height))
    return figure


@dataclass(frozen=True, kw_only=True)
class _Panel:
    title: str
    series: Mapping[str, str]  # name in metrics.jsonl -> colour
    share: bool = False  # the y axis is [0, 1]
    wide: bool = False  # the y axis is logarithmic where the values span more than a factor of 50


def _panels(lines: Sequence[Mapping[str, float]], *, classes: Sequence[str]) -> list[_Panel]:
    """The panels that have anything to show, in reading order."""
    names = sorted({name for line in lines for name in line})
    losses = [name for name in names if name == "loss" or name.startswith("loss/") or name == "val/loss"]
    scores = [name for name in SCORES if name in names] or [name for name in names if _is_score(name, lines)]
    ordered = [f"val/f1_{name}" for name in classes] or [name for name in names if name.startswith("val/f1_")]
    per_class = dict(zip(ordered, class_colours(len(ordered)), strict=True))
    panels = (
        _Panel(title="Loss", series=_coloured(losses), wide=True),
        _Panel(title="Scores on val", series=_coloured(scores[: len(SERIES_COLOURS)]), share=True),
        _Panel(
            title="F1 of each class on val", share=True, series={name: per_class[name] for name in ordered if name in names}
        ),
        _Panel(title="Learning rate", series=_coloured([name for name in names if name == "lr" or name.startswith("lr/")])),
        _Panel(
            title="Keypoint error on val, share of the image side",
            series=_coloured([name for name in names if name == "val/keypoint_mae"]),
        ),
        _Panel(
            title="Share of the time spent waiting for data",
            series=_coloured([name for name in names if name == "loader/wait_share"]),
        ),
    )
    return [panel for panel in panels if panel.series]


def _coloured(names: Sequence[str]) -> dict[str, str]:
    return {name: SERIES_COLOURS[place % len(SERIES_COLOURS)] for place, name in enumerate(names)}


def _is_score(name: str, lines: Sequence[Mapping[str, float]]) -> bool:
    """Whether a val/ name is one of the scores in [0, 1] that a reader follows, not a bound, a class or an error."""
    if not name.startswith("val/") or name.startswith("val/f1_") or name.endswith(("_low", "_high")):
        return False
    if any(word in name for word in ("loss", "keypoint", "majority")):
        return False
    return all(0.0 <= line[name] <= 1.0 for line in lines if name in line)


def _curve_panel(axes: Axes, panel: _Panel, *, lines: Sequence[Mapping[str, float]]) -> None:
    values = np.array([line[name] for name in panel.series for line in lines if name in line], dtype=float)
    values = values[np.isfinite(values)]
    for name, colour in panel.series.items():
        step, value = np.array([(line["step"], line[name]) for line in lines if name in line], dtype=float).T
        axes.plot(
            step,
            value,
            color=colour,
            linewidth=1.4,
            label=_plain(name.removeprefix("val/f1_")),
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
    if len(panel.series) > 1 or panel.wide:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8, frameon=False)


def _strips(axes: Axes, trial: Trial, *, colours: Sequence[str]) -> None:
    for labels, bottom in ((trial.actions, 0.54), (trial.predicted, 0.0)):
        edges = np.flatnonzero(np.diff(labels)) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(labels)]
        # The thin edge closes the seams between bouts and keeps a bout of one frame visible in a long trial, where it is
        # narrower than a pixel: so the short ones are drawn last, on top of their neighbours' edges.
        order = np.argsort(starts - stops, kind="stable")
        starts, stops = starts[order], stops[order]
        faces = [colours[label] if label >= 0 else UNLABELLED for label in labels[starts]]
        spans = np.column_stack([starts, stops - starts])
        axes.broken_barh(spans, (bottom, 0.46), facecolors=faces, edgecolors=faces, linewidth=0.6)
    axes.set_yticks([0.77, 0.23], ["true", "predicted"], fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(_plain(f"{trial.key}  (group {trial.group})", limit=110), loc="left", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _heat(axes: Axes, trial: Trial, *, classes: Sequence[str]) -> None:
    axes.imshow(
        trial.probs.T,
        aspect="auto",
        interpolation="nearest",
        cmap="Greys",
        vmin=0.0,
        vmax=1.0,
        extent=(0, len(trial.probs), len(classes), 0),
    )
    axes.set_yticks(np.arange(len(classes)) + 0.5, [_plain(name, limit=18) for name in classes], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_points(axes: Axes, true: np.ndarray | None, predicted: np.ndarray | None, *, size: tuple[int, int]) -> None:
    """true (K, 3), predicted (K, 2), in [0, 1]; size is the width and height of the image. Only visible points are drawn."""
    shown = slice(None) if true is None else true[:, 2] > 0
    if true is not None and predicted is not None:
        for start, stop in zip(true[shown, :2] * size, predicted[shown] * size, strict=True):
            axes.plot(*zip(start, stop, strict=True), color=PREDICTED_COLOUR, linewidth=1.0)
    if true is not None:
        axes.plot(
            *(true[shown, :2] * size).T,
            linestyle="",
            marker="o",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=TRUE_COLOUR,
            markeredgewidth=1.4,
            path_effects=HALO,
        )
    if predicted is not None:
        axes.plot(
            *(predicted[shown] * size).T,
            linestyle="",
            marker="x",
            markersize=6,
            color=PREDICTED_COLOUR,
            markeredgewidth=1.4,
            path_effects=HALO,
        )


def _plain(text: str, *, limit: int = 32) -> str:
    """Text as it stands: a dollar sign would start matplotlib's mathematics, and a long name would cover its neighbour."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.replace("$", r"\$")
