"""How several fish runs answer as one."""

from tarpon.tools.ensemble import Averaging, mean_class_scores, mean_flag_scores, mean_values
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS, NUMBER

BY_KIND = {CLASSES: mean_class_scores, FLAGS: mean_flag_scores, NUMBER: mean_values}
AVERAGING = Averaging(means={name: BY_KIND[head.kind] for name, head in HEADS.items()} | {"log_variance": mean_values})
