"""How several mouse runs answer as one."""

from tarpon.tools.ensemble import Averaging, classes, values

AVERAGING = Averaging(means={"action": classes, "keypoints": values}, masks=("valid",))
