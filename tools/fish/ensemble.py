"""How several fish runs answer as one."""

from tarpon.tools.ensemble import Averaging, classes, labels, values
from tarpon.train.tasks.fish.heads import CLASSES, FLAGS, HEADS, NUMBER

BY_KIND = {CLASSES: classes, FLAGS: labels, NUMBER: values}
AVERAGING = Averaging(means={name: BY_KIND[head.kind] for name, head in HEADS.items()} | {"log_variance": values})
