"""The tasks by name, each loaded when it is asked for: a new one is one folder and one line here."""

from tarpon.train.registry import Registry

TASKS = Registry(  # name -> tarpon.train.task.Task
    {
        "cells": "tarpon.train.tasks.cells.record:CELLS",
        "fish": "tarpon.train.tasks.fish.record:FISH",
        "mouse": "tarpon.train.tasks.mouse.record:MOUSE",
        "star": "tarpon.train.tasks.star.record:STAR",
    }
)
