"""How several star runs answer as one."""

from tarpon.tools.ensemble import Averaging, join_vectors

AVERAGING = Averaging(means={"embedding": join_vectors, "embedding_flips": join_vectors})
