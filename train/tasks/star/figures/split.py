"""What TensorBoard shows of a scored split."""

import numpy as np

from tarpon.train.figures import style
from tarpon.train.tasks.star.figures import retrieval
from tarpon.train.tasks.star.metrics.embeddings import SearchResult


def draw_split(found: SearchResult) -> dict[str, np.ndarray]:
    """Figures of the scored rows: name -> (H, W, 3) uint8."""
    drawn = {
        "cmc": retrieval.cmc(found.variants()),
        "ranks": retrieval.ranks(found.plain, identities=found.query_values("identity")),
        "similarity": retrieval.similarities(found.plain, new=None if found.new is None else found.new.best),
    }
    return {name: style.pixels(figure) for name, figure in drawn.items()}
