"""Species of leaves: what the commands need of this task."""

from tarpon.tools.task import Command, TaskTools

LEAF = TaskTools(
    kind="leaf",
    lint="leaf.lint:LEAF",
    look="leaf.look:PREVIEW",
    report="leaf.report:SECTIONS_OF_RUN",
    ensemble="leaf.ensemble:AVERAGING",
    commands={
        "demo leaf": Command(target="leaf.demo:leaf", does="write drawn leaves of a few species"),
        "pack leaf": Command(target="leaf.pack:leaf", does="a folder of leaves by species and plant -> shards"),
    },
)
