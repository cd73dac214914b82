"""What TensorBoard and the report show of a scored split of leaves."""

import numpy as np
from matplotlib.figure import Figure

from tarpon.train.figures.style import pixels, plain
from tarpon.train.tasks.leaf.metrics import LeafRows


def confusion(rows: LeafRows) -> Figure:
    """Pictures by true species (a row each) and predicted species."""
    counts, names = rows.confusion(), [plain(str(name)) for name in rows.classes]
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.imshow(counts, cmap="Blues")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    for (i, j), count in np.ndenumerate(counts):
        axes.text(j, i, str(count), ha="center", va="center")
    return figure


def draw_split(rows: LeafRows) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    return {"confusion": pixels(confusion(rows))}
