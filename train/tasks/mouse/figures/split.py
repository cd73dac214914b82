"""What TensorBoard shows of a scored split of trials."""

from collections.abc import Sequence

import numpy as np

from tarpon.train.figures import style
from tarpon.train.figures.style import Frames
from tarpon.train.tasks.mouse.figures import classes as class_figures
from tarpon.train.tasks.mouse.figures import trials as trial_figures
from tarpon.train.tasks.mouse.metrics.collect import ScoredTrials
from tarpon.train.tasks.mouse.metrics.counts import sum_groups
from tarpon.train.tasks.mouse.metrics.ranking import average_precision, precision_recall

ETHOGRAMS = 8  # trials drawn


def draw_split(trials: ScoredTrials, *, classes: Sequence[str], frames: Frames | None = None) -> dict[str, np.ndarray]:
    """Confusion matrix, precision-recall curves, ethograms and, where frames can be had, points on frames.

    Args:
        frames: stored frames of a trial, for the picture of true and predicted points; None: no such picture.

    Returns:
        name -> (H, W, 3) uint8.
    """
    counts = sum_groups(trials.counts)[0].sum(0)
    drawn = {
        "confusion": class_figures.confusion(counts, classes=classes),
        "pr_curves": class_figures.precision_recall(
            precision_recall(trials.frames),
            average=average_precision(trials.frames, len(classes)).tolist(),
            support=counts.sum(1).tolist(),
            classes=classes,
        ),
        "ethogram": trial_figures.ethogram(trials.shown[:ETHOGRAMS], classes=classes),
    }
    samples = frames and trial_figures.point_samples(trials.shown, classes=classes, frames=frames)
    if samples:
        drawn["frames"] = samples
    return {name: style.pixels(figure) for name, figure in drawn.items()}
