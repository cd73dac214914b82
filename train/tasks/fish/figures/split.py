"""What TensorBoard shows of a scored split."""

import numpy as np

from tarpon.train.figures import style
from tarpon.train.tasks.fish.figures import attributes
from tarpon.train.tasks.fish.metrics.counts import CountedRows


def draw_split(rows: CountedRows) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    drawn = {
        "gates": attributes.gates(rows) if rows.counts.gates is not None else None,
        "families": attributes.families(rows),
        "habitats": attributes.habitats(rows),
        "troph": attributes.troph(rows),
    }
    return {name: style.pixels(figure) for name, figure in drawn.items() if figure is not None}
