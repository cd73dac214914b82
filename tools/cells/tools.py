"""Infection and hours from time courses of cells: what the commands need of this task."""

from tarpon.tools.task import Command, TaskTools

CELLS = TaskTools(
    kind="cells",
    lint="cells.lint:CELLS",
    look="cells.look:PREVIEW",
    report="cells.report:SECTIONS_OF_RUN",
    ensemble="cells.ensemble:AVERAGING",
    export="cells.export:EXPORT",
    view="cells.view:CellsAlbum",
    gpu="cells.gpu_checks:CHECKS",
    benchmarks={"loader": "cells.bench_loader:BENCHMARK", "plan": "cells.bench_plan:PLAN"},
    selftest="cells.selftest:prepare",
    commands={
        "demo cells": Command(target="cells.demo.command:cells", does="write a synthetic infection experiment of TIFF stacks"),
        "pack cells": Command(target="cells.pack:cells", does="folders of infected and uninfected TIFF stacks -> shards"),
        "folds cells": Command(target="cells.folds:cells", does="train every test fold of the shards and sum up"),
        "predict cells": Command(
            target="cells.predict:cells",
            takes=("checkpoint",),
            lead="--checkpoint",
            does="new stacks: class and hours a page, when each is infected",
        ),
        "temporal": Command(
            target="cells.temporal:run", takes=("run",), does="how well infection is told over the hours, and its kinetics"
        ),
        "gradcam": Command(target="cells.gradcam:run", takes=("run",), does="where on the page a cells run looks"),
    },
)
