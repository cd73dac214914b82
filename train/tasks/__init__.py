"""The tasks by name: a new one is one module and one line here."""

from tarpon.train.task import Task
from tarpon.train.tasks.cells.task import CELLS
from tarpon.train.tasks.fish.task import FISH
from tarpon.train.tasks.mouse.task import MOUSE
from tarpon.train.tasks.star.task import STAR

TASKS: dict[str, Task] = {"cells": CELLS, "fish": FISH, "mouse": MOUSE, "star": STAR}
