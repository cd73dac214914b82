"""Figures of trials: true and predicted behaviour over time, and true and predicted points on frames.

n images or trials, T frames, C classes, K points.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from tarpon.train.figures import style
from tarpon.train.figures.style import Frames
from tarpon.train.tasks.mouse.metrics.trial import Trial

FRAMES_A_TRIAL = 3  # the most that `moments` gives, so that each trial has its row
TRUE_COLOUR, PREDICTED_COLOUR = "#FFFFFF", "#FFD500"
HALO = (withStroke(linewidth=3.0, foreground="#000000"),)  # keeps points visible on fur and on glass


def ethogram(trials: Sequence[Trial], *, classes: Sequence[str], heat: bool = False) -> Figure:
    """The true strip above the predicted strip for each trial, x in frames; `heat` adds the class probabilities below."""
    if not trials:
        raise ValueError("an ethogram needs at least one trial; got none")
    strips_in, heat_in = 0.85, 0.16 * len(classes) + 0.35
    heights = [strips_in, heat_in] * len(trials) if heat else [strips_in] * len(trials)
    figure = Figure(figsize=(style.WIDTH_IN, sum(heights) + 0.9), layout="constrained")
    grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}).ravel()
    colours = style.class_colours(len(classes))
    for row, trial in enumerate(trials):
        axes = grid[row * (2 if heat else 1)]
        _strips(axes, trial, colours=colours)
        if heat:
            _heat(grid[2 * row + 1], trial, classes=classes)
    grid[-1].set_xlabel("frame of the trial")
    grid[-1].set_xlim(0, max(len(trial.actions) for trial in trials))
    handles = [Patch(color=colour, label=style.plain(name)) for colour, name in zip(colours, classes, strict=True)]
    if any((trial.actions < 0).any() for trial in trials):
        handles.append(Patch(color=style.UNLABELLED, label="not labelled"))
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 8), frameon=False, fontsize=9)
    return figure


def points(
    images: Sequence[np.ndarray],
    *,
    true: Sequence[np.ndarray | None] | None,
    predicted: Sequence[np.ndarray] | None,
    titles: Sequence[str],
) -> Figure:
    """Frames with true points as circles and predicted points as crosses, a line joining the two of one point.

    Args:
        images: n times (H, W, 3) uint8 RGB; sizes may differ.
        true: n times (K, 3) x, y in [0, 1] of width and height, and visible (0 is not drawn); None: no truth.
        predicted: n times (K, 2) x, y in [0, 1]; None: no prediction.
        titles: one a frame, of one line or more.
    """
    shapes = [image.shape for image in images]
    fit = all(len(shape) == 3 and shape[2] == 3 for shape in shapes) and all(image.dtype == np.uint8 for image in images)
    if not fit or not len(images) == len(titles) > 0:
        kinds = sorted({f"{image.shape} {image.dtype}" for image in images})
        raise ValueError(
            f"points wants images (n, H, W, 3) uint8 and n titles; got {len(images)} {kinds}, {len(titles)} titles"
        )
    columns = min(FRAMES_A_TRIAL, len(images))
    rows = -(-len(images) // columns)
    tallest = max(height / width for height, width, _ in shapes)
    title_in = 0.15 + 0.15 * max(title.count("\n") + 1 for title in titles)
    size_in = (style.WIDTH_IN, rows * (style.WIDTH_IN / columns * tallest + title_in))
    figure = Figure(figsize=size_in, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for index, (axes, image) in enumerate(zip(grid, images, strict=False)):
        height, width = image.shape[:2]
        axes.set_anchor("S")  # the space left over by the aspect goes above, where the title is
        axes.imshow(image, extent=(0, width, height, 0))  # pixel edges at whole numbers, as x = 1 is the right edge
        axes.set_title("\n".join(style.plain(line, limit=46) for line in titles[index].split("\n")), fontsize=9)
        truth, guess = (None if points is None else points[index] for points in (true, predicted))
        _draw_points(axes, truth, guess, size=(width, height))
    return figure


def moments(trial: Trial, *, classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """Three frames of a trial with predicted points, ascending, and their titles.

    One and three quarters into the trial, and the frame with the largest mean error over its visible points; where there is no
    such frame, or it is one of the two, the middle. A trial of fewer frames gives those it has.
    """
    length = len(trial.actions)
    titles = {length // 4: "", 3 * length // 4: ""}
    if trial.keypoints is not None and trial.keypoints[..., 2].any():
        visible = trial.keypoints[..., 2] > 0
        error = np.where(visible, np.abs(trial.keypoints[..., :2] - trial.keypoints_pred).mean(-1), 0.0)
        titles[int((error.sum(1) / np.maximum(visible.sum(1), 1)).argmax())] = ", largest error"
    if len(titles) < FRAMES_A_TRIAL:
        titles.setdefault(length // 2, "")
    frames = sorted(titles)
    words = ["not labelled" if trial.actions[frame] < 0 else classes[trial.actions[frame]] for frame in frames]
    return frames, [
        f"frame {frame}{titles[frame]}\ntrue: {word}, predicted: {classes[trial.predicted[frame]]}"
        for frame, word in zip(frames, words, strict=True)
    ]


def point_samples(trials: Sequence[Trial], *, classes: Sequence[str], frames: Frames, limit: int = 4) -> Figure | None:
    """`moments` of up to `limit` trials, spread evenly over the given ones; None where no trial has predicted points."""
    answered = [trial for trial in trials if trial.keypoints_pred is not None]
    if not answered:
        return None
    images, true, predicted, titles = [], [], [], []
    for index in np.unique(np.linspace(0, len(answered) - 1, limit).round().astype(int)):
        trial = answered[index]
        numbers, words = moments(trial, classes=classes)
        images += list(frames(trial.key, numbers))
        true += [None if trial.keypoints is None else trial.keypoints[number] for number in numbers]
        predicted += list(trial.keypoints_pred[numbers])
        titles += [f"{trial.key}\n{word}" for word in words]
    return points(images, true=true, predicted=predicted, titles=titles)


def _strips(axes: Axes, trial: Trial, *, colours: Sequence[str]) -> None:
    for labels, bottom in ((trial.actions, 0.54), (trial.predicted, 0.0)):
        edges = np.flatnonzero(np.diff(labels)) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(labels)]
        # The thin edge closes the seams between bouts and keeps a bout of one frame visible in a long trial, where it is
        # narrower than a pixel: so the short ones are drawn last, on top of their neighbours' edges.
        order = np.argsort(starts - stops, kind="stable")
        starts, stops = starts[order], stops[order]
        faces = [colours[label] if label >= 0 else style.UNLABELLED for label in labels[starts]]
        spans = np.column_stack([starts, stops - starts])
        axes.broken_barh(spans, (bottom, 0.46), facecolors=faces, edgecolors=faces, linewidth=0.6)
    axes.set_yticks([0.77, 0.23], ["true", "predicted"], fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(style.plain(f"{trial.key}  (group {trial.group})", limit=110), loc="left", fontsize=9)
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
    axes.set_yticks(np.arange(len(classes)) + 0.5, [style.plain(name, limit=18) for name in classes], fontsize=7)
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
