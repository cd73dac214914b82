"""What TensorBoard shows of a scored split."""

import numpy as np

from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures import hours
from tarpon.train.tasks.cells.metrics.predictions import PageRows


def draw_split(rows: PageRows) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    drawn = {
        "hours": hours.scatter(rows),
        "windows": hours.over_time(rows),
        "calibration": hours.calibration(rows),
        "stacks": hours.stacks(rows),
    }
    return {name: style.pixels(figure) for name, figure in drawn.items()}
