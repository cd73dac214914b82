"""The tasks by name, each loaded when it is asked for: a new one is one folder and one line here."""

from tarpon.train.registry import Registry

TASKS = Registry(  # name -> tarpon.train.task.Task
    {
        "cells": "tarpon.train.tasks.cells.task:CELLS",
        "fish": "tarpon.train.tasks.fish.task:FISH",
        "mouse": "tarpon.train.tasks.mouse.task:MOUSE",
        "star": "tarpon.train.tasks.star.task:STAR",
    }
)
