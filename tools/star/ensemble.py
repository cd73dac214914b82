"""How several star runs answer as one."""

from tarpon.tools.ensemble import Averaging, vectors

AVERAGING = Averaging(means={"embedding": vectors, "embedding_flips": vectors})
