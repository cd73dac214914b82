"""How several cells runs answer as one."""

from tarpon.tools.ensemble import Averaging, mean_class_scores, mean_values

AVERAGING = Averaging(means={"label": mean_class_scores, "hours": mean_values})
