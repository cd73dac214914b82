"""How several leaf runs answer as one."""

from tarpon.tools.ensemble import Averaging, classes

AVERAGING = Averaging(means={"species": classes})
