"""How several fish runs answer as one."""

from tarpon.tools.ensemble import Averaging, classes, labels, values

AVERAGING = Averaging(
    means={
        "family": classes,
        "order": classes,
        "feeding": classes,
        "habitat": labels,
        "troph": values,
        "log_variance": values,
    }
)
