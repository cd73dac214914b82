"""What TensorBoard shows of a scored split."""

import numpy as np

from tarpon.train.figures import style as figures
from tarpon.train.tasks.star.figures import retrieval as figures_retrieval
from tarpon.train.tasks.star.metrics.embeddings import Found


def draw_split(found: Found) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    drawn = {
        "cmc": figures_retrieval.cmc(found.variants()),
        "ranks": figures_retrieval.ranks(found.plain, identities=found.of_queries("identity")),
        "similarity": figures_retrieval.similarities(found.plain, new=None if found.new is None else found.new.best),
    }
    return {name: figures.pixels(figure) for name, figure in drawn.items()}
