"""How several mouse runs answer as one."""

from tarpon.tools.ensemble import Averaging, mean_class_scores, mean_values

AVERAGING = Averaging(means={"action": mean_class_scores, "keypoints": mean_values}, masks=("valid",))
