"""What TensorBoard shows of a scored split."""

import numpy as np

from tarpon.train.figures import style as figures
from tarpon.train.tasks.cells.figures import hours as figures_hours
from tarpon.train.tasks.cells.metrics.predictions import PageRows


def draw_split(rows: PageRows) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    drawn = {
        "hours": figures_hours.scatter(rows),
        "windows": figures_hours.over_time(rows),
        "calibration": figures_hours.calibration(rows),
        "stacks": figures_hours.stacks(rows),
    }
    return {name: figures.pixels(figure) for name, figure in drawn.items()}
