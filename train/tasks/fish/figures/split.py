"""What TensorBoard shows of a scored split."""

import numpy as np

from tarpon.train.figures import style as figures
from tarpon.train.tasks.fish.figures import attributes as figures_attributes
from tarpon.train.tasks.fish.metrics.predictions import AttributeRows


def draw_split(rows: AttributeRows) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    drawn = {
        "gates": figures_attributes.gates(rows) if rows.gates is not None else None,
        "families": figures_attributes.families(rows),
        "habitats": figures_attributes.habitats(rows),
        "troph": figures_attributes.troph(rows),
    }
    return {name: figures.pixels(figure) for name, figure in drawn.items() if figure is not None}
