"""The tasks by name: a new one is one module and one line here."""

from tarpon.train.task import Task
from tarpon.train.tasks.cells import CELLS
from tarpon.train.tasks.fish import FISH
from tarpon.train.tasks.mouse import MOUSE
from tarpon.train.tasks.star import STAR

TASKS: dict[str, Task] = {"cells": CELLS, "fish": FISH, "mouse": MOUSE, "star": STAR}
