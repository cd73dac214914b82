"""How several cells runs answer as one."""

from tarpon.tools.ensemble import Averaging, classes, values

AVERAGING = Averaging(means={"label": classes, "hours": values})
