"""How several leaf runs answer as one."""

from tarpon.tools.ensemble import Averaging, mean_class_scores

AVERAGING = Averaging(means={"species": mean_class_scores})
